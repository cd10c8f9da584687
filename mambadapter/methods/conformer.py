"""The Conformer's convolution module as an adapter (Gulati et al. 2020, arXiv 2005.08100, section 2.2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.padding import frame_mask
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import Sublayer
from mambadapter.methods.base import SideMethod, register
from mambadapter.methods.convolution import TimeConvolution
from mambadapter.validators import odd

_MOMENTUM, _EPSILON = 0.1, 1e-5  # PyTorch's


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
        valid = None if lengths is None else frame_mask(lengths, hidden.shape[1])
        low = F.glu(self.down(self.norm(hidden)), dim=-1)
        if valid is not None:
            # The convolution must find beyond a clip's end what it finds beyond the batch's: zeros.
            low = low.masked_fill(~valid[..., None], 0.0)
        low = self.depthwise(low)
        if self.batch_norm is not None:
            low = self.batch_norm(low, valid)
        return self.up(self.dropout(F.silu(low)))

    def fold(self, module: nn.Module) -> bool:
        """Put the BatchNorm, whose statistics stand, into the convolution in front of it, for inference."""
        norm, convolution = self.batch_norm, self.depthwise
        assert norm is not None
        assert convolution.bias is not None
        gain = norm.weight * (norm.running_var + _EPSILON).rsqrt()
        convolution.weight.mul_(gain[:, None, None])
        convolution.bias.sub_(norm.running_mean).mul_(gain).add_(norm.bias)
        self.batch_norm = None
        return False


class FrameBatchNorm(nn.Module):
    """BatchNorm over the valid frames of a batch.

    Padding takes no part in the statistics. It is no subclass of PyTorch's, which SpeechBrain would
    replace by one for GPUs only when several processes train.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Normalise (B, T, r); `valid` (B, T) is true on frames that count, None if all do."""
        if valid is None or not self.training:
            mean, variance = self._statistics()
            frames = hidden.flatten(0, 1)
            normed = F.batch_norm(frames, mean, variance, self.weight, self.bias, self.training)
            normed = normed.view_as(hidden)
            return normed if valid is None else normed.masked_fill(~valid[..., None], 0.0)
        # As F.batch_norm of the valid frames alone, whose number only the device knows.
        count, padding = valid.sum(), ~valid[..., None]
        frames = hidden.to(self.running_mean.dtype)
        mean = frames.masked_fill(padding, 0.0).sum((0, 1)) / count
        centred = (frames - mean).masked_fill(padding, 0.0)
        variance = centred.square().sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            for kept, new in zip(self._statistics(), (mean, unbiased), strict=True):
                kept.lerp_(new, _MOMENTUM)
        normed = centred * (torch.rsqrt(variance + _EPSILON) * self.weight) + self.bias
        return normed.masked_fill(padding, 0.0).to(hidden.dtype)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """The running mean and variance; copies of them where a layer is computed a second time."""
        # Checkpointing computes a layer once more inside the backward pass: the frames count once.
        again = (
            not torch.compiler.is_compiling()
            and self.training
            and torch._C._current_graph_task_id() != -1
        )
        kept = self.running_mean, self.running_var
        return (kept[0].clone(), kept[1].clone()) if again else kept


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
