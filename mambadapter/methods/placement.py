"""Where branches go, and the LayerNorms that learn with them."""

from collections.abc import Callable, Iterable, Sequence

from torch import nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError

# The sub-layers each placement adapts (Pfeiffer et al. 2021; Houlsby et al. 2019).
PLACEMENTS = {"pfeiffer": ("ffn",), "houlsby": ("attention", "ffn")}


def insertion_points(
    encoder: AdaptedStack, placement: str, last_layers: int | None = None
) -> list[Sublayer]:
    """The sub-layers that a placement adapts, in the last so many layers; an error if there is none."""
    layers = adapted_layers(encoder, last_layers)
    places = [s for s in encoder.sublayers if s.kind in PLACEMENTS[placement] and s.layer in layers]
    if not places:
        raise UserError(f"Placement '{placement}' matches no sub-layer of this encoder.")
    return places


def adapted_layers(encoder: AdaptedStack, last_layers: int | None) -> range:
    """The indices of the last so many Transformer layers; None: of all."""
    depth = len(encoder.layers)
    if last_layers is not None and last_layers > depth:
        part = "decoder" if encoder.causal else "encoder"
        raise UserError(
            f"last_layers={last_layers} is impossible: this {part} has {depth} layers; null is all of them."
        )
    return range(0 if last_layers is None else depth - last_layers, depth)


def insert_at_each(
    encoder: AdaptedStack,
    places: Sequence[Sublayer],
    insertion: str,
    norms: str,
    branch: Callable[[Sublayer], nn.Module],
) -> None:
    """Insert a branch at each of these places, and set the chosen LayerNorms free."""
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
