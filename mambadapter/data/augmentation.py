"""Changes to training clips, by SpeechBrain's augmentations: of the waveform, and of the frames."""

from typing import Any

import torch
import torch.nn.functional as F
from speechbrain.augment.augmenter import Augmenter
from speechbrain.augment.freq_domain import SpectrogramDrop
from speechbrain.augment.time_domain import DropChunk, DropFreq, SpeedPerturb
from torch import Tensor, nn

from mambadapter.data.decoding import SHORTEST_SECONDS
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import family_of

# Seconds, and shares of the channels.
_TIME_SPANS, _TIME_SECONDS = (1, 2), (0.04, 0.2)
_CHANNEL_SPANS, _CHANNEL_SHARES = (1, 2), (32, 8)


class WaveformAugmentation:
    """Another speed, then bands of frequency and spans of time left out.

    As in SpeechBrain's recipes for self-supervised encoders: 95, 100 or 105 % of the speed, one to three
    notches, and up to five spans of 62 to 125 ms at 16 kHz. What it draws follows PyTorch's and Python's
    random state, which the Brain sets for every step. A clip that another speed makes shorter than an encoder
    frame is followed by silence to that length.
    """

    def __init__(self, sample_rate: int) -> None:
        shortest, longest = sample_rate // 16, sample_rate // 8
        self._frame = round(SHORTEST_SECONDS * sample_rate)
        self._augmenter = Augmenter(
            augmentations=[
                SpeedPerturb(sample_rate, speeds=[95, 100, 105]),
                DropFreq(),
                DropChunk(drop_length_low=shortest, drop_length_high=longest, drop_count_high=5),
            ]
        )

    def __call__(self, wavs: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) waveforms and (B,) lengths as fractions of S to others."""
        wavs, lens = self._augmenter(wavs, lens)
        samples = torch.round(lens.double() * wavs.shape[1])
        if not bool((samples < self._frame).any()):
            return wavs, lens
        wavs = F.pad(wavs, (0, max(self._frame - wavs.shape[1], 0)))
        return wavs, (samples.clamp(min=self._frame) / wavs.shape[1]).to(lens.dtype)


def add_spec_augment(encoder: AdaptedEncoder) -> None:
    """Mask spans of time and of channels of what enters the Transformer, in training only.

    SpecAugment (Park et al. 2019, arXiv 1904.08779) masks a spectrogram: that of an encoder that reads one,
    and of an encoder of waveforms the output of its convolutions. One or two spans of 40 to 180 ms, and one
    or two of a 32nd to an 8th of the channels.
    """
    masked = family_of(encoder.backbone.config).masked

    def mask(values: Tensor) -> Tensor:
        """(B, T, C), or (B, C, T) where the family has the channels first."""
        values = (
            values.clone().mT if masked.channels_first else values.clone()
        )  # it is masked in place
        lengths = [round(seconds / masked.hop) for seconds in _TIME_SECONDS]
        channels = [values.shape[2] // share for share in _CHANNEL_SHARES]
        for drop in (
            _drop(1, (lengths[0], lengths[1]), _TIME_SPANS),
            _drop(2, (max(channels[0], 1), max(channels[1], 2)), _CHANNEL_SPANS),
        ):
            values = drop(values)
        return values.mT if masked.channels_first else values

    def mask_input(module: nn.Module, args: tuple, inputs: dict[str, Any]) -> Any:
        # The frozen backbone is always in evaluation mode; the whole is not.
        if not encoder.training:
            return None
        return args, {**inputs, masked.name: mask(inputs[masked.name])}

    def mask_output(module: nn.Module, args: tuple, output: Any) -> Any:
        if not encoder.training:
            return None
        if isinstance(output, tuple):
            return (mask(output[0]), *output[1:])
        return mask(output)

    if masked.is_input:
        encoder.backbone.register_forward_pre_hook(mask_input, with_kwargs=True)
    else:
        encoder.backbone.get_submodule(masked.name).register_forward_hook(mask_output)


def _drop(dim: int, lengths: tuple[int, int], counts: tuple[int, int]) -> SpectrogramDrop:
    return SpectrogramDrop(
        drop_length_low=lengths[0],
        drop_length_high=lengths[1],
        drop_count_low=counts[0],
        drop_count_high=counts[1],
        dim=dim,
    )
