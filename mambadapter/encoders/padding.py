"""Make a clip's result independent of the padding that its batch brings along."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mambadapter.encoders.state import ForwardState
from mambadapter.errors import UserError
from mambadapter.utils.masks import frame_mask
from mambadapter.utils.tracing import is_exporting


def valid_samples(wavs: Tensor, wav_lens: Tensor | None) -> Tensor | None:
    """Turn SpeechBrain's relative lengths into samples; None stays None.

    Shapes: `wavs` (B, S), `wav_lens` (B,); returns (B,).
    """
    if wav_lens is None:
        return None
    return torch.round(wav_lens.double() * wavs.shape[1]).long().to(wavs.device)


def refuse_short(frames: Tensor) -> Tensor:
    """Refuse a clip without a frame, where reading that does not keep the host waiting: on a CPU.

    Shapes: `frames` (B,); returns them.
    """
    checked = frames.device.type == "cpu" and not is_exporting()
    return _long_enough(frames) if checked else frames


# An operator, so that a compiled graph checks them too.
@torch.library.custom_op("mambadapter::long_enough", mutates_args=())
def _long_enough(frames: Tensor) -> Tensor:
    if len(frames) and int(frames.min()) < 1:
        raise UserError(
            "A clip is shorter than one encoder frame (25 ms); leave such clips out of the manifest."
        )
    return frames.clone()


@_long_enough.register_fake
def _(frames: Tensor) -> Tensor:
    return torch.empty_like(frames)


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
        frames = (self.state.samples - self.kernel) // self.stride + 1
        padding = ~frame_mask(frames, features.shape[-1])[:, None, None]
        grouped = features.float().unflatten(1, (self.num_groups, -1))
        count = frames[:, None, None, None] * grouped.shape[2]
        mean = grouped.masked_fill(padding, 0.0).sum((2, 3), keepdim=True) / count
        centred = (grouped - mean).masked_fill(padding, 0.0)
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normed = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        # No valid frame sees what becomes of the padding.
        scaled = torch.addcmul(self.bias[:, None], normed, self.weight[:, None])
        return scaled.to(features.dtype)


def make_length_aware(backbone: PreTrainedModel, state: ForwardState) -> None:
    """Replace the time-wise GroupNorm of a waveform encoder, where it has one."""
    first: Any = backbone.get_submodule("feature_extractor.conv_layers.0")
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        first.layer_norm = LengthAwareGroupNorm(first.layer_norm, first.conv, state)
