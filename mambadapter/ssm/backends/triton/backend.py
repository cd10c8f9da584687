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
from torch.autograd.function import once_differentiable

from mambadapter.ssm.backends.reference import needs_grad

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
    return _Scan.apply(u, delta, A, B, C, D, z, delta_bias, lengths, reverse, keep)


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
) -> Tensor:
    """See `mambadapter.ssm.mamba_inner`."""
    x, z = xz.chunk(2, dim=-1)
    rank, states = dt_proj.shape[1], A.shape[1]
    u = _Convolution.apply(x, conv_weight, conv_bias, lengths, reverse)
    delta, B, C = F.linear(u, x_proj).split([rank, states, states], dim=-1)
    return selective_scan(u, F.linear(delta, dt_proj), A, B, C, D, z, dt_bias, lengths, reverse)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lengths: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        x, weight = _channels_adjacent(x), weight.contiguous()
        ctx.save_for_backward(x, weight, bias, lengths)
        ctx.reverse = reverse
        return _convolve(x, weight, bias, lengths, reverse, activate=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from mambadapter.ssm.backends.triton.convolution import convolve_backward

        x, weight, bias, lengths = ctx.saved_tensors
        grad = _channels_adjacent(grad)
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
                reverse=ctx.reverse, **tile,
            )  # fmt: skip
        grad_x = _convolve(grad_value, weight, None, lengths, not ctx.reverse, activate=False)
        grad_weight, grad_bias = grad_parameters.sum(0).split([channels * taps, channels])
        return (
            grad_x.to(x.dtype),
            grad_weight.view_as(weight).to(weight.dtype),
            None if bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
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
            padded=lengths is not None, reverse=reverse, **tile,
        )  # fmt: skip
    return out


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
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
    ) -> Tensor:
        from mambadapter.ssm.backends.triton.scan import scan_forward

        u, delta, B, C = map(_channels_adjacent, (u, delta, B, C))
        z = None if z is None else _channels_adjacent(z)
        gate = u if z is None else z
        A, D = A.contiguous(), D.contiguous()
        grid, tile = _scan_tiles(u, A)
        y = u.new_empty(u.shape)
        tiles = -(-u.shape[1] // tile["FRAMES"]) if keep else 0
        saved = u.new_empty(u.shape[0], tiles, *A.shape, dtype=torch.float32)
        with torch.cuda.device_of(u):
            scan_forward[grid](
                u, delta, A, B, C, D, gate,
                _pointed_to(bias, u), _pointed_to(lengths, u), y, saved,
                u.shape[1], *A.shape, *_strides(u, delta, B, C, gate),
                gated=z is not None, biased=bias is not None, padded=lengths is not None,
                reverse=reverse, keep=keep, **tile,
            )  # fmt: skip
        if keep:
            ctx.save_for_backward(u, delta, A, B, C, D, z, bias, lengths, saved)
            ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from mambadapter.ssm.backends.triton.scan import scan_backward

        u, delta, A, B, C, D, z, bias, lengths, saved = ctx.saved_tensors
        grad = _channels_adjacent(grad)
        grid, tile = _scan_tiles(u, A)
        clips, time = u.shape[:2]
        grad_u, grad_delta = u.new_empty(u.shape), delta.new_empty(delta.shape)
        gate = u if z is None else z
        grad_z = grad_u if z is None else z.new_empty(z.shape)
        channels, states = A.shape
        grad_BC = saved.new_empty(2, grid[1], *B.shape)
        grad_parameters = saved.new_empty(clips, channels * (states + 2))
        with torch.cuda.device_of(u):
            scan_backward[grid](
                grad, u, delta, A, B, C, D, gate,
                _pointed_to(bias, u), _pointed_to(lengths, u), saved,
                grad_u, grad_delta, grad_z, *grad_BC, grad_parameters,
                clips, time, channels, states, *_strides(grad, u, delta, B, C, gate),
                gated=z is not None, biased=bias is not None, padded=lengths is not None,
                reverse=ctx.reverse, **tile,
            )  # fmt: skip
        grad_B, grad_C = grad_BC.sum(1)
        grad_A, grad_D, grad_bias = grad_parameters.sum(0).split(
            [channels * states, channels, channels]
        )
        return (
            grad_u,
            grad_delta,
            grad_A.view_as(A).to(A.dtype),
            grad_B.to(B.dtype),
            grad_C.to(C.dtype),
            grad_D.to(D.dtype),
            None if z is None else grad_z,
            None if bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
        )


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
