"""Branches around projections that all insertion points share (arXiv 2606.15638, section 2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError
from mambadapter.methods.base import SideMethod
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.initialisation import (
    channel_scale,
    input_scale,
    official_projections,
    small_weight_projections,
    unit_variance_projections,
    unit_weight_projections,
)
from mambadapter.methods.placement import insert_at_each, insertion_points
from mambadapter.methods.projections import refuse_if_sequential
from mambadapter.validators import one_of

BASE_RANK = 12  # the menu's; at another rank the same learning rate moves the output as far


class Projections(NamedTuple):
    """What a branch is made around: the two projections, and what an insertion point has of its own."""

    down: nn.Linear
    up: nn.Linear
    alpha: nn.Parameter | None
    input_scale: Tensor | None
    batch_norm: FrameBatchNorm | None


@dataclass(frozen=True)
class SharedProjections(SideMethod):
    """One W_down and one W_up for all insertion points, with a learnable scale alpha at each.

    Parameters
    ----------
    scaled_projections : bool
        Let the weights of W_down and W_up be of order one at every insertion point of every encoder: divide
        what the point reads by the length that the LayerNorm in front of it gives it, and what W_up emits by
        the rank (`rank_scale`). False scales the weights of W_down instead, by the mean over the points.
    small_weights : bool
        With scaled_projections, divide by the root mean square instead, so that W_down's weights are one over
        the square root of its width, as in a fresh dense layer, and turn further at the same rate.
    """

    shared: bool = True
    scaled_projections: bool = False
    small_weights: bool = False
    alpha: float = 0.1
    batch_norm: bool = False
    initialisation: str = "unit_variance"

    initialisations: ClassVar[tuple[str, ...]] = ("unit_variance", "official")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_if_sequential("scaled_projections", self.scaled_projections, self.insertion)
        one_of("initialisation", self.initialisation, self.initialisations)
        if self.small_weights and not self.scaled_projections:
            raise UserError(
                "small_weights: how small is known of scaled inputs; set scaled_projections to true, or "
                "small_weights to false."
            )
        for knob in ("scaled_projections", "batch_norm"):
            if getattr(self, knob) and self.initialisation == "official":
                raise UserError(
                    f"initialisation: official is that of the paper's code, which has no {knob}; set "
                    f"{knob} to false."
                )

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        places = insertion_points(encoder, self.placement, self.last_layers)
        pair = self._projections(encoder.width, places) if self.shared else None

        def make(place: Sublayer) -> nn.Module:
            down, up = pair or self._projections(encoder.width, [place])
            alpha = nn.Parameter(torch.tensor(float(self.alpha))) if self.shared else None
            norm = FrameBatchNorm(self.rank) if self.batch_norm else None
            projections = Projections(down, up, alpha, self._input_scale(place), norm)
            return self.around(projections, encoder.causal)

        insert_at_each(encoder, places, self.insertion, self.norms, make)

    def around(self, projections: Projections, causal: bool) -> nn.Module:
        """Make a branch around these projections; `causal` if a frame must see none that is to come."""
        raise NotImplementedError

    def _input_scale(self, place: Sublayer) -> Tensor | None:
        if not self.scaled_projections:
            return None
        return channel_scale(place.norm) if self.small_weights else input_scale(place.norm)

    def _projections(self, width: int, places: Iterable[Sublayer]) -> tuple[nn.Linear, nn.Linear]:
        # A BatchNorm behind W_down takes away whatever a bias would add.
        down = nn.Linear(width, self.rank, bias=not self.batch_norm)
        up = nn.Linear(self.rank, width)
        if self.initialisation == "official":
            official_projections(down, up)
        elif self.small_weights:
            small_weight_projections(down, up)
        elif self.scaled_projections:
            unit_weight_projections(down, up)
        else:
            unit_variance_projections(down, up, [place.norm for place in places])
        return down, up


def rank_scale(up: nn.Linear, input_scale: Tensor | None) -> float | None:
    """What a W_up's output is multiplied by where inputs are scaled: ``sqrt(BASE_RANK) / r``.

    A step of Adam moves all r weights of an output by the learning rate, mostly in one direction, so what it
    does to the output grows with r, as muP has it (Yang 2022, arXiv 2203.03466). Over the square root of the
    rank, as rsLoRA has it, a rate that suits rank 12 kept recognition from learning at rank 35 (not saved).
    """
    return None if input_scale is None else BASE_RANK**0.5 / up.in_features
