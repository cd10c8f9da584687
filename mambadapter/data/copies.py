"""Files that hold the same audio under several names."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from mambadapter.data.durations import stamp
from mambadapter.utils.columns import chunks

_BEGINNING = 4096  # bytes, of which copies have the same


# Where the files of some numbers are.
_Paths = Callable[[Sequence[int]], Sequence[str | Path]]


def same_audio(count: int, paths: _Paths) -> dict[int, str]:
    """A digest of each file that may be another's copy: those of one size, and of one beginning.

    Parameters
    ----------
    count : int
        How many there are.
    paths : Callable
        Where those of some numbers are, which count from 0.

    Returns
    -------
    dict[int, str]
        By its number.
    """
    found = (stamp(path) for some in chunks(range(count)) for path in paths(some))
    sizes = np.fromiter((one[0] if one else -1 for one in found), int, count)
    alike = _again(np.flatnonzero(sizes >= 0), sizes[sizes >= 0])
    digests = _digests(paths, alike, _BEGINNING)
    # Eight bytes, so that of millions they take little; what they take for alike is read to its end.
    alike = _again(alike, np.fromiter((int(one[:15], 16) for one in digests), int, len(alike)))
    return dict(zip(alike.tolist(), _digests(paths, alike), strict=True))


def _again(numbers: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Those whose value another has, too."""
    _, inverse, counts = np.unique(of, return_inverse=True, return_counts=True)
    return numbers[counts[inverse] > 1]


def _digests(paths: _Paths, numbers: np.ndarray, much: int | None = None) -> Iterator[str]:
    """Of so many bytes of some files, or of all."""
    with ThreadPoolExecutor() as pool:
        for some in chunks(numbers):
            yield from pool.map(partial(_digest, much=much), paths(some))


def _digest(path: str | Path, much: int | None) -> str:
    with open(path, "rb") as file:
        if much is not None:
            return hashlib.blake2b(file.read(much)).hexdigest()[:32]
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def copies_of(paths: Iterable[Path], others: Iterable[Path]) -> dict[Path, Path]:
    """Of each file that is also among the others, as a copy or itself, that one."""
    here, there = [*dict.fromkeys(paths)], [*dict.fromkeys(others)]
    both = [*here, *there]
    copies = same_audio(len(both), lambda numbers: [both[number] for number in numbers])
    digests = {both[number]: one for number, one in copies.items()}
    same = {path: path for path in there}
    held = {digests[path]: path for path in there if path in digests}
    found = ((path, same.get(path) or held.get(digests.get(path, ""))) for path in here)
    return {path: other for path, other in found if other is not None}
