"""Prove at start-up that a method is alive, before hours are spent on one that is not."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

_DRAWS = 8  # of starting values for what gets no gradient from its own


def prove_alive(encoder: AdaptedEncoder, head: nn.Module) -> None:
    """Check that a freshly built model starts as the frozen one and that all of it can learn.

    On half a second of noise: the output must equal the frozen encoder's; within two optimiser steps
    gradient must reach every trainable tensor; and the branches must then move the output. A tensor that
    it reaches only once other starting values are drawn is not dead but unlucky, such as a layer of few
    units that start with a ReLU at rest: that is a warning. Weights, gradients and random state are left
    as they were found.
    """
    model = nn.ModuleDict({"encoder": encoder, "head": head})
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise UserError(
            "Nothing is trainable: the method matched no module and the head is frozen."
        )
    with _untouched(model):
        device = next(iter(trainable.values())).device
        wavs = torch.randn(2, encoder.sample_rate // 2, device=device)
        lens = torch.tensor([1.0, 0.6], device=device)
        model.eval()
        for name, stack, start, frozen in _with_and_without(encoder, head, wavs, lens):
            if stack.starts_as_frozen and not torch.allclose(start, frozen, rtol=1e-5, atol=1e-6):
                raise UserError(
                    f"The adapted {name} does not start as the frozen one: outputs differ by "
                    f"{(start - frozen).abs().max():.2g}. A branch must start at zero."
                )
        silent = set(trainable) - _reached_by_gradient(model, trainable, wavs, lens)
        dead = sorted(_dead(silent, model, trainable, wavs, lens))
        if dead:
            raise UserError(
                f"{len(dead)} of {len(trainable)} trainable tensors got no gradient in two steps, so "
                f"they would never learn: {_named(dead)}."
            )
        model.eval()
        for name, stack, adapted, plain in _with_and_without(encoder, head, wavs, lens):
            if len(stack.branches) and torch.equal(adapted, plain):
                raise UserError(
                    f"{len(stack.branches)} branches were trained for two steps, yet the {name}'s output "
                    "is the same without them: they are not connected."
                )
    unlucky = sorted(silent)
    if unlucky:
        logger.warning(
            "%d of %d trainable tensors got no gradient from noise as they were drawn, and may learn late or "
            "never; another --seed or a larger rank draws others: %s",
            len(unlucky), len(trainable), _named(unlucky),
        )  # fmt: skip


@torch.no_grad()
def _with_and_without(
    encoder: AdaptedEncoder, head: nn.Module, wavs: Tensor, lens: Tensor
) -> list[tuple[str, AdaptedStack, Tensor, Tensor]]:
    """What the encoder, and the decoder if there is one, emit with their branches and without."""
    compared: list[tuple[str, AdaptedStack, Tensor, Tensor]]
    heard = encoder(wavs, lens)
    with encoder.branches_off():
        compared = [("encoder", encoder, heard[0], encoder(wavs, lens)[0])]
    if isinstance(head, AdaptedStack):
        written = head(*heard)
        with head.branches_off():
            compared.append(("decoder", head, written, head(*heard)))
    return compared


def _reached_by_gradient(
    model: nn.ModuleDict, trainable: dict[str, nn.Parameter], wavs: Tensor, lens: Tensor
) -> set[str]:
    optimiser = torch.optim.AdamW(trainable.values(), lr=1e-3)
    reached: set[str] = set()
    model.train()
    for _ in range(2):
        optimiser.zero_grad()
        logits = model["head"](*model["encoder"](wavs, lens))
        (logits * torch.randn_like(logits)).sum().backward()
        reached |= {
            name
            for name, p in trainable.items()
            if p.grad is not None and bool((p.grad != 0).any())
        }
        optimiser.step()
    return reached


def _dead(
    silent: set[str],
    model: nn.ModuleDict,
    trainable: dict[str, nn.Parameter],
    wavs: Tensor,
    lens: Tensor,
) -> set[str]:
    """Those of the silent tensors that gradient does not reach from other starting values either."""
    for _ in range(_DRAWS):
        if not silent:
            break
        with torch.no_grad():
            for name in sorted(silent):
                # What starts at zero stays there: two such matrices in a row never learn.
                trainable[name].copy_(
                    torch.randn_like(trainable[name]) * trainable[name].abs().mean()
                )
        silent = silent - _reached_by_gradient(model, trainable, wavs, lens)
    return silent


def _named(names: list[str]) -> str:
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put back parameters, buffers, gradients, modes and random state."""
    tensors = [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]
    modes = {module: module.training for module in model.modules()}
    cuda = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(0)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, saved, strict=True):
                    tensor.copy_(value)
            model.zero_grad(set_to_none=True)
            for module, mode in modes.items():
                module.training = mode
