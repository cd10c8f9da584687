"""The kernels of mamba-ssm and causal-conv1d, where they are installed and there is a GPU.

Neither is a requirement. causal-conv1d serves convolutions of 2 to 4 taps; others run in PyTorch. Channels
in multiples of 8 spare it a copy.
"""

from functools import cache
from importlib import import_module
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from mambadapter.ssm.backends.reference import oriented
from mambadapter.utils.masks import valid_only

NAME = "mamba_ssm"
_FUSED_TAPS = (2, 3, 4)
_FUSED_CHANNELS = 8


def unusable(device_type: str) -> str | None:
    """Say why this backend cannot serve a device; None when it can."""
    if device_type != "cuda":
        return "its kernels run on CUDA tensors only"
    module = _optional("mamba_ssm.ops.selective_scan_interface")
    if module is None or not hasattr(module, "selective_scan_fn"):
        return "mamba-ssm cannot be imported; install it with `pip install mamba-ssm causal-conv1d`"
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
    if z is not None:
        z = oriented(z, lengths, reverse)
    y = _scan(u, delta, A, B, C, D, z, delta_bias)
    return oriented(y, lengths, reverse)


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
    x, z = oriented(xz, lengths, reverse).chunk(2, dim=-1)
    rank, states = dt_proj.shape[1], A.shape[1]
    x = x.transpose(1, 2)
    if lookahead:  # what a causal convolution makes of later frames has looked ahead
        x = F.pad(x, (0, lookahead))
    u = _convolve(x, conv_weight, conv_bias)[..., lookahead:].transpose(1, 2)
    delta, B, C = F.linear(u, x_proj).split([rank, states, states], dim=-1)
    y = _scan(u, F.linear(delta, dt_proj), A, B, C, D, z, dt_bias)
    return valid_only(oriented(y, lengths, reverse), lengths)


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    kernel = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    delta = delta.to(u.dtype)
    u, delta, B, C = (t.transpose(1, 2).contiguous() for t in (u, delta, B, C))
    z = None if z is None else z.transpose(1, 2).contiguous()
    y = kernel(
        u, delta, A.float(), B, C, D.float(), z=z, delta_bias=delta_bias, delta_softplus=True
    )
    return y.transpose(1, 2)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Causal depthwise convolution and SiLU, (B, D, T) to (B, D, T)."""
    fused = _optional("causal_conv1d")
    taps = weight.shape[-1]
    if fused is not None and taps in _FUSED_TAPS:
        return fused.causal_conv1d_fn(
            _in_accepted_strides(x), weight.squeeze(1), bias, activation="silu"
        )
    return F.silu(F.conv1d(F.pad(x, (taps - 1, 0)), weight, bias, groups=x.shape[1]))


def _in_accepted_strides(x: Tensor) -> Tensor:
    """(B, D, T) in strides that causal_conv1d accepts: x itself, or else a channels-first copy."""
    # Its channels-last kernels load eight channels at once and refuse strides that are no multiples of
    # eight; x is half of a wider tensor, and has its strides. Its channels-first kernels take any size, but
    # assume without a check that the frames of a channel are adjacent in memory.
    # One frame is copied too: its gradient can have strides that the channels-last backward refuses.
    channels_last = x.stride(1) == 1 and x.stride(2) > 1 and x.shape[2] > 1
    steps = (x.shape[1], x.stride(0), x.stride(2), x.storage_offset())
    if channels_last and all(step % _FUSED_CHANNELS == 0 for step in steps):
        return x
    # contiguous() would return a (1, D, 1) tensor with its channels-last strides as they are.
    return x.clone(memory_format=torch.contiguous_format)


@cache
def _optional(name: str) -> ModuleType | None:
    # A build against another torch fails with more than ImportError (OSError on a missing symbol).
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None
