"""The Conformer's convolution module as an adapter (Gulati et al. 2020, arXiv 2005.08100, section 2.2)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.base import SideMethod, register
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.convolution import TimeConvolution
from mambadapter.utils.masks import valid_only
from mambadapter.validators import odd


class ConformerAdapter(nn.Module):
    """The branch LayerNorm, GLU to r channels, depthwise convolution, BatchNorm, SiLU, projection back.

    Starts as an exact no-op: the last projection is zero.
    """

    def __init__(
        self,
        width: int,
        rank: int,
        kernel_size: int = 31,
        dropout: float = 0.1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, 2 * rank)
        self.depthwise = TimeConvolution(rank, kernel_size, causal, groups=rank)
        self.batch_norm: FrameBatchNorm | None = FrameBatchNorm(rank)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(rank, width)
        nn.init.normal_(self.down.weight, std=width**-0.5)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, d).
        """
        # The convolution must find beyond a clip's end what it finds beyond the batch's: zeros.
        low = valid_only(F.glu(self.down(self.norm(hidden)), dim=-1), lengths)
        low = self.depthwise(low)
        if self.batch_norm is not None:
            low = self.batch_norm(low, lengths)
        return self.up(self.dropout(F.silu(low)))

    def fold(self, module: nn.Module) -> bool:
        """Put the BatchNorm, whose statistics stand, into the convolution in front of it, for inference."""
        norm, convolution = self.batch_norm, self.depthwise
        assert norm is not None
        assert convolution.bias is not None
        gain, offset = norm.affine()
        convolution.weight.mul_(gain[:, None, None])
        convolution.bias.mul_(gain).add_(offset)
        self.batch_norm = None
        return False


@register
@dataclass(frozen=True)
class ConformerAdapters(SideMethod):
    """The Conformer's convolution module as an adapter (Gulati et al. 2020; PETL_AST, arXiv 2312.03694).

    LayerNorm, pointwise convolution with GLU to r channels, depthwise convolution over time, BatchNorm,
    SiLU, pointwise convolution back.

    Parameters
    ----------
    placement, insertion, dropout, norms, last_layers
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
    >>> ConformerAdapters(kernel_size=15).rank
    8
    """

    rank: int = 8
    kernel_size: int = 31

    def __post_init__(self) -> None:
        super().__post_init__()
        odd("kernel_size", self.kernel_size)

    def branch(self, encoder: AdaptedStack, place: Sublayer) -> nn.Module:
        """Make the branch of a place."""
        return ConformerAdapter(
            encoder.width, self.rank, self.kernel_size, self.dropout, encoder.causal
        )
