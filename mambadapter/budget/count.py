"""Parameter counts of models, each tensor once, and shapes of the published encoders."""

import functools
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from mambadapter.encoders.bundled import BOX
from mambadapter.encoders.families import ARCHITECTURES, encoder_of, family_of
from mambadapter.encoders.loading import folder_or_hub
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.state import ForwardState
from mambadapter.errors import UserError, did_you_mean
from mambadapter.methods.base import Method


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of an adapted encoder and its head, each tensor counted once.

    Attributes
    ----------
    frozen : int
        Encoder parameters that do not learn.
    encoder : int
        Encoder parameters that learn, LayerNorms apart.
    layer_norm : int
        LayerNorm parameters of the encoder that learn.
    adapter : int
        Parameters of the branches; shared projections count once.
    head : int
        Parameters of the head.
    """

    frozen: int
    encoder: int
    layer_norm: int
    adapter: int
    head: int

    @property
    def adapted(self) -> int:
        """What papers call the method's parameters: all that learns but the head."""
        return self.encoder + self.layer_norm + self.adapter

    def budgeted(self, with_norms: bool = True) -> int:
        """What a budget is compared to: `adapted`, its LayerNorms or not."""
        return self.adapted - (0 if with_norms else self.layer_norm)

    @property
    def trained(self) -> int:
        """All that learns."""
        return self.adapted + self.head

    def __str__(self) -> str:
        rows = {
            "frozen encoder": self.frozen,
            "trained encoder": self.encoder,
            "trained LayerNorms": self.layer_norm,
            "adapter": self.adapter,
            "head": self.head,
            "trained without head": self.adapted,
            "trained": self.trained,
        }
        return "\n".join(f"{name:<22}{count:>14,}" for name, count in rows.items())


Counter = Callable[[Method], ParameterCount]


def count_parameters(encoder: AdaptedStack, head: nn.Module | None = None) -> ParameterCount:
    """Count a built model.

    Parameters
    ----------
    encoder : AdaptedStack
        The encoder; tensors on the ``meta`` device count too.
    head : nn.Module, optional
        The head. Where that is an `AdaptedDecoder`, what is frozen or adapted in it counts with the encoder,
        and as head the new language's embedding alone.

    Returns
    -------
    ParameterCount

    Example
    -------
    >>> from mambadapter import MambAdapters, adapt
    >>> count_parameters(adapt("mambadapter/box", MambAdapters())).layer_norm
    2688
    """
    stacks = [encoder, *([head] if isinstance(head, AdaptedStack) else [])]
    backbone = [p for stack in stacks for p in stack.backbone.parameters()]
    branches = [p for stack in stacks for p in stack.branches.parameters()]
    norms = {
        id(p)
        for stack in stacks
        for module in stack.backbone.modules()
        if isinstance(module, nn.LayerNorm)
        for p in module.parameters(recurse=False)
    }
    elsewhere = {id(p) for p in (*backbone, *branches)}
    learning = [p for p in backbone if p.requires_grad]
    return ParameterCount(
        frozen=_size(p for p in backbone if not p.requires_grad),
        encoder=_size(p for p in learning if id(p) not in norms),
        layer_norm=_size(p for p in learning if id(p) in norms),
        adapter=_size(branches),
        head=_size(p for p in head.parameters() if id(p) not in elsewhere) if head else 0,
    )


def counter(architecture: str, parts: Sequence[str] = ("encoder",)) -> Counter:
    """Make what counts any method on a published encoder, without weights and without memory.

    The modules are built on the ``meta`` device, the frozen ones once.

    Parameters
    ----------
    architecture : str
        A name in `ARCHITECTURES`, or a folder or hub name whose config.json is read.
    parts : Sequence[str]
        What a method adapts, of ``encoder`` and ``decoder``.

    Returns
    -------
    callable
        From a method to its `ParameterCount`.

    Raises
    ------
    UserError
        If the architecture is unknown, or has no decoder to adapt.

    Example
    -------
    >>> from mambadapter.methods import MambAdapters
    >>> counter("ast")(MambAdapters(placement="houlsby")).adapted
    111204
    """
    config = architecture_config(architecture)
    if "decoder" in parts and family_of(config).decoder is None:
        raise UserError(f"'{architecture}' has no decoder to adapt; take a Whisper.")
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    frozen = [encoder_of(model) if part == "encoder" else model.decoder for part in parts]

    @functools.cache
    def count(method: Method) -> ParameterCount:
        with torch.device("meta"):
            stacks = [AdaptedStack(deepcopy(part), method, ForwardState()) for part in frozen]
        return count_parameters(*stacks)

    return count


def architecture_config(architecture: str) -> PretrainedConfig:
    """Find the transformers configuration of an architecture by name, folder or hub name."""
    if architecture in ARCHITECTURES:
        return AutoConfig.for_model(**ARCHITECTURES[architecture])
    source = folder_or_hub(BOX if architecture == "box" else architecture)
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Encoder '{architecture}' is neither a known architecture nor a checkpoint; "
            f"{did_you_mean(architecture, ['box', *ARCHITECTURES])}."
        ) from error


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum({id(p): p.numel() for p in parameters}.values())
