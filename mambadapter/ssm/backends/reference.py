"""The scan in plain PyTorch, in the dtype it is given: what every other backend is tested against.

Selective state spaces: Gu & Dao 2023, arXiv 2312.00752, algorithm 2. Layout is (B, T, D) throughout;
mamba_ssm's own functions use (B, D, T).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan

from mambadapter.utils.masks import valid_only
from mambadapter.utils.tracing import is_exporting

NAME = "reference"


def unusable(device_type: str) -> str | None:
    """Say why this backend cannot serve a device; None when it can."""
    return None


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """See `mambadapter.ssm.selective_scan`."""
    u, delta, B, C = (oriented(t, lengths, reverse) for t in (u, delta, B, C))
    delta = F.softplus(delta if delta_bias is None else delta + delta_bias)
    state = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])

    def step(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        u, delta, B, C = now
        state = torch.exp(delta[..., None] * A) * state + (delta * u)[..., None] * B[:, None]
        return state, (state * C[:, None]).sum(-1)

    if is_exporting():  # of any number of frames, as a loop in the graph
        frames = tuple(t.transpose(0, 1) for t in (u, delta, B, C))
        y = scan(step, state, frames)[1].transpose(0, 1)
    else:
        outputs = []
        for now in zip(*(t.unbind(1) for t in (u, delta, B, C)), strict=True):
            state, output = step(state, now)
            outputs.append(output)
        y = torch.stack(outputs, 1) if outputs else torch.zeros_like(u)
    y = oriented(y + D * u, lengths, reverse)
    return y if z is None else y * F.silu(z)


def mamba_inner(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lengths: Tensor | None = None,
    reverse: bool = False,
    lookahead: int = 0,
) -> Tensor:
    """See `mambadapter.ssm.mamba_inner`."""
    x, z = xz.chunk(2, dim=-1)
    taps, rank, states = conv_weight.shape[-1], dt_proj.shape[1], A.shape[1]
    beside = (taps - 1 - lookahead, lookahead)
    x = F.pad(oriented(x, lengths, reverse).transpose(1, 2), beside)
    u = F.silu(F.conv1d(x, conv_weight, conv_bias, groups=x.shape[1])).transpose(1, 2)
    delta, B, C = F.linear(u, x_proj).split([rank, states, states], dim=-1)
    # u, delta, B and C are in scan order already, so the scan itself runs forward.
    y = selective_scan(u, F.linear(delta, dt_proj), A, B, C, D, delta_bias=dt_bias)
    return valid_only(oriented(y, lengths, reverse) * F.silu(z), lengths)


def oriented(x: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """Zero the padding of (B, T, C) and, if `reverse`, turn each clip's valid part around."""
    x = valid_only(x, lengths)
    if not reverse:
        return x
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    source = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return x.gather(1, source[..., None].expand_as(x))


def needs_grad(*tensors: Tensor | None) -> bool:
    """Whether a backward pass may come."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def keep_states(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    """What the backward of a backend's scan reads: its tensors, then the states that its forward kept."""
    *tensors, ctx.reverse, _ = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)
