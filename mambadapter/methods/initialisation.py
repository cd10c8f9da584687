"""How a MambAdapter starts: as an exact no-op that learns from the first step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mambadapter.ssm import GatedConvolution, Mamba

SILU_POWER = 0.35578  # E[silu(x)^2] of a standard normal x


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
    unit_weight_projections(down, up)
    down.weight.mul_(power.mean().rsqrt())


@torch.no_grad()
def unit_weight_projections(down: nn.Linear, up: nn.Linear) -> None:
    """Start W_down with weights of order one, for inputs scaled by `input_scale`, and W_up at zero."""
    nn.init.normal_(down.weight)
    for tensor in (down.bias, up.weight, up.bias):
        if tensor is not None:
            nn.init.zeros_(tensor)


@torch.no_grad()
def small_weight_projections(down: nn.Linear, up: nn.Linear) -> None:
    """The same for inputs scaled by `channel_scale`, with weights as small as in a fresh dense layer."""
    unit_weight_projections(down, up)
    down.weight.mul_(down.in_features**-0.5)


@torch.no_grad()
def input_scale(norm: nn.LayerNorm) -> Tensor:
    """One over the root mean length of the vectors that a LayerNorm emits, known before any data is seen.

    W_down of such an input and with weights of unit variance emits unit variance. Where lengths differ
    tenfold between layers, as in Whisper, one W_down scaled by their mean would feed some blocks a tenth of
    what others get. And with the scale in the weights a step of Adam is as large as they are, the more so the
    wider the encoder; here it is as small in every encoder.
    """
    return (norm.weight.square() + norm.bias.square()).sum().rsqrt()


@torch.no_grad()
def channel_scale(norm: nn.LayerNorm) -> Tensor:
    """One over the root mean square of the channels that a LayerNorm emits, known before any data is seen.

    W_down of such an input starts at unit variance with weights of one over the square root of its width,
    whichever the encoder, and turns further at a learning rate than one of order one does.
    """
    return input_scale(norm) * norm.weight.numel() ** 0.5


@torch.no_grad()
def unit_gain(block: Mamba | GatedConvolution) -> None:
    """Start a block so that, over starts, a standard normal input gives an output of unit variance.

    One start may be off by two either way, and more where the input is not normal. With random taps of zero
    mean a convolution keeps the variance of its input, however its frames are correlated. A SiLU of a
    standard normal number has the power `SILU_POWER`, and so has the gate. What the scan adds to its skip is
    small at the start, for its steps are.
    """
    for linear, power in ((block.in_proj, 1.0), (block.out_proj, SILU_POWER**2)):
        nn.init.normal_(linear.weight, std=(linear.in_features * power) ** -0.5)
    nn.init.normal_(block.conv1d.weight, std=block.conv1d.kernel_size[0] ** -0.5)
    if block.conv1d.bias is not None:
        nn.init.zeros_(block.conv1d.bias)


@torch.no_grad()
def official_projections(down: nn.Linear, up: nn.Linear) -> None:
    """Start the projections as the paper's code does: W_down from N(0, 0.01), W_up at zero."""
    nn.init.normal_(down.weight, std=0.01)
    nn.init.normal_(down.bias, std=0.01)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)


@torch.no_grad()
def official_mamba(block: Mamba | GatedConvolution) -> None:
    """Shrink a Mamba block's weights as the paper's code does: Xavier with gain 0.02.

    Its output starts near 1e-10 of its input, so little gradient passes; for reproduction only.
    """
    for name, weight in block.named_parameters():
        if name.endswith(".weight"):
            nn.init.xavier_uniform_(weight, gain=0.02)
    if block.conv1d.bias is not None:
        nn.init.zeros_(block.conv1d.bias)
