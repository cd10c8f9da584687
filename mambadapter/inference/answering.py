"""Several adapters' answers to many recordings, in batches of clips of like length."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.errors import UserError
from mambadapter.inference.classifier import Classifier, timelines
from mambadapter.inference.reading import (
    Recording,
    batches_by_length,
    or_user_error,
    padded,
    read_ahead,
)
from mambadapter.inference.results import Result

# Of a batch with its padding; a GPU is idle at less, a CPU's caches overflow at more.
_BATCH_SECONDS = {"cpu": 16.0, "cuda": 320.0, "mps": 80.0}
_POOL = 8  # batches whose clips are sorted by length together

Answer = dict[str, Result] | UserError  # by adapter, or what is wrong with the recording


class Reader(Protocol):
    """What a package becomes."""

    @property
    def longest_seconds(self) -> float: ...

    @property
    def encoder(self) -> AdaptedEncoder: ...

    @property
    def modules(self) -> tuple[nn.Module, nn.Module]: ...

    def decoded(self, decoding: Mapping[str, Any]) -> "Reader": ...

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> Sequence[Result]: ...

    def read_long(self, recording: Recording) -> Result: ...


@dataclass(frozen=True)
class Answering:
    """Adapters over one encoder, as one call uses them.

    Attributes
    ----------
    readers : Mapping[str, Reader]
        By the adapters' names.
    thresholds : Mapping[str, float]
        Below which a clip of an adapter is unknown, of those that are asked for it.
    device : str
        Where they are.
    dtype : torch.dtype or None
        Of autocast; None: without.
    checkpoint : SharedCheckpoint
        What they share.
    """

    readers: Mapping[str, Reader]
    thresholds: Mapping[str, float]
    device: str
    dtype: torch.dtype | None
    checkpoint: SharedCheckpoint

    @property
    def sample_rate(self) -> int:
        """Hz, that they read."""
        return next(iter(self.readers.values())).encoder.sample_rate

    def whole(self, recordings: Iterable[Recording]) -> Iterator[Answer]:
        """One result for each recording, in their order; long ones are read as each adapter does it."""
        longest = min(reader.longest_seconds for reader in self.readers.values())

        def read_long(recording: Recording) -> dict[str, Result]:
            return {name: self._alone(reader, recording) for name, reader in self.readers.items()}

        return self._answers(recordings, longest, read_long)

    def timelines(
        self, recordings: Iterable[Recording], window: float, hop: float
    ) -> Iterator[Answer]:
        """A timeline of each recording, in their order, by windows of so many seconds every `hop`."""
        classifiers = cast(Mapping[str, Classifier], self.readers)

        def read_long(recording: Recording) -> dict[str, Result]:
            return {**timelines(classifiers, recording, window, hop, self.thresholds)}

        return self._answers(recordings, 0.0, read_long)

    def _answers(
        self,
        recordings: Iterable[Recording],
        longest: float,
        read_long: Callable[[Recording], dict[str, Result]],
    ) -> Iterator[Answer]:
        most = round(_BATCH_SECONDS[torch.device(self.device).type] * self.sample_rate)
        pool: list[tuple[Recording, Tensor]] = []
        for recording, read in read_ahead(recordings, partial(_load, longest=longest)):
            if isinstance(read, Tensor):
                pool.append((recording, read))
                if sum(len(wav) for _, wav in pool) < _POOL * most:
                    continue
            yield from self._read_pool(pool, most)
            pool = []
            if isinstance(read, UserError):
                yield read
            elif read is None:
                yield or_user_error(self._compute)(partial(read_long, recording))
        yield from self._read_pool(pool, most)

    def _read_pool(self, pool: list[tuple[Recording, Tensor]], most: int) -> Iterator[Answer]:
        """Answer clips in their order, batched by length."""
        answers: dict[int, Answer] = {}
        read = or_user_error(self._read_batch)
        for batch in batches_by_length([wav for _, wav in pool], most):
            clips = [pool[index] for index in batch]
            found = read(clips)
            if isinstance(found, UserError):  # of one of them, perhaps
                each = [read([clip]) for clip in clips]
            else:
                each = [[one] for one in found]
            for index, one in zip(batch, each, strict=True):
                answers[index] = (
                    UserError(f"{pool[index][0].name}: {one}")
                    if isinstance(one, UserError)
                    else one[0]
                )
        for index in range(len(pool)):
            yield answers[index]

    def _read_batch(self, clips: Sequence[tuple[Recording, Tensor]]) -> list[dict[str, Result]]:
        recordings = [recording for recording, _ in clips]
        wavs, lengths = padded([wav for _, wav in clips])
        wavs = wavs.to(self.device)
        found = self._compute(
            lambda: {
                name: one.read(wavs, lengths, recordings) for name, one in self.readers.items()
            }
        )
        for name, threshold in self.thresholds.items():
            found[name] = [one.or_unknown(threshold) for one in found[name]]
        return [{name: found[name][place] for name in self.readers} for place in range(len(clips))]

    def _alone(self, reader: Reader, recording: Recording) -> Result:
        """What one adapter says of a recording that is too long for one of them."""
        _, wav = _load(recording, reader.longest_seconds)
        if isinstance(wav, UserError):
            raise wav
        if wav is None:
            return reader.read_long(recording)
        return reader.read(wav[None].to(self.device), None, [recording])[0]

    def _compute(self, do: Callable[[], Any]) -> Any:
        kind = torch.device(self.device).type
        with (
            self.checkpoint.turn(),
            torch.inference_mode(),
            torch.autocast(kind, self.dtype, enabled=self.dtype is not None),
        ):
            return do()


def _load(recording: Recording, longest: float) -> tuple[Recording, Tensor | UserError | None]:
    """A recording with its samples, None in their place if it is longer than `longest` seconds."""

    def samples(one: Recording) -> Tensor | None:
        if one.is_file:
            return None if one.seconds > longest else one.whole()
        wav = one.whole()
        return wav if len(wav) <= longest * one.sample_rate else None

    return recording, or_user_error(samples)(recording)
