"""How a MambAdapter starts: as an exact no-op that learns from the first step."""

from collections.abc import Iterable

import torch
from torch import nn

from mambadapter.ssm import Mamba


@torch.no_grad()
def unit_variance_projections(
    down: nn.Linear, up: nn.Linear, norms: Iterable[nn.LayerNorm]
) -> None:
    """Start W_down so that what enters the Mamba block has unit variance, and W_up at zero.

    A LayerNorm with gain g and bias b emits channels whose squares average to mean(g^2 + b^2), so
    the scale of what the branches read is known before any data is seen. The block itself keeps
    mamba_ssm's own initialisation, which assumes such an input.
    """
    power = torch.stack([norm.weight.square().sum() + norm.bias.square().sum() for norm in norms])
    nn.init.normal_(down.weight)
    down.weight.mul_(power.mean().rsqrt())
    nn.init.zeros_(down.bias)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)


@torch.no_grad()
def official_projections(down: nn.Linear, up: nn.Linear) -> None:
    """Start the projections as the paper's code does: W_down from N(0, 0.01), W_up at zero."""
    nn.init.normal_(down.weight, std=0.01)
    nn.init.normal_(down.bias, std=0.01)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)


@torch.no_grad()
def official_mamba(block: Mamba) -> None:
    """Shrink a Mamba block's weights as the paper's code does: Xavier with gain 0.02.

    Its output starts near 1e-10 of its input, so little gradient passes; for reproduction only.
    """
    for linear in (block.in_proj, block.conv1d, block.x_proj, block.dt_proj, block.out_proj):
        nn.init.xavier_uniform_(linear.weight, gain=0.02)
    if block.conv1d.bias is not None:
        nn.init.zeros_(block.conv1d.bias)
