"""Branches around projections that all insertion points share (arXiv 2606.15638, section 2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.initialisation import official_projections
from mambadapter.methods.placement import insert_at_each, insertion_points
from mambadapter.methods.projections import ProjectingMethod
from mambadapter.validators import one_of


class Projections(NamedTuple):
    """What a branch is made around: the two projections, and what an insertion point has of its own."""

    down: nn.Linear
    up: nn.Linear
    alpha: nn.Parameter | None
    input_scale: Tensor | None
    batch_norm: FrameBatchNorm | None


@dataclass(frozen=True)
class SharedProjections(ProjectingMethod):
    """One W_down and one W_up for all insertion points, with a learnable scale alpha at each."""

    shared: bool = True
    alpha: float = 0.1
    batch_norm: bool = False
    initialisation: str = "unit_variance"

    initialisations: ClassVar[tuple[str, ...]] = ("unit_variance", "official")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("initialisation", self.initialisation, self.initialisations)
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
            projections = Projections(down, up, alpha, self.scale_at(place), norm)
            return self.around(projections, encoder.causal)

        insert_at_each(encoder, places, self.insertion, self.norms, make)

    def around(self, projections: Projections, causal: bool) -> nn.Module:
        """Make a branch around these projections; `causal` if a frame must see none that is to come."""
        raise NotImplementedError

    def _projections(self, width: int, places: Iterable[Sublayer]) -> tuple[nn.Linear, nn.Linear]:
        # A BatchNorm behind W_down takes away whatever a bias would add.
        down = nn.Linear(width, self.rank, bias=not self.batch_norm)
        up = nn.Linear(self.rank, width)
        if self.initialisation == "official":
            official_projections(down, up)
        else:
            self.start(down, up, places)
        return down, up
