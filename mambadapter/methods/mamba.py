"""MambAdapters, and their ablation without the Mamba blocks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError
from mambadapter.methods.branches.bottleneck import IdentityBottleneck
from mambadapter.methods.branches.init import (
    official_mamba,
    official_projections,
    unit_variance_projections,
)
from mambadapter.methods.branches.mamba import MambAdapter
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.placement import (
    PLACEMENTS,
    insert_at_each,
    insertion_points,
    norm_count,
    placed,
)
from mambadapter.ssm import Mamba, mamba_parameter_count
from mambadapter.validators import check_types, one_of, positive_integer, probability


@dataclass(frozen=True)
class MambAdapters:
    """MambAdapter branches beside the sub-layers of a frozen encoder (arXiv 2606.15638, section 2).

    Parameters
    ----------
    placement : str
        ``pfeiffer``: beside every FFN. ``houlsby``: beside every attention and every FFN.
    rank : int
        r, the width between the projections.
    d_state : int
        N, states per channel of the Mamba block.
    d_conv : int
        Taps of its causal convolution, in frames.
    expand : float
        Its inner width is ``int(expand * rank)``.
    shared : bool
        One W_down and one W_up for all insertion points, with a learnable scale alpha at each, as in
        the paper. False gives each its own pair, whose W_up then carries the scale: no alpha.
    insertion : str
        ``parallel``: a branch reads what its sub-layer reads. ``sequential``: what it emits.
    bidirectional : bool
        Add a scan backward in time; not in a decoder.
    backward_parameters : str
        ``own`` or ``shared`` with the forward scan; only read when bidirectional.
    alpha : float
        Start of the scales.
    dropout : float
        Probability, between the Mamba block and W_up.
    initialisation : str
        ``unit_variance``, or ``official`` for that of the paper's code (`mambadapter.methods.branches.init`).
    norms : str
        ``adapted`` trains the LayerNorm in front of each adapted sub-layer and the final one, which
        is what the paper counts. ``none`` trains none.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> MambAdapters(placement="houlsby", rank=24).rank
    24
    """

    placement: str = "pfeiffer"
    rank: int = 12
    d_state: int = 16
    d_conv: int = 4
    expand: float = 2
    shared: bool = True
    insertion: str = "parallel"
    bidirectional: bool = False
    backward_parameters: str = "own"
    alpha: float = 0.1
    dropout: float = 0.1
    initialisation: str = "unit_variance"
    norms: str = "adapted"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_bottleneck(self)
        one_of("backward_parameters", self.backward_parameters, ("own", "shared"))
        for name in ("d_state", "d_conv"):
            positive_integer(name, getattr(self, name))
        if int(self.expand * self.rank) < 1:
            raise UserError(
                f"expand={self.expand} leaves rank {self.rank} no inner channel; raise it."
            )

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        if self.bidirectional and encoder.causal:
            raise UserError(
                "A bidirectional scan would show a decoder the tokens that it is to write; leave "
                "bidirectional out there."
            )
        _insert_bottlenecks(encoder, self, self._branch)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: with n insertion points and M the Mamba block's count, ``(2dr + r + d) + n(M + 1)``
        when the projections are shared and ``n(2dr + r + d + M)`` when not.

        Example
        -------
        >>> MambAdapters(placement="houlsby").count(EncoderShape(width=768, layers=12, ffn=3072)).total()
        111204
        """
        block = mamba_parameter_count(self.rank, self.d_state, self.d_conv, self.expand)
        if self.bidirectional and self.backward_parameters == "own":
            block *= 2
        return _bottleneck_count(shape, self, block)

    def _branch(self, down: nn.Linear, up: nn.Linear, alpha: nn.Parameter | None) -> MambAdapter:
        forward = self._block()
        backward = None
        if self.bidirectional:
            backward = forward if self.backward_parameters == "shared" else self._block()
        return MambAdapter(down, up, forward, backward, alpha, self.dropout)

    def _block(self) -> Mamba:
        block = Mamba(self.rank, self.d_state, self.d_conv, self.expand)
        if self.initialisation == "official":
            official_mamba(block)
        return block


@dataclass(frozen=True)
class IdentityBottlenecks:
    """The ablation of `MambAdapters`: the identity where each Mamba block stands, all else the same.

    Built from the same seed, the shared projections start with the same weights.

    Parameters
    ----------
    placement, rank, shared, insertion, alpha, dropout, norms
        As in `MambAdapters`; the dropout is between the projections.
    initialisation : str
        Of the projections: ``unit_variance`` or ``official``, as in `MambAdapters`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> IdentityBottlenecks(placement="houlsby").rank
    12
    """

    placement: str = "pfeiffer"
    rank: int = 12
    shared: bool = True
    insertion: str = "parallel"
    alpha: float = 0.1
    dropout: float = 0.1
    initialisation: str = "unit_variance"
    norms: str = "adapted"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_bottleneck(self)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        _insert_bottlenecks(encoder, self, self._branch)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: that of `MambAdapters` with M = 0."""
        return _bottleneck_count(shape, self, block=0)

    def _branch(
        self, down: nn.Linear, up: nn.Linear, alpha: nn.Parameter | None
    ) -> IdentityBottleneck:
        return IdentityBottleneck(down, up, alpha, self.dropout)


def _check_bottleneck(method: MambAdapters | IdentityBottlenecks) -> None:
    """Refuse impossible values of the knobs that both have."""
    check_types(method)
    one_of("placement", method.placement, PLACEMENTS)
    one_of("insertion", method.insertion, ("parallel", "sequential"))
    one_of("initialisation", method.initialisation, ("unit_variance", "official"))
    one_of("norms", method.norms, ("adapted", "none"))
    positive_integer("rank", method.rank)
    probability("dropout", method.dropout)


def _insert_bottlenecks(
    encoder: AdaptedStack,
    method: MambAdapters | IdentityBottlenecks,
    branch: Callable[[nn.Linear, nn.Linear, nn.Parameter | None], nn.Module],
) -> None:
    """Insert a branch at every place, around projections that are shared or its own."""
    places = placed(encoder, method.placement)
    pair = _projections(method, encoder.width, places) if method.shared else None

    def make(place: Sublayer) -> nn.Module:
        down, up = pair or _projections(method, encoder.width, [place])
        alpha = nn.Parameter(torch.tensor(float(method.alpha))) if method.shared else None
        return branch(down, up, alpha)

    insert_at_each(encoder, method.placement, method.insertion, method.norms, make)


def _projections(
    method: MambAdapters | IdentityBottlenecks, width: int, places: Iterable[Sublayer]
) -> tuple[nn.Linear, nn.Linear]:
    down, up = nn.Linear(width, method.rank), nn.Linear(method.rank, width)
    if method.initialisation == "official":
        official_projections(down, up)
    else:
        unit_variance_projections(down, up, [place.norm for place in places])
    return down, up


def _bottleneck_count(
    shape: EncoderShape, method: MambAdapters | IdentityBottlenecks, block: int
) -> TrainedCount:
    """Projections, scales and norms, and `block` parameters between the projections of each point."""
    points = insertion_points(shape, method.placement)
    pair = 2 * shape.width * method.rank + method.rank + shape.width
    branches = pair + points * (block + 1) if method.shared else points * (pair + block)
    return TrainedCount(branches, norm_count(shape, points) if method.norms == "adapted" else 0)
