"""Long recordings in windows, read as they are needed: no more than a window of samples is ever held."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mambadapter.encoders import AdaptedEncoder


@dataclass(frozen=True)
class Window:
    """A piece of a recording, with context that is thrown away.

    Attributes
    ----------
    wav : Tensor
        (T,) samples, the context's among them.
    start : int
        The recording's sample that is the first of `wav`.
    keep : tuple[int, int]
        From which of the recording's samples to which its answer counts.
    last : bool
        Nothing follows.
    """

    wav: Tensor
    start: int
    keep: tuple[int, int]
    last: bool


class Samples:
    """A recording's samples by their place, forwards only.

    Example
    -------
    >>> samples = Samples([torch.arange(3), torch.arange(3, 8)])
    >>> samples.span(2, 5), samples.span(4, 99), samples.ends_by(7)
    (tensor([2, 3, 4]), tensor([4, 5, 6, 7]), False)
    """

    def __init__(self, blocks: Iterable[Tensor]) -> None:
        self._blocks, self._held, self._start = iter(blocks), torch.zeros(0), 0

    def span(self, start: int, stop: int) -> Tensor:
        """Samples from `start`, which may not lie before an earlier one, to `stop` or the end."""
        self._read(stop)
        self._held = self._held[start - self._start :].clone()
        self._start = start
        return self._held[: stop - start]

    def blocks(self, start: int, stop: int, size: int = 16000) -> Iterator[Tensor]:
        """A span's samples, `size` at a time."""
        for at in range(start, stop, size):
            if len(block := self.span(at, min(stop, at + size))):
                yield block

    def ends_by(self, stop: int) -> bool:
        """Whether there is nothing at `stop` or after it."""
        self._read(stop + 1)
        return self._start + len(self._held) <= stop

    def _read(self, stop: int) -> None:
        new, count = [self._held], self._start + len(self._held)
        while count < stop and (block := next(self._blocks, None)) is not None:
            new.append(block)
            count += len(block)
        if len(new) > 1:
            self._held = torch.cat(new[1:] if not len(self._held) else new)


def windows(blocks: Iterable[Tensor], core: int, context: int) -> Iterator[Window]:
    """Cut a recording into windows whose kept parts follow each other without a gap.

    Parameters
    ----------
    blocks : iterable of Tensor
        (T,) pieces of it.
    core : int
        Samples that are kept of a window, but for the last, which may be as much as `context` longer.
    context : int
        Samples on both sides of them, where there are as many.

    Returns
    -------
    iterator of Window
    """
    samples, start, last = Samples(blocks), 0, False
    while not last:
        last = samples.ends_by(start + core + context)
        before = max(0, start - context)
        wav = samples.span(before, start + core + context)
        yield Window(wav, before, (start, before + len(wav) if last else start + core), last)
        start += core


def hop_of(encoder: AdaptedEncoder) -> int:
    """Samples from one frame of an encoder to the next."""
    whole = 64 * encoder.sample_rate
    few, many = encoder.frames(torch.tensor([whole, 2 * whole], device=_device(encoder))).tolist()
    return round(whole / (many - few))


def _device(encoder: AdaptedEncoder) -> torch.device:
    return next(encoder.backbone.parameters()).device
