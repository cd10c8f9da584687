"""Where branches go, and the LayerNorms that learn with them."""

from collections.abc import Callable, Iterable

from torch import nn

from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError

# The sub-layers each placement adapts (Pfeiffer et al. 2021; Houlsby et al. 2019).
PLACEMENTS = {"pfeiffer": ("ffn",), "houlsby": ("attention", "ffn")}


def placed(encoder: AdaptedStack, placement: str) -> list[Sublayer]:
    """The sub-layers that a placement adapts; an error if there is none."""
    places = [s for s in encoder.sublayers if s.kind in PLACEMENTS[placement]]
    if not places:
        raise UserError(f"Placement '{placement}' matches no sub-layer of this encoder.")
    return places


def insertion_points(shape: EncoderShape, placement: str) -> int:
    """How many sub-layers a placement adapts."""
    return shape.layers * len(PLACEMENTS[placement])


def insert_at_each(
    encoder: AdaptedStack,
    placement: str,
    insertion: str,
    norms: str,
    branch: Callable[[Sublayer], nn.Module],
) -> None:
    """Insert a branch at every place of a placement, and set the chosen LayerNorms free.

    Parameters
    ----------
    encoder : AdaptedStack
        The encoder, or decoder.
    placement, insertion, norms : str
        As in `mambadapter.methods.MambAdapters`.
    branch : Callable[[Sublayer], nn.Module]
        Makes the branch of a place.
    """
    places = placed(encoder, placement)
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


def norm_count(shape: EncoderShape, points: int = 0) -> int:
    """Parameters of the LayerNorms in front of so many sub-layers, and of the final one.

    The final norm is trained once, also where an adapted sub-layer reads it.
    """
    return 2 * shape.width * (points + 1)
