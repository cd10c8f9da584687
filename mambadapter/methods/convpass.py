"""Convpass: a bottleneck with a convolution between its projections (arXiv 2207.07039, section 3)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.base import register
from mambadapter.methods.convolution import TimeConvolution
from mambadapter.methods.projections import OwnProjections, ProjectedBranch
from mambadapter.utils.masks import valid_only
from mambadapter.validators import odd


class Convpass(ProjectedBranch):
    """The branch ``W_up(dropout(gelu(conv(gelu(W_down(x))))))``.

    The convolution over time mixes all r channels and starts as the identity, as published.
    """

    def __init__(
        self,
        width: int,
        rank: int,
        kernel_size: int = 3,
        dropout: float = 0.1,
        causal: bool = False,
        input_scale: Tensor | None = None,
    ) -> None:
        super().__init__(nn.Linear(width, rank), nn.Linear(rank, width), input_scale=input_scale)
        self.convolution = TimeConvolution(rank, kernel_size, causal)
        self.dropout = nn.Dropout(dropout)
        self.convolution.start_as_identity()

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, d).
        """
        # The convolution must find beyond a clip's end what it finds beyond the batch's: zeros.
        low = valid_only(F.gelu(self.low(hidden)), lengths)
        return self.out(self.dropout(F.gelu(self.convolution(low))))


@register
@dataclass(frozen=True)
class Convpasses(OwnProjections):
    """Convpass: a bottleneck with a convolution between its projections (Jie & Deng 2022, arXiv 2207.07039).

    Its 3x3 convolution over an image's patches is one over time here.

    Parameters
    ----------
    placement, insertion, dropout, norms, last_layers, scaled_inputs
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
    >>> Convpasses(rank=8).placement
    'pfeiffer'
    """

    rank: int = 8
    kernel_size: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        odd("kernel_size", self.kernel_size)

    def branch(self, encoder: AdaptedStack, place: Sublayer) -> nn.Module:
        """Make the branch of a place."""
        branch = Convpass(
            encoder.width,
            self.rank,
            self.kernel_size,
            self.dropout,
            encoder.causal,
            self.scale_at(place),
        )
        self.start(branch.down, branch.up, place)
        return branch
