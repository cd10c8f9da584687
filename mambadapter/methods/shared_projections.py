"""Branches around projections that all insertion points share (arXiv 2606.15638, section 2)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.base import SideMethod
from mambadapter.methods.initialisation import official_projections, unit_variance_projections
from mambadapter.methods.placement import insert_at_each, insertion_points
from mambadapter.validators import one_of


@dataclass(frozen=True)
class SharedProjections(SideMethod):
    """One W_down and one W_up for all insertion points, with a learnable scale alpha at each."""

    shared: bool = True
    alpha: float = 0.1
    initialisation: str = "unit_variance"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("initialisation", self.initialisation, ("unit_variance", "official"))

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        places = insertion_points(encoder, self.placement)
        pair = self._projections(encoder.width, places) if self.shared else None

        def make(place: Sublayer) -> nn.Module:
            down, up = pair or self._projections(encoder.width, [place])
            alpha = nn.Parameter(torch.tensor(float(self.alpha))) if self.shared else None
            return self.around(down, up, alpha)

        insert_at_each(encoder, self.placement, self.insertion, self.norms, make)

    def around(self, down: nn.Linear, up: nn.Linear, alpha: nn.Parameter | None) -> nn.Module:
        """Make a branch around these projections."""
        raise NotImplementedError

    def _projections(self, width: int, places: Iterable[Sublayer]) -> tuple[nn.Linear, nn.Linear]:
        down, up = nn.Linear(width, self.rank), nn.Linear(self.rank, width)
        if self.initialisation == "official":
            official_projections(down, up)
        else:
            unit_variance_projections(down, up, [place.norm for place in places])
        return down, up


def project_up(low: Tensor, up: nn.Linear, alpha: Tensor | None) -> Tensor:
    """Compute ``alpha * W_up(low)``.

    Shapes: `low` (B, T, r); returns (B, T, d).
    """
    if alpha is None:
        return up(low)
    # Scaling the small matrix instead of the (B, T, d) product saves a pass over the activations.
    return F.linear(low, alpha * up.weight, alpha * up.bias)
