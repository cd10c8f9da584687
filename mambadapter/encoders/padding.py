"""Make a clip's result independent of the padding that its batch brings along."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from mambadapter.encoders.state import ForwardState


def valid_samples(wavs: Tensor, wav_lens: Tensor | None) -> Tensor | None:
    """Turn SpeechBrain's relative lengths into samples; None when no clip is padded.

    Shapes: `wavs` (B, S), `wav_lens` (B,); returns (B,).
    """
    if wav_lens is None:
        return None
    samples = torch.round(wav_lens.double() * wavs.shape[1]).long().to(wavs.device)
    return None if bool((samples == wavs.shape[1]).all()) else samples


def normalise_waveforms(wavs: Tensor, samples: Tensor | None) -> Tensor:
    """Scale each clip to zero mean and unit variance over its valid samples; padding becomes zero.

    The same numbers as transformers' ``Wav2Vec2FeatureExtractor`` with ``do_normalize``.

    Shapes: `wavs` (B, S), `samples` (B,); returns (B, S).
    """
    wavs = wavs.float()
    if samples is None:
        variance, mean = torch.var_mean(wavs, dim=1, keepdim=True, correction=0)
        return (wavs - mean) / torch.sqrt(variance + 1e-7)
    valid = frame_mask(samples, wavs.shape[1])
    count = samples[:, None]
    mean = (wavs * valid).sum(1, keepdim=True) / count
    centred = (wavs - mean) * valid
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + 1e-7)


def frame_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths to a (B, size) boolean mask that is true on valid positions."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


class LengthAwareGroupNorm(nn.GroupNorm):
    """The first convolution's GroupNorm, with statistics over each clip's own frames.

    wav2vec2-base, HuBERT-base and WavLM-base normalise every channel over *time*, padding included,
    so in transformers a clip's features depend on the longest clip of its batch. Each clip is
    normalised alone here.
    """

    def __init__(self, original: nn.GroupNorm, conv: nn.Conv1d, state: ForwardState) -> None:
        super().__init__(original.num_groups, original.num_channels, original.eps, device="meta")
        self.weight, self.bias = original.weight, original.bias
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.state = state

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        if self.state.samples is None:
            return super().forward(features)
        total = features.shape[-1]
        frames = (self.state.samples - self.kernel) // self.stride + 1
        clips = [
            F.pad(
                super(LengthAwareGroupNorm, self).forward(clip[None, :, :count]), (0, total - count)
            )
            for clip, count in zip(features, frames.tolist(), strict=True)
        ]
        return torch.cat(clips)


def make_length_aware(backbone: PreTrainedModel, state: ForwardState) -> None:
    """Replace the time-wise GroupNorm of a waveform encoder, where it has one."""
    first: Any = backbone.get_submodule("feature_extractor.conv_layers.0")
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        first.layer_norm = LengthAwareGroupNorm(first.layer_norm, first.conv, state)
