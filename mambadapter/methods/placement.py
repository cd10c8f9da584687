"""Where branches go, and the LayerNorms that learn with them."""

from collections.abc import Callable, Iterable

from torch import nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError

# The sub-layers each placement adapts (Pfeiffer et al. 2021; Houlsby et al. 2019).
PLACEMENTS = {"pfeiffer": ("ffn",), "houlsby": ("attention", "ffn")}


def insertion_points(encoder: AdaptedStack, placement: str) -> list[Sublayer]:
    """The sub-layers that a placement adapts; an error if there is none."""
    places = [s for s in encoder.sublayers if s.kind in PLACEMENTS[placement]]
    if not places:
        raise UserError(f"Placement '{placement}' matches no sub-layer of this encoder.")
    return places


def insert_at_each(
    encoder: AdaptedStack,
    placement: str,
    insertion: str,
    norms: str,
    branch: Callable[[Sublayer], nn.Module],
) -> None:
    """Insert a branch at every place of a placement, and set the chosen LayerNorms free."""
    places = insertion_points(encoder, placement)
    for place in places:
        encoder.insert(
            place.name,
            place.module,
            branch(place),
            "output" if insertion == "sequential" else "input",
            place.entry,
        )
    if norms == "adapted":
        train_norms(encoder, places)


def train_norms(encoder: AdaptedStack, places: Iterable[Sublayer] = ()) -> None:
    """Set free the LayerNorms in front of these sub-layers, and the final one."""
    for norm in (*(place.norm for place in places), encoder.final_norm):
        norm.requires_grad_(True)
