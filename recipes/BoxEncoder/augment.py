"""Rooms, microphones and noise, for a whole batch at once in the frequency domain."""

import math

import torch
from torch import Tensor

from mambadapter.encoders.padding import frame_mask, valid_samples


def augment(wavs: Tensor, wav_lens: Tensor, sample_rate: int = 16000) -> Tensor:
    """Pass every clip through a microphone and perhaps a room, and add noise or another clip.

    Nothing moves in time, so frame labels stay true. Draws from torch's generator.

    Shapes: `wavs` (B, S), `wav_lens` (B,); returns (B, S).
    """
    batch, samples = wavs.shape
    lengths = valid_samples(wavs, wav_lens)
    valid = torch.ones_like(wavs) if lengths is None else frame_mask(lengths, samples).float()
    # Room for the echo of the last sample, so that it does not come back at the first one.
    size = samples + sample_rate
    size += size % 2
    spectrum = torch.fft.rfft(wavs, size)
    spectrum = spectrum * _room(batch, size, sample_rate, wavs.device)
    spectrum = spectrum * _microphone(batch, size, sample_rate, wavs.device)
    clean = _level(torch.fft.irfft(spectrum, size)[:, :samples] * valid, valid)
    other = _level(clean.roll(1, 0) * valid, valid)
    noise = _level(_coloured_noise(batch, size, wavs.device)[:, :samples] * valid, valid)
    noisy = clean
    for disturbance, often, low, high in ((noise, 0.7, 0.0, 40.0), (other, 0.25, 3.0, 25.0)):
        ratio = _uniform(batch, low, high, wavs.device)
        scale = 10 ** (-ratio / 20) * (_uniform(batch, 0, 1, wavs.device) < often)
        noisy = noisy + scale[:, None] * disturbance
    return noisy


def _uniform(batch: int, low: float, high: float, device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(batch, device=device)


def _level(wavs: Tensor, valid: Tensor) -> Tensor:
    """Scale each clip to unit power over its valid samples."""
    power = wavs.square().sum(1, keepdim=True) / valid.sum(1, keepdim=True)
    return wavs / torch.sqrt(power + 1e-10)


def _microphone(batch: int, size: int, sample_rate: int, device: torch.device) -> Tensor:
    """(B, F) smooth gains within about 10 dB, sometimes the band of a telephone or a small speaker."""
    hertz = torch.fft.rfftfreq(size, 1 / sample_rate, device=device)
    octaves = torch.log2(hertz.clamp(min=62.5) / 62.5)  # 0 to 7
    points = 10 * (torch.rand(batch, 9, device=device) - 0.5)
    left = octaves.long()
    share = octaves - left
    decibel = points[:, left] * (1 - share) + points[:, left + 1] * share
    for often, low, high, side in ((0.4, 3200.0, 7500.0, 1), (0.25, 80.0, 500.0, -1)):
        edge = torch.exp(_uniform(batch, math.log(low), math.log(high), device))[:, None]
        beyond = side * torch.log2(hertz.clamp(min=1.0) / edge)
        chosen = (torch.rand(batch, device=device) < often)[:, None]
        decibel = decibel - chosen * (beyond.clamp(min=0) * 60).clamp(max=60)
    return 10 ** (decibel / 20)


def _room(batch: int, size: int, sample_rate: int, device: torch.device) -> Tensor:
    """(B, F) responses: the direct sound, and for half of the clips noise that dies away."""
    tail = sample_rate // 2
    seconds = torch.arange(1, tail + 1, device=device) / sample_rate
    reverberation = torch.exp(_uniform(batch, math.log(0.08), math.log(0.7), device))[:, None]
    decay = torch.exp(-6.9 * seconds / reverberation)  # -60 dB
    echoes = torch.randn(batch, tail, device=device) * decay
    direct_to_reverberant = _uniform(batch, -2.0, 18.0, device)[:, None]
    echoes = (
        echoes / echoes.square().sum(1, keepdim=True).sqrt() * 10 ** (-direct_to_reverberant / 20)
    )
    echoes = echoes * (torch.rand(batch, device=device) < 0.5)[:, None]
    direct = torch.ones(batch, 1, device=device)
    return torch.fft.rfft(torch.cat([direct, echoes], 1), size)


def _coloured_noise(batch: int, size: int, device: torch.device) -> Tensor:
    """(B, size) noise, from blue to brown."""
    spectrum = torch.fft.rfft(torch.randn(batch, size, device=device))
    slope = _uniform(batch, -1.0, 2.0, device)[:, None]
    bins = torch.arange(spectrum.shape[1], device=device).clamp(min=1)
    return torch.fft.irfft(spectrum * bins ** (-slope / 2), size)
