"""Audio that is decoded ahead, and batches of clips of like length."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mambadapter.data.audio import clip_seconds, read_array, read_clip, stream_clip
from mambadapter.errors import UserError, user_error
from mambadapter.utils.files import shown

# A file, or samples (T,) or (T, C) with their rate in Hz.
Audio = str | Path | tuple[Any, int]
_One = TypeVar("_One")
_Read = TypeVar("_Read")

_AHEAD = 32  # files that are decoded before their turn


@dataclass(frozen=True)
class Recording:
    """A file or an array, at the rate of an encoder.

    Attributes
    ----------
    audio : str, Path or tuple
        What it is.
    place : int
        Its number among those that were given.
    sample_rate : int
        Hz, at which it is read.
    channel : int or None
        The one that is taken of several, from 1; None: their mean.
    cut : bool
        A file that was cut short is read as far as it goes.
    """

    audio: Audio
    place: int
    sample_rate: int
    channel: int | None = None
    cut: bool = False

    @property
    def is_file(self) -> bool:
        """Whether it is no array."""
        return isinstance(self.audio, str | Path)

    @property
    def name(self) -> str:
        """The file as it was given, or which array."""
        return shown(self.audio) if isinstance(self.audio, str | Path) else f"array {self.place}"

    @property
    def seconds(self) -> float:
        """How long a file is, without decoding it."""
        return clip_seconds(cast(str, self.audio), self.cut)

    def whole(self) -> Tensor:
        """All of it, (T,)."""
        if isinstance(self.audio, str | Path):
            return read_clip(self.audio, self.sample_rate, self.channel, self.cut, warn=True)
        if not isinstance(self.audio, tuple) or len(self.audio) != 2:
            raise UserError(f"{self.name} has no sample rate: give (array, rate).")
        return read_array(*self.audio, self.sample_rate, self.name, self.channel)

    def blocks(self) -> Iterator[Tensor]:
        """Piece by piece, (T,) each."""
        if isinstance(self.audio, str | Path):
            yield from stream_clip(self.audio, self.sample_rate, self.channel, self.cut)
        else:
            yield self.whole()


def read_ahead(items: Iterable[_One], read: Callable[[_One], _Read]) -> Iterator[_Read]:
    """Read items in threads, a few before their turn; give what was read in their order."""
    waiting: deque[Future[_Read]] = deque()
    with ThreadPoolExecutor() as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def or_user_error(
    read: Callable[[_One], _Read],
) -> Callable[[_One], _Read | UserError]:
    """Return what a user can mend, and raise the rest."""

    def tried(item: _One) -> _Read | UserError:
        try:
            return read(item)
        except Exception as error:
            told = user_error(error)
            if told is None:
                raise
            return told

    return tried


def batches_by_length(clips: Sequence[Tensor], samples: int) -> Iterator[list[int]]:
    """Group clips, by index, so that a batch with its padding has at most so many samples, or one clip."""
    batch: list[int] = []
    for index in sorted(range(len(clips)), key=lambda index: len(clips[index])):
        if batch and len(clips[index]) * (len(batch) + 1) > samples:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def padded(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Clips (T,) as a batch (B, S), and their lengths as fractions of S; None where all are as long."""
    wavs = pad_sequence(list(clips), batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    return wavs, None if bool((lengths == wavs.shape[1]).all()) else lengths / wavs.shape[1]
