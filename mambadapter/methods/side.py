"""Adapters of the field beside, or after, the sub-layers: bottleneck, Conformer, Convpass."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.branches.bottleneck import ACTIVATIONS, Bottleneck
from mambadapter.methods.branches.conformer import ConformerAdapter
from mambadapter.methods.branches.convpass import Convpass
from mambadapter.methods.branches.init import unit_variance_projections
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.placement import (
    PLACEMENTS,
    insert_at_each,
    insertion_points,
    norm_count,
)
from mambadapter.validators import check_types, odd, one_of, positive_integer, probability


@dataclass(frozen=True)
class Bottlenecks:
    """Bottleneck adapters: ``W_up(dropout(act(W_down(x))))`` (Houlsby et al. 2019; Pfeiffer et al. 2021).

    Parameters
    ----------
    placement : str
        ``pfeiffer``: at every FFN. ``houlsby``: at every attention and every FFN.
    rank : int
        r, the width between the projections.
    activation : str
        ``relu``, ``gelu`` or ``silu``.
    insertion : str
        ``parallel``: beside a sub-layer (He et al. 2022). ``sequential``: after it, as first published.
    dropout : float
        Probability, between activation and W_up.
    norms : str
        ``adapted`` or ``none``, as in `MambAdapters`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> Bottlenecks().count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    250512
    """

    placement: str = "pfeiffer"
    rank: int = 12
    activation: str = "relu"
    insertion: str = "parallel"
    dropout: float = 0.1
    norms: str = "adapted"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_side(self)
        one_of("activation", self.activation, ACTIVATIONS)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""

        def make(place: Sublayer) -> nn.Module:
            branch = Bottleneck(encoder.width, self.rank, self.activation, self.dropout)
            unit_variance_projections(branch.down, branch.up, [place.norm])
            return branch

        insert_at_each(encoder, self.placement, self.insertion, self.norms, make)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``n(2dr + r + d)`` for n insertion points."""
        return _side_count(shape, self, 2 * shape.width * self.rank + self.rank + shape.width)


@dataclass(frozen=True)
class ConformerAdapters:
    """The Conformer's convolution module as an adapter (Gulati et al. 2020; PETL_AST, arXiv 2312.03694).

    LayerNorm, pointwise convolution with GLU to r channels, depthwise convolution over time, BatchNorm,
    SiLU, pointwise convolution back.

    Parameters
    ----------
    placement, insertion, dropout, norms
        As in `Bottlenecks`; the dropout is before the last convolution.
    rank : int
        r, channels of the depthwise convolution.
    kernel_size : int
        Its taps, in frames; odd, centred on the frame. In a decoder they end with it.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> ConformerAdapters().count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    272256
    """

    placement: str = "pfeiffer"
    rank: int = 8
    kernel_size: int = 31
    insertion: str = "parallel"
    dropout: float = 0.1
    norms: str = "adapted"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_side(self)
        odd("kernel_size", self.kernel_size)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""

        def make(place: Sublayer) -> nn.Module:
            return ConformerAdapter(
                encoder.width, self.rank, self.kernel_size, self.dropout, encoder.causal
            )

        insert_at_each(encoder, self.placement, self.insertion, self.norms, make)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``n(3dr + 3d + (k + 5)r)`` for n insertion points and kernel size k."""
        width, rank = shape.width, self.rank
        return _side_count(
            shape, self, 3 * width * rank + 3 * width + (self.kernel_size + 5) * rank
        )


@dataclass(frozen=True)
class Convpasses:
    """Convpass: a bottleneck with a convolution between its projections (Jie & Deng 2022, arXiv 2207.07039).

    Its 3x3 convolution over an image's patches is one over time here.

    Parameters
    ----------
    placement, insertion, dropout, norms
        As in `Bottlenecks`.
    rank : int
        r, channels of the convolution, which mixes them all.
    kernel_size : int
        Its taps, in frames; odd, centred on the frame. In a decoder they end with it.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> Convpasses(rank=8, norms="none").count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    159168
    """

    placement: str = "pfeiffer"
    rank: int = 8
    kernel_size: int = 3
    insertion: str = "parallel"
    dropout: float = 0.1
    norms: str = "adapted"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_side(self)
        odd("kernel_size", self.kernel_size)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""

        def make(place: Sublayer) -> nn.Module:
            branch = Convpass(
                encoder.width, self.rank, self.kernel_size, self.dropout, encoder.causal
            )
            unit_variance_projections(branch.down, branch.up, [place.norm])
            return branch

        insert_at_each(encoder, self.placement, self.insertion, self.norms, make)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``n(2dr + d + 2r + kr^2)`` for n insertion points and kernel size k."""
        width, rank = shape.width, self.rank
        return _side_count(
            shape, self, 2 * width * rank + width + 2 * rank + self.kernel_size * rank**2
        )


def _check_side(method: Bottlenecks | ConformerAdapters | Convpasses) -> None:
    """Refuse impossible values of the knobs that all have."""
    check_types(method)
    one_of("placement", method.placement, PLACEMENTS)
    one_of("insertion", method.insertion, ("parallel", "sequential"))
    one_of("norms", method.norms, ("adapted", "none"))
    positive_integer("rank", method.rank)
    probability("dropout", method.dropout)


def _side_count(
    shape: EncoderShape, method: Bottlenecks | ConformerAdapters | Convpasses, branch: int
) -> TrainedCount:
    points = insertion_points(shape, method.placement)
    norms = norm_count(shape, points) if method.norms == "adapted" else 0
    return TrainedCount(points * branch, norms)
