"""Changes to training clips, by SpeechBrain's augmentations: of the waveform, and of the frames."""

from typing import Any

from speechbrain.augment.augmenter import Augmenter
from speechbrain.augment.freq_domain import SpectrogramDrop
from speechbrain.augment.time_domain import DropChunk, DropFreq, SpeedPerturb
from torch import nn

from mambadapter.encoders import AdaptedEncoder

# Frames of 20 ms, and shares of the channels.
_TIME_SPANS, _TIME_LENGTHS = (1, 2), (2, 10)
_CHANNEL_SPANS, _CHANNEL_SHARES = (1, 2), (32, 8)


def waveform_augmentation(sample_rate: int) -> Augmenter:
    """Another speed, then bands of frequency and spans of time left out.

    As in SpeechBrain's recipes for self-supervised encoders: 95, 100 or 105 % of the speed, one to three
    notches, and up to five spans of 62 to 125 ms at 16 kHz. What it draws follows PyTorch's and Python's
    random state, which the Brain sets for every step.
    """
    shortest, longest = sample_rate // 16, sample_rate // 8
    return Augmenter(
        augmentations=[
            SpeedPerturb(sample_rate, speeds=[95, 100, 105]),
            DropFreq(),
            DropChunk(drop_length_low=shortest, drop_length_high=longest, drop_count_high=5),
        ]
    )


def add_spec_augment(encoder: AdaptedEncoder) -> None:
    """Mask spans of time and of channels of the frames that enter the Transformer, in training only.

    SpecAugment (Park et al. 2019, arXiv 1904.08779) masks a spectrogram; an encoder of waveforms has the
    output of its convolutions in its place. One or two spans of 40 to 180 ms, and one or two of a 32nd to an
    8th of the channels.
    """
    channels = [encoder.width // share for share in _CHANNEL_SHARES]
    drops = [
        _drop(1, _TIME_LENGTHS, _TIME_SPANS),
        _drop(2, (max(channels[0], 1), max(channels[1], 2)), _CHANNEL_SPANS),
    ]

    def mask(module: nn.Module, args: tuple, output: Any) -> Any:
        # The frozen backbone is always in evaluation mode; the whole is not.
        if not encoder.training:
            return None
        frames, *others = output if isinstance(output, tuple) else (output,)
        frames = frames.clone()  # it is masked in place
        for drop in drops:
            frames = drop(frames)
        return (frames, *others) if isinstance(output, tuple) else frames

    encoder.backbone.get_submodule("feature_projection").register_forward_hook(mask)


def _drop(dim: int, lengths: tuple[int, int], counts: tuple[int, int]) -> SpectrogramDrop:
    return SpectrogramDrop(
        drop_length_low=lengths[0],
        drop_length_high=lengths[1],
        drop_count_low=counts[0],
        drop_count_high=counts[1],
        dim=dim,
    )
