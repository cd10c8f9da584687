"""Convolutions over time, centred on a frame or causal."""

import torch
from torch import Tensor, nn


class TimeConvolution(nn.Conv1d):
    """A convolution over time that keeps frames and channels as many as they are."""

    def __init__(self, channels: int, kernel_size: int, causal: bool, groups: int = 1) -> None:
        padding = kernel_size - 1 if causal else kernel_size // 2
        super().__init__(channels, channels, kernel_size, padding=padding, groups=groups)
        self.own_tap = padding

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, r) to (B, T, r)."""
        return super().forward(hidden.mT)[..., : hidden.shape[1]].mT

    def start_as_identity(self) -> None:
        """Let every output be its own frame; of a convolution of one group."""
        assert self.bias is not None
        with torch.no_grad():
            self.weight.zero_()
            self.weight[..., self.own_tap] = torch.eye(self.in_channels)
            self.bias.zero_()
