"""Convolutions over time, centred on a frame or causal."""

import torch
from torch import nn


def time_convolution(channels: int, kernel_size: int, causal: bool, groups: int = 1) -> nn.Conv1d:
    """A convolution over time that keeps the number of channels.

    Parameters
    ----------
    channels : int
        r.
    kernel_size : int
        Taps, odd.
    causal : bool
        False: centred, with as many frames out as in. True: an output sees its own frame and those before
        it; there are ``kernel_size - 1`` outputs more than frames, to be cut off.
    groups : int
        As in PyTorch.

    Returns
    -------
    nn.Conv1d

    Example
    -------
    >>> time_convolution(4, 3, causal=True)(torch.randn(2, 4, 50)).shape
    torch.Size([2, 4, 52])
    """
    padding = kernel_size - 1 if causal else kernel_size // 2
    return nn.Conv1d(channels, channels, kernel_size, padding=padding, groups=groups)


def start_as_identity(convolution: nn.Conv1d, causal: bool) -> None:
    """Let a convolution of `time_convolution`, of one group, start as the identity."""
    tap = convolution.kernel_size[0] - 1 if causal else convolution.kernel_size[0] // 2
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[..., tap] = torch.eye(convolution.in_channels)
