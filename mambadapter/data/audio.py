"""Read audio of any format as mono waveforms at one rate, and find unusable files before training."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soxr
import torch
from speechbrain.utils.data_pipeline import DynamicItem
from torch import Tensor

from mambadapter.data.decoding import CutShort, Looked, UnusableAudio, decode, look
from mambadapter.errors import UserError
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
) -> Tensor:
    """Read an audio file: its channels averaged, or one of them from 1; resampled.

    Returns (T,). A file that was `cut` short is read as far as it goes. With `warn`, it is said if channels
    cancel each other.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{shown(path)}: there is no such file.")
    try:
        decoded = decode(path, cut)
    except CutShort as error:
        raise UserError(
            f"{shown(path)}: {error}; get it again, or read it as far as it goes: --read_cut."
        ) from error
    except UnusableAudio as error:
        raise UserError(f"{shown(path)}: {error}; delete it or get it again.") from error
    if warn and channel is None and decoded.cancels:
        warn_of_cancelling([path])
    samples, channels = decoded.samples, decoded.samples.shape[1]
    if channel is not None and channel > channels:
        raise UserError(f"{shown(path)} has no channel {channel}: it has {channels}.")
    mono = samples.mean(1) if channel is None else samples[:, channel - 1]
    if decoded.sample_rate != sample_rate:
        mono = soxr.resample(mono, decoded.sample_rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(mono))


def resampled(seconds: float, sample_rate: int) -> int:
    """How many samples `read_clip` makes of a clip."""
    return int(
        round(seconds * sample_rate, 6) + 0.5
    )  # rounded first: 1001 / 32000 is no binary number


def audio_pipeline(sample_rate: int, channel: int | None = None) -> DynamicItem:
    """Make the SpeechBrain dynamic item that reads ``signal`` (T,) from ``wav``, a path."""
    read = partial(read_clip, sample_rate=sample_rate, channel=channel)
    return DynamicItem(["wav"], read, ["signal"])


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
