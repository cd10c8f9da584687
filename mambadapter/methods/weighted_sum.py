"""A learned mean of an encoder's layers (SUPERB, arXiv 2105.01051, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.methods.base import Method, register


class LayerWeights(nn.Module):
    """Softmax weights of the layers, all equal at the start."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        """Mix tensors of (B, T, d) into one."""
        shares = self.weights.softmax(0)
        return sum(share * layer for share, layer in zip(shares, hidden, strict=True))


@register
@dataclass(frozen=True)
class WeightedSum(Method):
    """The head reads a learned mean of what enters the first layer and what every layer emits.

    As in SUPERB (Yang et al. 2021, arXiv 2105.01051, section 3); the encoder is wholly frozen.
    """

    starts_as_frozen: ClassVar[bool] = False

    def adapt(self, encoder: AdaptedStack) -> None:
        """Add the weights."""
        encoder.read_all_layers(LayerWeights(len(encoder.layers) + 1))
