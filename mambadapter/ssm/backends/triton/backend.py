"""The GPU backend: Triton kernels with a hand-written backward, in float32. Triton comes with PyTorch.

The kernels skip padding and reverse a clip by the addresses they read: no tensor is flipped or masked in
memory. The backward keeps the inputs, and the state before every tile of frames. Every sum has a fixed
order, so a step gives the same bits each time. The kernels are imported where they are launched: without
a GPU, Triton is not loaded.
"""

import os
import shutil
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mambadapter.ssm.backends.reference import keep_states, needs_grad

NAME = "triton"

_MINIMUM_CAPABILITY = (7, 5)
_SCAN_TILE = 2048  # frames x channels x states
_CONVOLUTION_TILE = 1024  # frames x channels


def unusable(device_type: str) -> str | None:
    """Say why this backend cannot serve a device; None when it can."""
    if device_type != "cuda":
        return "its kernels run on CUDA tensors only"
    try:
        import_module("mambadapter.ssm.backends.triton.scan")
    except ImportError:  # no Triton outside Linux and Windows
        return "Triton cannot be imported; `pip install triton`"
    if torch.version.hip is None and torch.cuda.get_device_capability() < _MINIMUM_CAPABILITY:
        return "its kernels need a GPU of compute capability 7.5 or newer"
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return "Triton builds its launchers with a C compiler, and there is none; install gcc"
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
    keep = needs_grad(u, delta, A, B, C, D, z, delta_bias)
    return _scan(u, delta, A, B, C, D, z, delta_bias, lengths, reverse, keep)[0]


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
    rank, states = dt_proj.shape[1], A.shape[1]
    u = _convolution(x, conv_weight, conv_bias, lengths, reverse, lookahead)
    delta, B, C = F.linear(u, x_proj).split([rank, states, states], dim=-1)
    return selective_scan(u, F.linear(delta, dt_proj), A, B, C, D, z, dt_bias, lengths, reverse)


@torch.library.custom_op("mambadapter::triton_convolution", mutates_args=())
def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    lookahead: int,
) -> Tensor:
    """The convolution and its SiLU, (B, T, C) to (B, T, C)."""
    x, weight = _channels_adjacent(x), weight.contiguous()
    return _convolve(x, weight, bias, lengths, reverse, lookahead, activate=True)


@_convolution.register_fake
def _(x: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("mambadapter::triton_convolution_backward", mutates_args=())
def _convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    lookahead: int,
) -> tuple[Tensor, Tensor]:
    """Gradient of x, and tile by tile of the weight and the bias in a row."""
    from mambadapter.ssm.backends.triton.convolution import convolve_backward

    x, grad, weight = _channels_adjacent(x), _channels_adjacent(grad), weight.contiguous()
    clips, time, channels = x.shape
    grid, tile = _convolution_tiles(x)
    taps = weight.shape[-1]
    grad_value = x.new_empty(x.shape, dtype=torch.float32)
    grad_parameters = grad_value.new_empty(clips * grid[1], channels * (taps + 1))
    with torch.cuda.device_of(x):
        convolve_backward[grid](
            grad, x, weight, _pointed_to(bias, x), _pointed_to(lengths, x), grad_value, grad_parameters,
            time, channels, *grad.stride()[:2], *x.stride()[:2],
            taps=taps, biased=bias is not None, padded=lengths is not None,
            reverse=reverse, lookahead=lookahead, **tile,
        )  # fmt: skip
    grad_x = _convolve(grad_value, weight, None, lengths, not reverse, lookahead, activate=False)
    return grad_x.to(x.dtype), grad_parameters


@_convolution_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    grid, _ = _convolution_tiles(x)
    rows, columns = x.shape[0] * grid[1], x.shape[2] * (weight.shape[-1] + 1)
    return x.new_empty(x.shape), x.new_empty(rows, columns, dtype=torch.float32)


def _keep_convolution(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.reverse, ctx.lookahead = inputs
    ctx.save_for_backward(*tensors)


def _convolution_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, lengths = ctx.saved_tensors
    grad_x, tiles = _convolution_backward(
        grad, x, weight, bias, lengths, ctx.reverse, ctx.lookahead
    )
    channels, taps = weight.shape[0], weight.shape[-1]
    grad_weight, grad_bias = tiles.sum(0).split([channels * taps, channels])
    return (
        grad_x,
        grad_weight.view(weight.shape).to(weight.dtype),
        None if bias is None else grad_bias.to(bias.dtype),
        None,
        None,
        None,
    )


_convolution.register_autograd(_convolution_gradients, setup_context=_keep_convolution)


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    lookahead: int,
    activate: bool,
) -> Tensor:
    from mambadapter.ssm.backends.triton.convolution import convolve

    grid, tile = _convolution_tiles(x)
    out = x.new_empty(x.shape)
    with torch.cuda.device_of(x):
        convolve[grid](
            x, weight, _pointed_to(bias, x), _pointed_to(lengths, x), out,
            x.shape[1], x.shape[2], *x.stride()[:2],
            taps=weight.shape[-1], activate=activate, biased=bias is not None,
            padded=lengths is not None, reverse=reverse, lookahead=lookahead, **tile,
        )  # fmt: skip
    return out


@torch.library.custom_op("mambadapter::triton_scan", mutates_args=())
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    bias: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The scan, and with `keep` the states that its backward starts from."""
    from mambadapter.ssm.backends.triton.scan import scan_forward

    u, delta, B, C = map(_channels_adjacent, (u, delta, B, C))
    gate = u if z is None else _channels_adjacent(z)
    A, D = A.contiguous(), D.contiguous()
    grid, tile = _scan_tiles(u, A)
    y, saved = u.new_empty(u.shape), _saved_states(u, A, keep)
    with torch.cuda.device_of(u):
        scan_forward[grid](
            u, delta, A, B, C, D, gate,
            _pointed_to(bias, u), _pointed_to(lengths, u), y, saved,
            u.shape[1], *A.shape, *_strides(u, delta, B, C, gate),
            gated=z is not None, biased=bias is not None, padded=lengths is not None,
            reverse=reverse, keep=keep, **tile,
        )  # fmt: skip
    return y, saved


@_scan.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return u.new_empty(u.shape), _saved_states(u, A, rest[-1])


@torch.library.custom_op("mambadapter::triton_scan_backward", mutates_args=())
def _scan_backward(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    bias: Tensor | None,
    lengths: Tensor | None,
    saved: Tensor,
    reverse: bool,
) -> list[Tensor]:
    """Gradients of u, delta and z (empty without a gate); of B and C, and of A, D and the bias, in parts."""
    from mambadapter.ssm.backends.triton.scan import scan_backward

    grad, u, delta, B, C = map(_channels_adjacent, (grad, u, delta, B, C))
    gate = u if z is None else _channels_adjacent(z)
    A, D = A.contiguous(), D.contiguous()
    grid, tile = _scan_tiles(u, A)
    grads = _scan_backward_memory(u, delta, A, B, z)
    grad_u, grad_delta, grad_z, grad_BC, grad_parameters = grads
    with torch.cuda.device_of(u):
        scan_backward[grid](
            grad, u, delta, A, B, C, D, gate,
            _pointed_to(bias, u), _pointed_to(lengths, u), saved,
            grad_u, grad_delta, grad_u if z is None else grad_z, *grad_BC, grad_parameters,
            *u.shape[:2], *A.shape, *_strides(grad, u, delta, B, C, gate),
            gated=z is not None, biased=bias is not None, padded=lengths is not None,
            reverse=reverse, **tile,
        )  # fmt: skip
    return grads


@_scan_backward.register_fake
def _(grad: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, *rest: Any) -> list[Tensor]:
    return _scan_backward_memory(u, delta, A, B, rest[2])


def _scan_gradients(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 11
    u, delta, A, B, C, D, z, bias, lengths, saved = ctx.saved_tensors
    grad_u, grad_delta, grad_z, grad_BC, grad_parameters = _scan_backward(
        grad, u, delta, A, B, C, D, z, bias, lengths, saved, ctx.reverse
    )
    grad_B, grad_C = grad_BC.sum(1)
    channels, states = A.shape
    grad_A, grad_D, grad_bias = grad_parameters.sum(0).split(
        [channels * states, channels, channels]
    )
    return (
        grad_u,
        grad_delta,
        grad_A.view(A.shape).to(A.dtype),
        grad_B.to(B.dtype),
        grad_C.to(C.dtype),
        grad_D.to(D.dtype),
        None if z is None else grad_z,
        None if bias is None else grad_bias.to(bias.dtype),
        None,
        None,
        None,
    )


_scan.register_autograd(_scan_gradients, setup_context=keep_states)


def _saved_states(u: Tensor, A: Tensor, keep: bool) -> Tensor:
    frames = _scan_tiles(u, A)[1]["FRAMES"]
    tiles = -(-u.shape[1] // frames) if keep else 0
    return u.new_empty(u.shape[0], tiles, *A.shape, dtype=torch.float32)


def _scan_backward_memory(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, z: Tensor | None
) -> list[Tensor]:
    grid, _ = _scan_tiles(u, A)
    channels, states = A.shape
    single = u.new_empty(0, dtype=torch.float32)
    return [
        u.new_empty(u.shape),
        delta.new_empty(delta.shape),
        u.new_empty(0) if z is None else z.new_empty(z.shape),
        single.new_empty(2, grid[1], *B.shape),
        single.new_empty(u.shape[0], channels * (states + 2)),
    ]


def _channels_adjacent(x: Tensor) -> Tensor:
    """(B, T, C) with a channel stride of 1, which the kernels assume."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    """Strides over clips and over frames of each tensor."""
    return [step for x in tensors for step in x.stride()[:2]]


def _pointed_to(x: Tensor | None, otherwise: Tensor) -> Tensor:
    """A contiguous vector; in place of None, any tensor: the kernels take a pointer, and do not read it."""
    return otherwise if x is None else x.contiguous()


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


def _convolution_tiles(x: Tensor) -> tuple[tuple[int, int, int], dict[str, int]]:
    clips, time, channels = x.shape
    width = min(_power_of_two(channels), 32)
    frames = max(_CONVOLUTION_TILE // width, 1)
    grid = (clips, -(-time // frames), -(-channels // width))
    return grid, {"FRAMES": frames, "CHANNELS": width}


def _scan_tiles(u: Tensor, A: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    channels, states = A.shape
    width = min(_power_of_two(channels), 2)
    columns = _power_of_two(states)
    frames = max(_SCAN_TILE // (width * columns), 1)
    grid = (u.shape[0], -(-channels // width))
    return grid, {"FRAMES": frames, "CHANNELS": width, "STATES": columns, "num_warps": 2}
