"""The CPU backend: numba kernels with a hand-written backward, float32, no compiler needed.

Padding is neither computed nor masked: the kernels visit each clip's valid frames alone, forwards or
backwards. The backward keeps the inputs, and the state before every sixteenth step.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mambadapter.ssm.backends.reference import keep_states, needs_grad

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
        from mambadapter.ssm.backends.numba.inner import (
            block_clip,
            block_forward,
            inner_backward,
            inner_forward,
        )
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
    inputs = _single(u, delta, A, B, C, D, z, bias)
    y, _ = _scan(*inputs, lengths, reverse, keep)
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
    lookahead: int = 0,
) -> Tensor:
    """See `mambadapter.ssm.mamba_inner`."""
    channels, dtype = D.shape[0], xz.dtype
    bias = torch.zeros_like(D) if conv_bias is None else conv_bias
    xz = _whole_vectors(xz.unflatten(-1, (2, channels))).flatten(-2)
    bias, x_proj, dt_bias, D = (_whole_vectors(t) for t in (bias, x_proj, dt_bias, D))
    conv_weight, dt_proj, A = (_whole_vectors(t, dim=0) for t in (conv_weight, dt_proj, A))
    parameters = (conv_weight, bias, x_proj, dt_proj, dt_bias, A, D)
    keep = needs_grad(xz, *parameters)
    y, _ = _inner(*_single(xz, *parameters), lengths, reverse, lookahead, keep)
    return y[..., :channels].to(dtype)


class PreparedBlock:
    """A Mamba block whose parameters do not change any more, laid out once as the kernel reads them.

    It is `mamba_inner` between two projections without bias, computed in one kernel, and builds no graph.
    """

    def __init__(
        self,
        in_proj: Tensor,
        out_proj: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        x_proj: Tensor,
        dt_proj: Tensor,
        dt_bias: Tensor,
        A: Tensor,
        D: Tensor,
        lookahead: int,
    ) -> None:
        bias = torch.zeros_like(D) if conv_bias is None else conv_bias
        halves = _whole_vectors(in_proj.t().unflatten(-1, (2, len(D)))).flatten(-2)
        out_columns, x_columns = (_whole_vectors(one.t(), dim=0) for one in (out_proj, x_proj))
        taps, rates = conv_weight.squeeze(1).t(), A.t() * float(LOG2_E)
        tensors = _single(
            halves, out_columns, taps, bias, x_columns, dt_proj.t(), dt_bias, rates, D
        )
        # Apart from the parameters, which may move or change.
        arrays = _numpy(*(_contiguous(_whole_vectors(one)).clone() for one in tensors))
        self._parameters = *arrays[:2], tuple(arrays[2:])
        self._lookahead = lookahead

    def __call__(self, x: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
        """Shapes: `x` (B, T, M), `lengths` (B,); returns (B, T, M)."""
        plain = x.detach().float().contiguous().numpy()
        out = (np.empty if lengths is None else np.zeros)(plain.shape, np.float32)
        if lengths is None and len(plain) == 1:
            # To share out one clip would cost as much as a third of it.
            block_clip(
                plain[0], *self._parameters, plain.shape[1], reverse, self._lookahead, out[0]
            )
        else:
            use_threads(len(plain))
            counts = _lengths(x, lengths).numpy()
            block_forward(plain, *self._parameters, counts, reverse, self._lookahead, out)
        return torch.from_numpy(out).to(x.dtype)


@torch.library.custom_op("mambadapter::cpu_scan", mutates_args=(), device_types="cpu")
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    bias: Tensor,
    lengths: Tensor | None,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The scan, and with `keep` the states that its backward starts from."""
    gated = z is not None
    u, delta, B, C, D, bias = map(_contiguous, (u, delta, B, C, D, bias))
    gate = u if z is None else _contiguous(z)
    a = _contiguous(A.t())
    saved, out = _saved_states(u, a, lengths, keep), _output_like(u, lengths)
    use_threads(len(u))
    scan_forward(
        *_numpy(u, delta, a * float(LOG2_E), B, C, D, gate, bias, _lengths(u, lengths)),
        reverse,
        gated,
        saved.numpy(),
        keep,
        out.numpy(),
    )
    return out, saved


@_scan.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return u.new_empty(u.shape), _saved_states(u, A.t(), None, rest[-1])


@torch.library.custom_op("mambadapter::cpu_scan_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    bias: Tensor,
    lengths: Tensor | None,
    saved: Tensor,
    reverse: bool,
) -> list[Tensor]:
    """Gradients of u, delta, B, C, z (empty without a gate), and clip by clip of a, D and the bias."""
    gated = z is not None
    grad, u, delta, B, C, D, bias = map(_contiguous, (grad, u, delta, B, C, D, bias))
    gate = u if z is None else _contiguous(z)
    a = _contiguous(A.t())
    grads = [_output_like(t, lengths) for t in (u, delta, B, C)]
    grad_z = _output_like(gate, lengths) if gated else u.new_empty(0)
    per_clip = [u.new_zeros(u.shape[0], *t.shape) for t in (a, D, bias)]
    grad_u, grad_delta, grad_B, grad_C = grads
    use_threads(len(u))
    scan_backward(
        *_numpy(grad, u, delta, a, a * float(LOG2_E), B, C, D, gate, bias, _lengths(u, lengths)),
        reverse,
        gated,
        *_numpy(saved, grad_u, grad_delta, grad_z if gated else grad_u, grad_B, grad_C, *per_clip),
    )
    return [*grads, grad_z, *per_clip]


@_scan_backward.register_fake
def _(
    grad: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Any,
    bias: Tensor, *rest: Any,
) -> list[Tensor]:  # fmt: skip
    grads = [t.new_empty(t.shape) for t in (u, delta, B, C)]
    per_clip = [u.new_empty(u.shape[0], *t.shape) for t in (A.t(), D, bias)]
    return [*grads, u.new_empty(0 if z is None else u.shape), *per_clip]


def _scan_gradients(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 11
    grads = _scan_backward(grad, *ctx.saved_tensors, ctx.reverse)
    grad_u, grad_delta, grad_B, grad_C, grad_z, grad_a, grad_D, grad_bias = grads
    return (
        grad_u,
        grad_delta,
        _transposed(grad_a.sum(0)),
        grad_B,
        grad_C,
        grad_D.sum(0),
        grad_z if ctx.saved_tensors[6] is not None else None,
        grad_bias.sum(0),
        None,
        None,
        None,
    )


_scan.register_autograd(_scan_gradients, setup_context=keep_states)


@torch.library.custom_op("mambadapter::cpu_inner", mutates_args=(), device_types="cpu")
def _inner(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lengths: Tensor | None,
    reverse: bool,
    lookahead: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The inside of a block, and with `keep` the states that its backward starts from."""
    xz, a = _contiguous(xz), _contiguous(A.t())
    taps, dt_rows = _contiguous(conv_weight.squeeze(1).t()), _contiguous(dt_proj.t())
    x_columns = _contiguous(_whole_vectors(x_proj.t()))
    saved, out = _saved_states(xz, a, lengths, keep), _output_like(xz[..., : a.shape[1]], lengths)
    use_threads(len(xz))
    inner_forward(
        *_numpy(xz, taps, conv_bias, x_columns, dt_rows, dt_bias, a * float(LOG2_E), D),
        _lengths(xz, lengths).numpy(),
        reverse,
        lookahead,
        saved.numpy(),
        keep,
        out.numpy(),
    )
    return out, saved


@_inner.register_fake
def _(xz: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    A, keep = rest[5], rest[-1]
    return xz.new_empty(*xz.shape[:2], A.shape[0]), _saved_states(xz, A.t(), None, keep)


@torch.library.custom_op("mambadapter::cpu_inner_backward", mutates_args=(), device_types="cpu")
def _inner_backward(
    grad: Tensor,
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lengths: Tensor | None,
    saved: Tensor,
    reverse: bool,
    lookahead: int,
) -> list[Tensor]:
    """Gradients of xz, and clip by clip of what the kernels read for the other arguments."""
    grad, xz, a = _contiguous(grad), _contiguous(xz), _contiguous(A.t())
    taps, dt_rows = _contiguous(conv_weight.squeeze(1).t()), _contiguous(dt_proj.t())
    x_rows, x_columns = _contiguous(x_proj), _contiguous(_whole_vectors(x_proj.t()))
    parameters = (taps, conv_bias, x_rows, dt_rows, dt_bias, a, D)
    grad_xz = torch.zeros_like(xz)
    per_clip = [xz.new_zeros(xz.shape[0], *t.shape) for t in parameters]
    use_threads(len(xz))
    inner_backward(
        *_numpy(
            grad, xz, taps, conv_bias, x_columns, x_rows, dt_rows, dt_bias, a, a * float(LOG2_E), D
        ),
        _lengths(xz, lengths).numpy(),
        reverse,
        lookahead,
        *_numpy(saved, grad_xz, *per_clip),
    )
    return [grad_xz, *per_clip]


@_inner_backward.register_fake
def _(
    grad: Tensor, xz: Tensor, conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor,
    dt_proj: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, *rest: Any,
) -> list[Tensor]:  # fmt: skip
    taps = conv_weight.squeeze(1).t()
    parameters = (taps, conv_bias, x_proj, dt_proj.t(), dt_bias, A.t(), D)
    per_clip = [xz.new_empty(xz.shape[0], *t.shape) for t in parameters]
    return [xz.new_empty(xz.shape), *per_clip]


def _keep_inner(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *others, ctx.lookahead, keep = inputs
    keep_states(ctx, (*others, keep), output)


def _inner_gradients(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 12
    grad_xz, *per_clip = _inner_backward(grad, *ctx.saved_tensors, ctx.reverse, ctx.lookahead)
    taps, conv_bias, x_proj, dt_rows, dt_bias, a, D = (t.sum(0) for t in per_clip)
    return (
        grad_xz,
        _transposed(taps).unsqueeze(1),
        conv_bias,
        x_proj,
        _transposed(dt_rows),
        dt_bias,
        _transposed(a),
        D,
        None,
        None,
        None,
        None,
    )


_inner.register_autograd(_inner_gradients, setup_context=_keep_inner)


def _whole_vectors(x: Tensor, dim: int = -1) -> Tensor:
    """Append channels of zeros up to a whole number of vectors; a scan of zeros gives zeros."""
    missing = -x.shape[dim] % LANES
    if not missing:
        return x
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim % x.dim()) + (0, missing))


def _single(*tensors: Tensor | None) -> list[Any]:
    """The kernels compute in float32, under autocast too."""
    return [None if t is None else t.float() for t in tensors]


def _contiguous(x: Tensor) -> Tensor:
    return x.contiguous()


def _transposed(x: Tensor) -> Tensor:
    """Transpose, with a contiguous tensor's strides even where a size is 1: DDP's buckets have those."""
    return x.t().clone(memory_format=torch.contiguous_format)


def _numpy(*tensors: Tensor) -> list:
    return [t.detach().numpy() for t in tensors]


def _lengths(x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return torch.full(x.shape[:1], x.shape[1], dtype=torch.int64)
    return lengths.to(torch.int64).contiguous()


def _output_like(like: Tensor, lengths: Tensor | None) -> Tensor:
    """Memory for an output: kernels write every valid frame, so it is zeroed only where there is padding."""
    return like.new_empty(like.shape) if lengths is None else like.new_zeros(like.shape)


def _saved_states(x: Tensor, a: Tensor, lengths: Tensor | None, keep: bool) -> Tensor:
    chunks = -(-x.shape[1] // CHUNK) if keep else 0
    return _output_like(x.new_empty(()).expand(x.shape[0], chunks, *a.shape), lengths)
