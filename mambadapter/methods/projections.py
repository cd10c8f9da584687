"""W_down and W_up, and the scale of what W_down reads."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.linear import frozen_linear
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError
from mambadapter.methods.base import SideMethod
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.initialisation import (
    channel_scale,
    small_weight_projections,
    unit_variance_projections,
)


def project_down(hidden: Tensor, down: nn.Linear, scale: Tensor | None) -> Tensor:
    """Compute ``W_down(scale * hidden)``.

    Shapes: `hidden` (B, T, d), `scale` (); returns (B, T, r).
    """
    # Scaling a small matrix instead of the (B, T, d) input saves a pass over the activations.
    return down(hidden) if scale is None else F.linear(hidden, scale * down.weight, down.bias)


def project_up(low: Tensor, up: nn.Linear, scale: Tensor | float | None) -> Tensor:
    """Compute ``scale * W_up(low)``.

    Shapes: `low` (B, T, r), `scale` (); returns (B, T, d).
    """
    if scale is None:
        return up(low)
    return F.linear(low, scale * up.weight, scale * up.bias)


class ProjectedBranch(nn.Module):
    """A branch that begins with `project_down` and ends with `project_up`.

    What W_up emits is multiplied by a learnable `alpha` and a constant `output_scale`, if there are any. With
    a `batch_norm` what W_down emits is normalised over the frames of a batch, and W_down needs no bias.
    """

    input_scale: Tensor | None

    def __init__(
        self,
        down: nn.Linear,
        up: nn.Linear,
        alpha: nn.Parameter | None = None,
        input_scale: Tensor | None = None,
        output_scale: float | None = None,
        batch_norm: FrameBatchNorm | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("input_scale", input_scale, persistent=False)
        self.output_scale = output_scale
        self.down = down
        self.batch_norm = batch_norm
        self.up = up
        self.alpha = alpha

    def low(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute what enters the branch's inside.

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, r).
        """
        low = project_down(hidden, self.down, self.input_scale)
        return low if self.batch_norm is None else self.batch_norm(low, lengths)

    def out(self, low: Tensor) -> Tensor:
        """Compute what the branch adds from what leaves its inside.

        Shapes: `low` (B, T, r); returns (B, T, d).
        """
        return project_up(low, self.up, self._up_scale())

    def fold(self, module: nn.Module) -> bool:
        """Put the factors and the running statistics into projections of this branch's own, for inference."""
        down, up_scale = self.down, self._up_scale()
        up_scale = 1.0 if up_scale is None else up_scale
        self.up = frozen_linear(up_scale * self.up.weight, up_scale * self.up.bias)
        scale = 1.0 if self.input_scale is None else self.input_scale
        if self.batch_norm is not None:
            gain, offset = self.batch_norm.affine()
            self.down = frozen_linear(gain[:, None] * scale * down.weight, offset)
        elif self.input_scale is not None:
            self.down = frozen_linear(scale * down.weight, down.bias.clone())
        self.alpha = self.batch_norm = self.input_scale = self.output_scale = None
        return False

    def _up_scale(self) -> Tensor | float | None:
        if self.alpha is None or self.output_scale is None:
            return self.output_scale if self.alpha is None else self.alpha
        return self.alpha * self.output_scale


@dataclass(frozen=True)
class OwnProjections(SideMethod):
    """Branches with a W_down and a W_up of their own at each insertion point.

    Parameters
    ----------
    scaled_inputs : bool
        Divide what each W_down reads by the root mean square that the LayerNorm in front of it gives it, so
        that a step of Adam is as large beside W_down's weights at every point of every encoder. False divides
        the weights that it starts with instead.
    """

    scaled_inputs: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_if_sequential("scaled_inputs", self.scaled_inputs, self.insertion)

    def scale_at(self, place: Sublayer) -> Tensor | None:
        """What the branch of a place multiplies its input by."""
        return channel_scale(place.norm) if self.scaled_inputs else None

    def start(self, down: nn.Linear, up: nn.Linear, place: Sublayer) -> None:
        """Start W_down so that what it emits has unit variance, and W_up at zero."""
        if self.scaled_inputs:
            small_weight_projections(down, up)
        else:
            unit_variance_projections(down, up, [place.norm])


def refuse_if_sequential(knob: str, scaled: bool, insertion: str) -> None:
    """Refuse to scale what comes from no LayerNorm, so that its scale is not known."""
    if scaled and insertion == "sequential":
        raise UserError(
            f"{knob}: what a sequential branch reads comes from no LayerNorm, so its scale is not known; set "
            f"{knob} to false, or insertion to parallel."
        )
