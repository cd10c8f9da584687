"""DoRA: LoRA on the direction of each weight, and a magnitude (arXiv 2402.09353)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import DenseLayer
from mambadapter.methods.base import register
from mambadapter.methods.lora import LowRank, LowRankMethod


class WeightDecomposed(nn.Module):
    """The change that makes a dense layer's weight W ``m (W + s B A) / ||W + s B A||`` (DoRA, 2402.09353).

    The norm is over the inputs of each output, and a constant in the backward pass (section 4.3); m starts
    as that of W, so the layer starts unchanged.
    """

    layer: nn.Linear

    def __init__(
        self,
        layer: nn.Linear,
        rank: int,
        scale: float,
        dropout: float = 0.1,
        input_scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        inputs, outputs = layer.in_features, layer.out_features
        self.change = LowRank(inputs, outputs, rank, scale, dropout, input_scale)
        self.magnitude = nn.Parameter(layer.weight.detach().norm(dim=1))
        # Not as a submodule: the frozen weight is the encoder's.
        self.__dict__["layer"] = layer

    def forward(self, hidden: Tensor, output: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the change of the layer's output.

        Shapes: `hidden` (B, T, inputs), `output` (B, T, outputs); returns (B, T, outputs).
        """
        with torch.no_grad():
            norm = self._direction().norm(dim=1)
        ratio = self.magnitude / norm
        linear = output if self.layer.bias is None else output - self.layer.bias
        return (ratio - 1) * linear + ratio * self.change(hidden)

    def fold(self, layer: nn.Linear) -> bool:
        """Put the changed weight in the layer's place, for inference."""
        direction = self._direction()
        layer.weight.copy_((self.magnitude / direction.norm(dim=1))[:, None] * direction)
        return True

    def _direction(self) -> Tensor:
        return self.layer.weight + self.change.change()


@register
@dataclass(frozen=True)
class DoRA(LowRankMethod):
    """DoRA: LoRA on the direction of each weight, and a magnitude (Liu et al. 2024, arXiv 2402.09353).

    ``m (W + s B A) / ||W + s B A||`` with one magnitude an output channel. The norm is a constant in the
    backward pass (section 4.3).

    Parameters
    ----------
    rank, alpha, targets, dropout, norms, rank_stabilised, scaled_inputs, last_layers
        As in `LoRA`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> DoRA(targets=["q", "v"]).rank
    8
    """

    def insert(self, encoder: AdaptedStack, target: DenseLayer, input_scale: Tensor | None) -> None:
        """Insert the branch of a dense layer."""
        branch = WeightDecomposed(target.module, self.rank, self.scale, self.dropout, input_scale)
        encoder.insert(target.name, target.module, branch, "both")
