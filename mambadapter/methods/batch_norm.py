"""BatchNorm over the frames of a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.utils.masks import valid_only

_MOMENTUM, _EPSILON = 0.1, 1e-5  # PyTorch's


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

    def forward(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Normalise (B, T, r); `lengths` (B,) are the frames that count, None if all do."""
        if lengths is None or not self.training:
            mean, variance = self._statistics()
            frames = hidden.flatten(0, 1)
            normed = F.batch_norm(frames, mean, variance, self.weight, self.bias, self.training)
            return valid_only(normed.view_as(hidden), lengths)
        # As F.batch_norm of the valid frames alone, whose number only the device knows.
        count = lengths.sum()
        frames = hidden.to(self.running_mean.dtype)
        mean = valid_only(frames, lengths).sum((0, 1)) / count
        centred = valid_only(frames - mean, lengths)
        variance = centred.square().sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            for kept, new in zip(self._statistics(), (mean, unbiased), strict=True):
                kept.lerp_(new, _MOMENTUM)
        normed = centred * (torch.rsqrt(variance + _EPSILON) * self.weight) + self.bias
        return valid_only(normed, lengths).to(hidden.dtype)

    def affine(self) -> tuple[Tensor, Tensor]:
        """What each channel is multiplied by, and what is then added, with the running statistics; (r,)."""
        gain = self.weight * (self.running_var + _EPSILON).rsqrt()
        return gain, self.bias - gain * self.running_mean

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
