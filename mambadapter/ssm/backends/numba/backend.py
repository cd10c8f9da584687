"""The CPU backend: numba kernels with a hand-written backward, float32, no compiler needed.

Padding is neither computed nor masked: the kernels visit each clip's valid frames alone, forwards or
backwards. The backward keeps the inputs, and the state before every sixteenth step.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambadapter.ssm.backends.reference import needs_grad

try:
    from mambadapter.ssm.backends.numba.runtime import (
        caching_kernels,
        share_threads_with_torch,
        use_threads,
    )
except ImportError:  # numba lags behind new Python versions
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True
    share_threads_with_torch()
    with caching_kernels():
        from mambadapter.ssm.backends.numba.inner import inner_backward, inner_forward
        from mambadapter.ssm.backends.numba.math import LOG2_E
        from mambadapter.ssm.backends.numba.scan import scan_backward, scan_forward
        from mambadapter.ssm.backends.numba.steps import CHUNK
        from mambadapter.ssm.backends.numba.vector import LANES

NAME = "cpu"


def unusable(device_type: str) -> str | None:
    """Say why this backend cannot serve a device; None when it can."""
    if device_type != "cpu":
        return "its kernels run on CPU tensors only"
    return None if HAVE_NUMBA else "numba cannot be imported; `pip install numba`"


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
    channels, dtype = u.shape[-1], u.dtype
    bias = torch.zeros_like(D) if delta_bias is None else delta_bias
    u, delta, D, bias = (_whole_vectors(t) for t in (u, delta, D, bias))
    z = None if z is None else _whole_vectors(z)
    A = _whole_vectors(A, dim=0)
    keep = needs_grad(u, delta, A, B, C, D, z, bias)
    padded = lengths is not None
    y = _Scan.apply(u, delta, A, B, C, D, z, bias, _lengths(u, lengths), padded, reverse, keep)
    return y[..., :channels].to(dtype)


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
    channels, dtype = D.shape[0], xz.dtype
    bias = torch.zeros_like(D) if conv_bias is None else conv_bias
    xz = _whole_vectors(xz.unflatten(-1, (2, channels))).flatten(-2)
    bias, x_proj, dt_bias, D = (_whole_vectors(t) for t in (bias, x_proj, dt_bias, D))
    conv_weight, dt_proj, A = (_whole_vectors(t, dim=0) for t in (conv_weight, dt_proj, A))
    parameters = (conv_weight, bias, x_proj, dt_proj, dt_bias, A, D)
    keep = needs_grad(xz, *parameters)
    padded = lengths is not None
    y = _Inner.apply(xz, *parameters, _lengths(xz, lengths), padded, reverse, keep)
    return y[..., :channels].to(dtype)


class _Scan(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        z: Tensor | None,
        bias: Tensor,
        lengths: Tensor,
        padded: bool,
        reverse: bool,
        keep: bool,
    ) -> Tensor:
        gated = z is not None
        u, delta, B, C, D, bias = (_contiguous(t) for t in (u, delta, B, C, D, bias))
        z = u if z is None else _contiguous(z)
        a = _contiguous(A.t())
        rates = a * float(LOG2_E)
        saved = _saved_states(u, a, keep)
        out = _output_like(u, padded)
        use_threads(len(u))
        scan_forward(
            *_numpy(u, delta, rates, B, C, D, z, bias, lengths),
            reverse,
            gated,
            saved.numpy(),
            keep,
            out.numpy(),
        )
        if keep:
            ctx.save_for_backward(u, delta, a, rates, B, C, D, z, bias, lengths, saved)
            ctx.padded, ctx.reverse, ctx.gated = padded, reverse, gated
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, a, rates, B, C, D, z, bias, lengths, saved = ctx.saved_tensors
        grad_u, grad_delta, grad_B, grad_C = (_output_like(t, ctx.padded) for t in (u, delta, B, C))
        grad_z = _output_like(z, ctx.padded) if ctx.gated else grad_u
        grad_a, grad_D, grad_bias = (u.new_zeros(u.shape[0], *t.shape) for t in (a, D, bias))
        use_threads(len(u))
        scan_backward(
            *_numpy(_contiguous(grad), u, delta, a, rates, B, C, D, z, bias, lengths),
            ctx.reverse,
            ctx.gated,
            *_numpy(saved, grad_u, grad_delta, grad_z, grad_B, grad_C, grad_a, grad_D, grad_bias),
        )
        return (
            grad_u,
            grad_delta,
            _transposed(_sum_over_clips(grad_a)),
            grad_B,
            grad_C,
            _sum_over_clips(grad_D),
            grad_z if ctx.gated else None,
            _sum_over_clips(grad_bias),
            None,
            None,
            None,
            None,
        )


class _Inner(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        xz: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor,
        x_proj: Tensor,
        dt_proj: Tensor,
        dt_bias: Tensor,
        A: Tensor,
        D: Tensor,
        lengths: Tensor,
        padded: bool,
        reverse: bool,
        keep: bool,
    ) -> Tensor:
        xz, conv_bias, dt_bias, D = (_contiguous(t) for t in (xz, conv_bias, dt_bias, D))
        taps, dt_rows = _contiguous(conv_weight.squeeze(1).t()), _contiguous(dt_proj.t())
        x_rows, x_columns = _contiguous(x_proj), _contiguous(_whole_vectors(x_proj.t()))
        a = _contiguous(A.t())
        rates = a * float(LOG2_E)
        saved = _saved_states(xz, a, keep)
        out = _output_like(xz[..., : a.shape[1]], padded)
        use_threads(len(xz))
        inner_forward(
            *_numpy(xz, taps, conv_bias, x_columns, dt_rows, dt_bias, rates, D, lengths),
            reverse,
            saved.numpy(),
            keep,
            out.numpy(),
        )
        if keep:
            ctx.save_for_backward(
                xz, taps, conv_bias, x_columns, x_rows, dt_rows, dt_bias, a, rates, D, lengths, saved,
            )  # fmt: skip
            ctx.reverse = reverse
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        xz, taps, conv_bias, x_columns, x_rows, dt_rows, dt_bias, a, rates, D, lengths, saved = (
            ctx.saved_tensors
        )
        grad_xz = torch.zeros_like(xz)
        parameters = (taps, conv_bias, x_rows, dt_rows, dt_bias, a, D)
        per_clip = [xz.new_zeros(xz.shape[0], *t.shape) for t in parameters]
        use_threads(len(xz))
        inner_backward(
            *_numpy(
                _contiguous(grad),
                xz,
                taps,
                conv_bias,
                x_columns,
                x_rows,
                dt_rows,
                dt_bias,
                a,
                rates,
                D,
                lengths,
            ),
            ctx.reverse,
            *_numpy(saved, grad_xz, *per_clip),
        )
        grad_taps, grad_conv_bias, grad_x_proj, grad_dt_rows, grad_dt_bias, grad_a, grad_D = map(
            _sum_over_clips, per_clip
        )
        return (
            grad_xz,
            _transposed(grad_taps).unsqueeze(1),
            grad_conv_bias,
            grad_x_proj,
            _transposed(grad_dt_rows),
            grad_dt_bias,
            _transposed(grad_a),
            grad_D,
            None,
            None,
            None,
            None,
        )


def _whole_vectors(x: Tensor, dim: int = -1) -> Tensor:
    """Append channels of zeros up to a whole number of vectors; a scan of zeros gives zeros."""
    missing = -x.shape[dim] % LANES
    if not missing:
        return x
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim % x.dim()) + (0, missing))


def _contiguous(x: Tensor) -> Tensor:
    return x.detach().float().contiguous()


def _transposed(x: Tensor) -> Tensor:
    """Transpose, with a contiguous tensor's strides even where a size is 1: DDP's buckets have those."""
    return x.t().clone(memory_format=torch.contiguous_format)


def _numpy(*tensors: Tensor) -> list:
    return [t.detach().numpy() for t in tensors]


def _lengths(x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return torch.full(x.shape[:1], x.shape[1], dtype=torch.int64)
    return lengths.to(torch.int64).contiguous()


def _output_like(like: Tensor, padded: bool) -> Tensor:
    """Memory for an output: kernels write every valid frame, so it is zeroed only where there is padding."""
    shape = like.shape
    return like.new_zeros(shape) if padded else like.new_empty(shape)


def _saved_states(x: Tensor, a: Tensor, keep: bool) -> Tensor:
    chunks = -(-x.shape[1] // CHUNK) if keep else 0
    return torch.empty(x.shape[0], chunks, *a.shape)


def _sum_over_clips(gradient: Tensor) -> Tensor:
    return gradient[0] if gradient.shape[0] == 1 else gradient.sum(0)
