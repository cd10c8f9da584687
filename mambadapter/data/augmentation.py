"""Changes to training clips: of the waveform, and of the frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from speechbrain.augment.augmenter import Augmenter
from speechbrain.augment.freq_domain import SpectrogramDrop
from speechbrain.augment.time_domain import DropChunk, DropFreq, SpeedPerturb
from torch import Tensor, nn

from mambadapter.data.audio import clip_seconds, read_clip
from mambadapter.data.decoding import SHORTEST_SECONDS
from mambadapter.data.own.folders import audio_files
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import family_of
from mambadapter.errors import UserError

# (B, S) waveforms and (B,) lengths as fractions of S, to others.
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# Seconds, and shares of the channels.
_TIME_SPANS, _TIME_SECONDS = (1, 2), (0.04, 0.2)
_CHANNEL_SPANS, _CHANNEL_SHARES = (1, 2), (32, 8)


def waveform_changes(
    sample_rate: int,
    waveform_augmentation: bool = False,
    noise_folder: str | None = None,
    noise_snr_low: float = 0.0,
    noise_snr_high: float = 15.0,
    reverberation_folder: str | None = None,
) -> tuple[Change, ...]:
    """What happens to a training batch, in this order: a room, noise, another speed.

    Parameters
    ----------
    sample_rate : int
        Hz.
    waveform_augmentation : bool
        `WaveformAugmentation`.
    noise_folder, noise_snr_low, noise_snr_high
        `Noise`.
    reverberation_folder : str, optional
        `Reverberation`.

    Raises
    ------
    UserError
        If a folder is not there or holds no audio, or the quietest noise is louder than the loudest.
    """
    changes: list[Change] = []
    if reverberation_folder is not None:
        changes.append(Reverberation(reverberation_folder, sample_rate))
    if noise_folder is not None:
        changes.append(Noise(noise_folder, sample_rate, noise_snr_low, noise_snr_high))
    if waveform_augmentation:
        changes.append(WaveformAugmentation(sample_rate))
    return tuple(changes)


class Noise:
    """A stretch of a recording under each clip, at a signal-to-noise ratio drawn evenly between two.

    A recording shorter than the clip is repeated. What is drawn follows PyTorch's random state. Energies are
    means over what is valid of a clip; under a clip, or of a stretch, of silence nothing changes.

    Parameters
    ----------
    folder : str
        With recordings at any depth; other sample rates are resampled.
    sample_rate : int
        Hz.
    low, high : float
        dB.
    """

    def __init__(self, folder: str, sample_rate: int, low: float = 0.0, high: float = 15.0) -> None:
        if low > high:
            raise UserError(
                f"noise_snr_low: {low:g} dB is above noise_snr_high, {high:g} dB; exchange them."
            )
        self._paths = _audio_in("noise_folder", folder)
        self._sample_rate, self._low, self._high = sample_rate, low, high
        self._seconds: dict[Path, float] = {}

    def __call__(self, wavs: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) waveforms and (B,) lengths as fractions of S."""
        samples = torch.round(lens.double() * wavs.shape[1]).long()
        mixed = wavs.clone()
        for clip, length in zip(mixed, samples.tolist(), strict=True):
            noise = self._stretch(length).to(wavs)
            snr = self._low + (self._high - self._low) * torch.rand(()).item()
            if noise.any() and clip[:length].any():
                clip[:length] = AF.add_noise(clip[:length], noise, torch.tensor(snr).to(wavs))
        return mixed, lens

    def _stretch(self, length: int) -> Tensor:
        """(length,), from a random place of a random recording."""
        path, place = _drawn(self._paths), torch.rand(()).item()
        wanted = length / self._sample_rate
        if path not in self._seconds:
            self._seconds[path] = clip_seconds(path)
        start = place * max(self._seconds[path] - wanted, 0.0)
        end = min(start + wanted, self._seconds[path])
        noise = read_clip(path, self._sample_rate, start=start, end=end)
        return noise.repeat(-(-length // len(noise)))[:length]


class Reverberation:
    """Each clip in a room: folded with one of a folder's impulse responses, as loud as before.

    A response begins at its loudest sample, the direct sound, so that nothing is delayed; what rings on
    behind the clip is cut. Which one follows PyTorch's random state.

    Parameters
    ----------
    folder : str
        With impulse responses at any depth; other sample rates are resampled.
    sample_rate : int
        Hz.
    """

    def __init__(self, folder: str, sample_rate: int) -> None:
        self._paths, self._sample_rate = _audio_in("reverberation_folder", folder), sample_rate

    def __call__(self, wavs: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) waveforms and (B,) lengths as fractions of S."""
        samples = torch.round(lens.double() * wavs.shape[1]).long()
        changed = wavs.clone()
        for clip, length in zip(changed, samples.tolist(), strict=True):
            response = read_clip(_drawn(self._paths), self._sample_rate).to(wavs)
            response = response[response.abs().argmax() :]
            heard = AF.fftconvolve(clip[:length], response)[:length]
            if heard.any():
                clip[:length] = heard * (clip[:length].norm() / heard.norm())
        return changed, lens


def _audio_in(key: str, folder: str) -> list[Path]:
    paths = audio_files(Path(folder)) if Path(folder).is_dir() else []
    if not paths:
        raise UserError(f"{key}: there is no audio in {folder}; give a folder with recordings.")
    return paths


def _drawn(paths: list[Path]) -> Path:
    return paths[int(torch.randint(len(paths), ()))]


class WaveformAugmentation:
    """Another speed, then bands of frequency and spans of time left out, by SpeechBrain's augmentations.

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
