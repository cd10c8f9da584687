"""What a YAML names: where branches go, what is trained and what stays frozen."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mambadapter.adapters.bottleneck import IdentityBottleneck
from mambadapter.adapters.init import (
    official_mamba,
    official_projections,
    unit_variance_projections,
)
from mambadapter.adapters.mamba import MambAdapter
from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.errors import UserError
from mambadapter.knobs import check_types, one_of, positive_integer
from mambadapter.ssm import Mamba

# The sub-layers each placement adapts (Pfeiffer et al. 2021; Houlsby et al. 2019).
PLACEMENTS = {"pfeiffer": ("ffn",), "houlsby": ("attention", "ffn")}


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
        Add a scan backward in time.
    backward_parameters : str
        ``own`` or ``shared`` with the forward scan; only read when bidirectional.
    alpha : float
        Start of the scales.
    dropout : float
        Probability, between the Mamba block and W_up.
    initialisation : str
        ``unit_variance``, or ``official`` for that of the paper's code (`mambadapter.adapters.init`).
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

    def __post_init__(self) -> None:
        _check_bottleneck(self)
        one_of("backward_parameters", self.backward_parameters, ("own", "shared"))
        for name in ("d_state", "d_conv"):
            positive_integer(name, getattr(self, name))
        if int(self.expand * self.rank) < 1:
            raise UserError(
                f"expand={self.expand} leaves rank {self.rank} no inner channel; raise it."
            )

    def adapt(self, encoder: AdaptedEncoder) -> None:
        """Insert the branches and set free what learns."""
        _insert_bottlenecks(encoder, self, self._branch)

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

    def __post_init__(self) -> None:
        _check_bottleneck(self)

    def adapt(self, encoder: AdaptedEncoder) -> None:
        """Insert the branches and set free what learns."""
        _insert_bottlenecks(encoder, self, self._branch)

    def _branch(
        self, down: nn.Linear, up: nn.Linear, alpha: nn.Parameter | None
    ) -> IdentityBottleneck:
        return IdentityBottleneck(down, up, alpha, self.dropout)


@dataclass(frozen=True)
class LinearProbe:
    """Only the head learns, and the final LayerNorm as in every method of the paper.

    Parameters
    ----------
    norms : str
        ``final`` trains the encoder's last LayerNorm, ``none`` leaves the encoder wholly frozen.
    """

    norms: str = "final"

    trains_backbone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_types(self)
        one_of("norms", self.norms, ("final", "none"))

    def adapt(self, encoder: AdaptedEncoder) -> None:
        """Set the final LayerNorm free."""
        if self.norms == "final":
            train_norms(encoder, [])


@dataclass(frozen=True)
class FullFinetuning:
    """Every weight of the Transformer learns, with the checkpoint's own dropout and time masking.

    Parameters
    ----------
    train_cnn : bool
        Train the convolutional front end too; usually it is left frozen (wav2vec 2.0, section 4.3).
    """

    train_cnn: bool = False

    trains_backbone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_types(self)

    def adapt(self, encoder: AdaptedEncoder) -> None:
        """Set the backbone free."""
        backbone = encoder.backbone
        backbone.requires_grad_(True)
        extractor = getattr(backbone, "feature_extractor", None)
        if extractor is not None:
            if self.train_cnn:
                extractor._requires_grad = True
            else:
                extractor._freeze_parameters()
        masking = backbone.config.apply_spec_augment and backbone.config.mask_time_prob > 0
        if hasattr(backbone, "masked_spec_embed") and not masking:
            # Without time masking nothing reads it: it would get no gradient.
            backbone.masked_spec_embed.requires_grad_(False)


METHODS = {
    method.__name__: method
    for method in (MambAdapters, IdentityBottlenecks, LinearProbe, FullFinetuning)
}


def placed(encoder: AdaptedEncoder, placement: str) -> list[Sublayer]:
    """The sub-layers that a placement adapts; an error if there is none."""
    places = [s for s in encoder.sublayers if s.kind in PLACEMENTS[placement]]
    if not places:
        raise UserError(f"Placement '{placement}' matches no sub-layer of this encoder.")
    return places


def train_norms(encoder: AdaptedEncoder, places: Iterable[Sublayer]) -> None:
    """Set free the LayerNorms in front of these sub-layers, and the final one."""
    for norm in (*(place.norm for place in places), encoder.final_norm):
        norm.requires_grad_(True)


def method_to_dict(method: Any) -> dict[str, Any]:
    """Write a method down so that `method_from_dict` makes it again.

    Example
    -------
    >>> method_from_dict(method_to_dict(LinearProbe())) == LinearProbe()
    True
    """
    return {"name": type(method).__name__, **asdict(method)}


def method_from_dict(written: dict[str, Any]) -> Any:
    """Make a method from what `method_to_dict` wrote.

    Raises
    ------
    UserError
        If the method is unknown to this version.
    """
    arguments = dict(written)
    name = arguments.pop("name", None)
    one_of("method", name, METHODS)
    return METHODS[name](**arguments)


def _check_bottleneck(method: MambAdapters | IdentityBottlenecks) -> None:
    """Refuse impossible values of the knobs that both have."""
    check_types(method)
    one_of("placement", method.placement, PLACEMENTS)
    one_of("insertion", method.insertion, ("parallel", "sequential"))
    one_of("initialisation", method.initialisation, ("unit_variance", "official"))
    one_of("norms", method.norms, ("adapted", "none"))
    positive_integer("rank", method.rank)
    if not 0 <= method.dropout < 1:
        raise UserError(f"dropout={method.dropout} is no probability below 1; give 0 to 0.99.")


def _insert_bottlenecks(
    encoder: AdaptedEncoder,
    method: MambAdapters | IdentityBottlenecks,
    branch: Callable[[nn.Linear, nn.Linear, nn.Parameter | None], nn.Module],
) -> None:
    """Insert a branch at every place, around projections that are shared or its own."""
    places = placed(encoder, method.placement)
    pair = _projections(method, encoder.width, places) if method.shared else None
    for place in places:
        down, up = pair or _projections(method, encoder.width, [place])
        alpha = nn.Parameter(torch.tensor(float(method.alpha))) if method.shared else None
        encoder.insert(place, branch(down, up, alpha), sequential=method.insertion == "sequential")
    if method.norms == "adapted":
        train_norms(encoder, places)


def _projections(
    method: MambAdapters | IdentityBottlenecks, width: int, places: Iterable[Sublayer]
) -> tuple[nn.Linear, nn.Linear]:
    down, up = nn.Linear(width, method.rank), nn.Linear(method.rank, width)
    if method.initialisation == "official":
        official_projections(down, up)
    else:
        unit_variance_projections(down, up, [place.norm for place in places])
    return down, up
