"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.base import register
from mambadapter.methods.projections import OwnProjections, ProjectedBranch
from mambadapter.validators import one_of

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class Bottleneck(ProjectedBranch):
    """The branch ``W_up(dropout(act(W_down(x))))`` (Houlsby et al. 2019, arXiv 1902.00751, section 2.1)."""

    def __init__(
        self,
        width: int,
        rank: int,
        activation: str = "relu",
        dropout: float = 0.1,
        input_scale: Tensor | None = None,
    ) -> None:
        super().__init__(nn.Linear(width, rank), nn.Linear(rank, width), input_scale=input_scale)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, d).
        """
        return self.out(self.dropout(self.activation(self.low(hidden))))


@register
@dataclass(frozen=True)
class Bottlenecks(OwnProjections):
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
    last_layers : int or None
        As in `MambAdapters`.
    scaled_inputs : bool
        Divide what each W_down reads by the root mean square that the LayerNorm in front of it gives it, so
        that one learning rate suits encoders whose layers read numbers of another size. Not if sequential.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> Bottlenecks(placement="houlsby").rank
    12
    """

    rank: int = 12
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("activation", self.activation, ACTIVATIONS)

    def branch(self, encoder: AdaptedStack, place: Sublayer) -> nn.Module:
        """Make the branch of a place."""
        branch = Bottleneck(
            encoder.width, self.rank, self.activation, self.dropout, self.scale_at(place)
        )
        self.start(branch.down, branch.up, place)
        return branch
