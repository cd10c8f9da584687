"""Audio files of any format as samples; what cannot be used says why."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from mambadapter.data.containers import find_samples, with_size

# One frame of wav2vec2, HuBERT and WavLM: 400 samples at 16 kHz.
SHORTEST_SECONDS = 0.025
# What files are called that libsndfile may decode. Raw samples say neither their rate nor their type.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {
    ".mp3", ".opus", ".oga", ".aif", ".aifc", ".snd",
}  # fmt: skip

SLOWEST, FASTEST = 1_000, 768_000  # Hz; beyond, a header lies

# Formats of samples whose values are always finite, and whose number the header says.
_PLAIN = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"}

# Of the sum of the channels' powers: less of it is left when channels cancel each other.
_CANCELLED = 0.01

_BLOCK = 2**14  # values that are decoded at a time, so that a header that lies costs no memory

_FINE = 192_000  # Hz, in which times are compared where no samples are read

# Seconds that a segment may end after its file, whose times were rounded.
_PAST_THE_END = 0.01

# A decoder may give or take the samples of a few frames of an mp3.
_LEEWAY = {"MPEG_LAYER_III": 8 * 1152}


class UnusableAudio(ValueError):
    """Why a file cannot be used, such as ``empty``."""


class CutShort(UnusableAudio):
    """A file that ends before it should; `decode` reads it as far as it goes if it is told to."""


@dataclass(frozen=True)
class Decoded:
    """All of an audio file."""

    samples: np.ndarray  # (T, C), float32
    sample_rate: int  # Hz

    @property
    def cancels(self) -> bool:
        """Whether next to nothing is left when the channels are averaged, as of those in antiphase."""
        if self.samples.shape[1] == 1:
            return False
        apart = np.square(self.samples, dtype=np.float64).mean()
        together = np.square(self.samples.mean(1), dtype=np.float64).mean()
        return bool(together < _CANCELLED * apart)


@dataclass(frozen=True)
class Looked:
    """What is known of a file that can be used."""

    seconds: float
    sample_rate: int  # Hz, as stored
    channels: int
    cancels: bool  # see `Decoded`


def decode(
    path: Path, cut: bool = False, start: float | None = None, end: float | None = None
) -> Decoded:
    """Decode a file to its end, or raise `UnusableAudio`; one that was `cut` short as far as it goes.

    From `start` to `end`, in seconds, only that segment of it.
    """
    with opened(path, cut) as file:
        samples = np.concatenate(list(blocks(file, cut, start, end)))
        return Decoded(samples, file.samplerate)


def blocks(
    file: soundfile.SoundFile,
    cut: bool,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[np.ndarray]:
    """The samples of a file, (T, C) float32 at a time, checked as `decode` says."""
    first, last = segment_of(file.frames, file.samplerate, start, end)
    if first:
        file.seek(first)  # to the sample, in every format of libsndfile
    found, problem, size = 0, "", _BLOCK // file.channels
    try:
        # To the end of the file, for a header may promise less than there is.
        while end is None or found < last - first:
            wanted = size if end is None else min(size, last - first - found)
            if not len(block := file.read(wanted, "float32", always_2d=True)):
                break
            found += len(block)
            if not np.isfinite(block).all():
                raise UnusableAudio("corrupt: samples that are not finite")
            yield block
    except soundfile.LibsndfileError:
        problem = "corrupt: decoding stops"
    if found < last - first - _LEEWAY.get(file.subtype, 0):
        problem = problem or "cut short: it ends before its header says"
    if problem and not cut:
        raise CutShort(f"{problem}, after {(first + found) / file.samplerate:.2f} s")
    _check_length(found, file.samplerate)


def segment_of(frames: int, rate: int, start: float | None, end: float | None) -> tuple[int, int]:
    """The first sample of a segment and the one after its last, of a file of so many.

    Raises
    ------
    UnusableAudio
        If it is not within the file, but for a hundredth of a second at its end.
    """
    first = round((start or 0) * rate)
    last = frames if end is None else round(end * rate)
    if first >= frames > 0 or last > frames + rate * _PAST_THE_END:
        said = f"{start or 0:g} to {end:g} s" if end is not None else f"from {start or 0:g} s"
        raise UnusableAudio(f"a segment past its end: {said}, and it has {frames / rate:.2f} s")
    return first, min(last, frames)


def segment_seconds(seconds: float, start: float | None, end: float | None) -> float:
    """The length of a segment of a file that lasts so long, or raise `UnusableAudio`."""
    first, last = segment_of(round(seconds * _FINE), _FINE, start, end)
    _check_length(last - first, _FINE)
    return (last - first) / _FINE


def look(path: Path) -> Looked:
    """What `decode` would say of a file; of many it is known by the header."""
    with opened(path) as file:
        frames, rate, channels, plain = (
            file.frames, file.samplerate, file.channels, file.subtype in _PLAIN,
        )  # fmt: skip
    if plain and channels == 1 and find_samples(path) is not None:
        _check_length(frames, rate)
        return Looked(frames / rate, rate, channels, cancels=False)
    decoded = decode(path)
    return Looked(len(decoded.samples) / rate, rate, channels, decoded.cancels)


def opened(path: Path, cut: bool = False) -> soundfile.SoundFile:
    """Open a file, or raise `UnusableAudio`."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # no manifest could hold it
        raise UnusableAudio("a name that is not UTF-8; rename it") from error
    if not path.is_file():
        raise UnusableAudio("missing")
    if path.stat().st_size == 0:
        raise UnusableAudio("empty")
    samples = find_samples(path)
    source: str | io.BytesIO = str(path)
    if samples is not None and samples.unknown and samples.size_at >= 0:
        source = with_size(path, samples)
    try:
        file = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
        raise UnusableAudio("corrupt: not audio that can be decoded") from error
    if not SLOWEST <= file.samplerate <= FASTEST:
        raise UnusableAudio(f"a sample rate of {file.samplerate:,} Hz, which no audio has")
    if samples is not None and samples.cut and not cut:
        seconds = file.frames / file.samplerate
        promised = seconds * samples.promised / samples.held if samples.held else math.inf
        raise CutShort(
            f"cut short: {seconds:.2f} s are left of the {promised:.2f} s that its header says"
        )
    return file


def _check_length(frames: int, rate: int) -> None:
    if frames == 0:
        raise UnusableAudio("empty: a header without samples")
    if frames / rate < SHORTEST_SECONDS:
        floor = math.floor(10_000 * frames / rate) / 10  # 24.99 is not 25
        raise UnusableAudio(f"too short: {floor:.1f} ms, one encoder frame is 25 ms")
