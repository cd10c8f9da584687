"""Read audio of any format as mono waveforms at one rate, and find unusable files before training."""

import logging
import operator
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from speechbrain.utils.data_pipeline import DynamicItem
from torch import Tensor

from mambadapter.data.decoding import (
    FASTEST,
    SHORTEST_SECONDS,
    SLOWEST,
    CutShort,
    Looked,
    UnusableAudio,
    blocks,
    decode,
    look,
    opened,
)
from mambadapter.errors import UserError, did_you_mean
from mambadapter.utils.files import shown

logger = logging.getLogger(__name__)

_SHOWN = 5  # names of files in a message


@dataclass(frozen=True)
class Clip:
    """A usable audio file.

    Attributes
    ----------
    path : Path
        The file.
    seconds : float
        Duration.
    """

    path: Path
    seconds: float


def read_clip(
    path: str | Path,
    sample_rate: int,
    channel: int | None = None,
    cut: bool = False,
    warn: bool = False,
    start: float | None = None,
    end: float | None = None,
) -> Tensor:
    """Read an audio file: its channels averaged, or one of them from 1; resampled.

    Returns (T,), of the segment from `start` to `end`, in seconds, where they are given. A file that was
    `cut` short is read as far as it goes. With `warn`, it is said if channels cancel each other.
    """
    with _named(path):
        decoded = decode(_existing(path), cut, start, end)
    if warn and channel is None and decoded.cancels:
        warn_of_cancelling([Path(path)])
    mono = _one_channel(decoded.samples, channel, shown(path))
    if decoded.sample_rate != sample_rate:
        mono = soxr.resample(mono, decoded.sample_rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(mono))


def read_array(
    samples: Any, rate: int, sample_rate: int, name: str, channel: int | None = None
) -> Tensor:
    """Take an array of samples at a rate as `read_clip` takes a file: (T,) or (T, C) to (T,) at another."""
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} is no array of samples ({error}).") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "fi":
        raise UserError(
            f"{name} has shape {array.shape} and type {array.dtype}; give samples as (T,), or (T, C) of "
            "several channels, floating-point or signed integers."
        )
    if array.dtype.kind == "i":
        if array.dtype.itemsize == 8:  # as of a list: how loud they may be is not known
            raise UserError(
                f"{name} has samples of type {array.dtype}; say of how many bits they are, such as "
                "numpy.asarray(samples, 'int16'), or give floating-point ones from -1 to 1."
            )
        array = array / -float(np.iinfo(array.dtype).min)
    if isinstance(rate, bool) or not hasattr(rate, "__index__") or not SLOWEST <= rate <= FASTEST:
        raise UserError(f"{name} has a sample rate of {rate!r}; give it in Hz, such as 16000.")
    rate = operator.index(rate)
    if len(array) < SHORTEST_SECONDS * rate:
        turned = array.ndim == 2 and array.shape[1] > array.shape[0]
        raise UserError(
            f"{name} is shorter than one encoder frame, 25 ms"
            + (f": its shape is {array.shape}; give (T, C), samples first." if turned else ".")
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds samples that are not finite.")
    mono = _one_channel(array[:, None] if array.ndim == 1 else array, channel, name)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(mono))


def clip_seconds(path: str | Path, cut: bool = False) -> float:
    """How long a file is, by its header; nothing is decoded."""
    with _named(path), opened(_existing(path), cut) as file:
        return file.frames / file.samplerate


def stream_clip(
    path: str | Path, sample_rate: int, channel: int | None = None, cut: bool = False
) -> Iterator[Tensor]:
    """Read a file as `read_clip` does, block by block, so that it may be longer than memory holds.

    Gives pieces (T,).
    """
    with _named(path), opened(_existing(path), cut) as file:
        resample = None
        if file.samplerate != sample_rate:
            resample = soxr.ResampleStream(file.samplerate, sample_rate, 1)
        for block in blocks(file, cut):
            mono = _one_channel(block, channel, shown(path))
            mono = mono if resample is None else resample.resample_chunk(mono)
            yield torch.from_numpy(np.ascontiguousarray(mono))
        if resample is not None:
            rest = resample.resample_chunk(np.zeros(0, np.float32), last=True)
            yield torch.from_numpy(rest)


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise UserError(f"{shown(path)}: there is no such file.")
    return Path(path)


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Say of which file something is wrong, and what mends it."""
    try:
        yield
    except CutShort as error:
        raise UserError(
            f"{shown(path)}: {error}; get it again, or read it as far as it goes: --read_cut."
        ) from error
    except UnusableAudio as error:
        raise UserError(f"{shown(path)}: {error}; delete it or get it again.") from error


def _one_channel(samples: np.ndarray, channel: int | None, name: str) -> np.ndarray:
    """(T, C) to (T,): the mean, or one from 1."""
    channels = samples.shape[1]
    if channel is not None and not (hasattr(channel, "__index__") and channel >= 1):
        raise UserError(f"channel: {channel} is none; give at least 1, the first.")
    if channel is not None and channel > channels:
        raise UserError(f"{name} has no channel {channel}: it has {channels}.")
    return samples.mean(1) if channel is None else samples[:, channel - 1]


def resampled(seconds: float, sample_rate: int) -> int:
    """How many samples `read_clip` makes of a clip."""
    return int(
        round(seconds * sample_rate, 6) + 0.5
    )  # rounded first: 1001 / 32000 is no binary number


def audio_pipeline(
    sample_rate: int, channel: int | None = None, segments: bool = False
) -> DynamicItem:
    """Make the SpeechBrain dynamic item that reads ``signal`` (T,) from ``wav``, a path.

    With `segments` also from ``start`` and ``end``, in seconds or None.
    """
    takes = ["wav", "start", "end"] if segments else ["wav"]
    read = partial(_read_segment, sample_rate=sample_rate, channel=channel)
    return DynamicItem(takes, read, ["signal"])


def _read_segment(path: str, *times: float | None, sample_rate: int, channel: int | None) -> Tensor:
    start, end = times or (None, None)
    return read_clip(path, sample_rate, channel, start=start, end=end)


# Words for `audio_channel`; left and first are the same.
_CHANNELS = {"mean": None, "first": 1, "left": 1, "right": 2}


def channel_number(channel: int | str | None) -> int | None:
    """The channel that a setting means, from 1; None: their mean.

    Example
    -------
    >>> channel_number("right"), channel_number("mean"), channel_number(3)
    (2, None, 3)
    """
    if not isinstance(channel, str):
        return channel
    if channel not in _CHANNELS:
        raise UserError(
            f"channel: {channel!r} is unknown; {did_you_mean(channel, _CHANNELS)}, or a number."
        )
    return _CHANNELS[channel]


def inspect_clips(
    paths: Iterable[Path], sample_rate: int, skip_unusable: bool = False
) -> tuple[list[Clip], dict[Path, str]]:
    """Look into many files: those that can be used, and why not the others, refused unless skipped."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:
        looked = list(pool.map(_look, paths, chunksize=64))
    usable = {p: one for p, one in zip(paths, looked, strict=True) if isinstance(one, Looked)}
    bad = {p: one for p, one in zip(paths, looked, strict=True) if isinstance(one, str)}
    if bad:
        lines = [f"{shown(path)}: {reason}" for path, reason in bad.items()]
        listed = "\n  ".join(lines[:_SHOWN]) + ("\n  ..." if len(bad) > _SHOWN else "")
        if not skip_unusable:
            raise UserError(
                f"{len(bad)} of {len(paths)} audio files are unusable:\n  {listed}\n"
                "Delete them or get them again, or set skip_unusable_audio: true to leave them out."
            )
        logger.warning(
            "Left out %d of %d unusable audio files:\n  %s", len(bad), len(paths), listed
        )
    many_channels = sum(one.channels > 1 for one in usable.values())
    if many_channels:
        logger.info(
            "%d files have several channels: they are averaged, unless audio_channel says which to take.",
            many_channels,
        )
    warn_of_cancelling([path for path, one in usable.items() if one.cancels])
    other_rate = sum(one.sample_rate != sample_rate for one in usable.values())
    if other_rate:
        logger.info("%d files are not at %d Hz: they are resampled.", other_rate, sample_rate)
    return [Clip(path, one.seconds) for path, one in usable.items()], bad


def warn_of_cancelling(paths: list[Path]) -> None:
    """Say which files become all but silent when their channels are averaged, if any."""
    if paths:
        logger.warning(
            "The channels of %d files cancel each other when they are averaged, such as those of %s: next to "
            "nothing is left. Take one of them: audio_channel: 1, or --channel 1.",
            len(paths), shown(paths[0]),
        )  # fmt: skip


def _look(path: Path) -> Looked | str:
    """What is known of a file, or what is wrong with it."""
    try:
        return look(path)
    except UnusableAudio as error:
        return str(error)
