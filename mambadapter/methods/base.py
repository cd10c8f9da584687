"""What methods share: the checks, the LayerNorms that learn, and branches beside sub-layers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.placement import (
    PLACEMENTS,
    insert_at_each,
    insertion_points,
    train_norms,
)
from mambadapter.validators import check_types, one_of, positive_integer, probability


@dataclass(frozen=True)
class Method:
    """A way to adapt a frozen stack of Transformer layers, with its settings.

    Attributes
    ----------
    trains_backbone : bool
        The frozen weights learn too, with the checkpoint's own dropout.
    starts_as_frozen : bool
        Before training the adapted stack computes what the frozen one does.
    size : str or None
        The setting that a parameter budget chooses.
    """

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        check_types(self)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert branches and set free what learns."""
        raise NotImplementedError


# Those that a YAML can name, by the names of their classes.
METHODS: dict[str, type[Method]] = {}


def register(method: type[Method]) -> type[Method]:
    """Let YAML files, adapter packages and the menu name a method."""
    METHODS[method.__name__] = method
    return method


@dataclass(frozen=True)
class FinalNormMethod(Method):
    """A method that also trains the encoder's last LayerNorm, as every method of the paper does.

    Parameters
    ----------
    norms : str
        ``final`` trains it, ``none`` none.
    """

    norms: str = "final"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("norms", self.norms, ("final", "none"))

    def adapt(self, encoder: AdaptedStack) -> None:
        """Set the final LayerNorm free."""
        if self.norms == "final":
            train_norms(encoder)


@dataclass(frozen=True)
class SideMethod(Method):
    """A branch beside, or after, each adapted sub-layer; a method says which by `branch`.

    Parameters
    ----------
    placement : str
        ``pfeiffer``: at every FFN. ``houlsby``: at every attention and every FFN.
    rank : int
        r, the width of a branch's inside.
    insertion : str
        ``parallel``: a branch reads what its sub-layer reads. ``sequential``: what it emits.
    dropout : float
        Probability, in the branch.
    norms : str
        ``adapted`` trains the LayerNorm in front of each adapted sub-layer and the final one, which is what
        the paper counts. ``none`` trains none.
    last_layers : int or None
        How many Transformer layers are adapted, counted from the last; None: all.
    """

    placement: str = "pfeiffer"
    rank: int = 12
    insertion: str = "parallel"
    dropout: float = 0.1
    norms: str = "adapted"
    last_layers: int | None = None

    size: ClassVar[str | None] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("placement", self.placement, PLACEMENTS)
        one_of("insertion", self.insertion, ("parallel", "sequential"))
        one_of("norms", self.norms, ("adapted", "none"))
        positive_integer("rank", self.rank)
        probability("dropout", self.dropout)
        if self.last_layers is not None:
            positive_integer("last_layers", self.last_layers)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        insert_at_each(
            encoder,
            insertion_points(encoder, self.placement, self.last_layers),
            self.insertion,
            self.norms,
            lambda place: self.branch(encoder, place),
        )

    def branch(self, encoder: AdaptedStack, place: Sublayer) -> nn.Module:
        """Make the branch of a place."""
        raise NotImplementedError
