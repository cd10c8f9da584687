"""Inputs of a selective scan, and mambapy's."""

import torch
import torch.nn.functional as F
from torch import Tensor


def scan_inputs(shape: tuple[int, int, int, int], device: str = "cpu") -> tuple[Tensor, ...]:
    """u, delta, A, B, C, D, z and the bias of delta, of (B, L, d_inner, N), with gradients wanted."""
    clips, time, channels, states = shape
    torch.manual_seed(0)
    inputs = (
        torch.randn(clips, time, channels),
        torch.randn(clips, time, channels),
        -torch.rand(channels, states) * states - 0.1,
        torch.randn(clips, time, states),
        torch.randn(clips, time, states),
        torch.randn(channels),
        torch.randn(clips, time, channels),
        torch.randn(channels) - 3,
    )
    return tuple(x.to(device).requires_grad_() for x in inputs)


def mambapy_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """As mambapy.mamba.MambaBlock computes it around its parallel scan."""
    from mambapy.pscan import pscan  # comes with the extra "benchmarks"

    delta = F.softplus(delta + bias)
    decay = torch.exp(delta[..., None] * A)
    drive = (delta * u)[..., None] * B[:, :, None]
    y = (pscan(decay, drive) @ C[..., None]).squeeze(-1) + D * u
    return y * F.silu(z)
