"""W_down and W_up, and the scale of what W_down reads."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.linear import frozen_linear
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError
from mambadapter.methods.base import SideMethod
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.initialisation import (
    input_scale,
    unit_variance_projections,
    unit_weight_projections,
)

BASE_RANK = 12  # the menu's; at another rank the same learning rate moves the output as far


def project_down(hidden: Tensor, down: nn.Linear, scale: Tensor | None) -> Tensor:
    """Compute ``W_down(scale * hidden)``.

    Shapes: `hidden` (B, T, d), `scale` (); returns (B, T, r).
    """
    # Scaling a small matrix instead of the (B, T, d) input saves a pass over the activations.
    return down(hidden) if scale is None else F.linear(hidden, scale * down.weight, down.bias)


def project_up(
    low: Tensor, up: nn.Linear, alpha: Tensor | None, input_scale: Tensor | None
) -> Tensor:
    """Compute ``alpha * W_up(low)``; where the input was scaled, times ``sqrt(BASE_RANK) / r``.

    A step of Adam moves all r weights of an output by the learning rate, mostly in one direction, so what it
    does to the output grows with r, as muP has it (Yang 2022, arXiv 2203.03466). Over the square root of the
    rank, as rsLoRA has it, a rate that suits rank 12 kept recognition from learning at rank 35 (not saved).
    Shapes: `low` (B, T, r), `alpha` (); returns (B, T, d).
    """
    if alpha is None and input_scale is None:
        return up(low)
    scale = up_scale(up, alpha, input_scale)
    return F.linear(low, scale * up.weight, scale * up.bias)


def up_scale(up: nn.Linear, alpha: Tensor | None, input_scale: Tensor | None) -> Tensor | float:
    """What `project_up` multiplies by."""
    scale = 1.0 if alpha is None else alpha
    return scale if input_scale is None else scale * BASE_RANK**0.5 / up.in_features


class ProjectedBranch(nn.Module):
    """A branch that begins with `project_down` and ends with `project_up`; it may have an alpha.

    With a `batch_norm` what W_down emits is normalised over the frames of a batch, and W_down needs no bias.
    """

    input_scale: Tensor | None

    def __init__(
        self,
        down: nn.Linear,
        up: nn.Linear,
        alpha: nn.Parameter | None = None,
        input_scale: Tensor | None = None,
        batch_norm: FrameBatchNorm | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("input_scale", input_scale, persistent=False)
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
        return project_up(low, self.up, self.alpha, self.input_scale)

    def fold(self, module: nn.Module) -> bool:
        """Put the factors and the running statistics into projections of this branch's own, for inference."""
        up, down = up_scale(self.up, self.alpha, self.input_scale), self.down
        self.up = frozen_linear(up * self.up.weight, up * self.up.bias)
        scale = 1.0 if self.input_scale is None else self.input_scale
        if self.batch_norm is not None:
            gain, offset = self.batch_norm.affine()
            self.down = frozen_linear(gain[:, None] * scale * down.weight, offset)
        elif self.input_scale is not None:
            self.down = frozen_linear(scale * down.weight, down.bias.clone())
        self.alpha = self.batch_norm = self.input_scale = None
        return False


@dataclass(frozen=True)
class ProjectingMethod(SideMethod):
    """Branches that begin with a W_down.

    Parameters
    ----------
    scaled_projections : bool
        Let the weights of W_down and W_up be of order one at every insertion point of every encoder: divide
        what the point reads by the length that the LayerNorm in front of it gives it, and what W_up emits by
        the rank (`project_up`). False scales the weights of W_down instead, by the mean over the points that
        share it.
    """

    scaled_projections: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scaled_projections and self.insertion == "sequential":
            raise UserError(
                "scaled_projections: what a sequential branch reads comes from no LayerNorm, so its scale is "
                "not known; set scaled_projections to false, or insertion to parallel."
            )

    def scale_at(self, place: Sublayer) -> Tensor | None:
        """What the branch of a place multiplies its input by."""
        return input_scale(place.norm) if self.scaled_projections else None

    def start(self, down: nn.Linear, up: nn.Linear, places: Iterable[Sublayer]) -> None:
        """Start W_down so that what it emits in these places has unit variance, and W_up at zero."""
        if self.scaled_projections:
            unit_weight_projections(down, up)
        else:
            unit_variance_projections(down, up, [place.norm for place in places])
