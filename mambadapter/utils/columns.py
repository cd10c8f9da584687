"""Millions of strings in little memory: in one piece, or each different one once."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar, overload

import numpy as np

CHUNK = 512  # items that are Python objects at a time: fewer than set off its garbage collector

_ERRORS = "surrogatepass"  # names of files need not be UTF-8
_PARTS = 16  # that are sorted one after another

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


@overload
def chunks(items: np.ndarray, size: int = CHUNK) -> Iterator[list[int]]: ...
@overload
def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]: ...
def chunks(items: Iterable[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    """Lists of so many items; the last may be shorter. Of an array, its numbers as Python's.

    Example
    -------
    >>> [*chunks("abcde", 2)]
    [['a', 'b'], ['c', 'd'], ['e']]
    >>> [*chunks(np.arange(3), 2)]
    [[0, 1], [2]]
    """
    if isinstance(items, np.ndarray):
        for start in range(0, len(items), size):
            yield items[start : start + size].tolist()
        return
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class Strings(Sequence[str]):
    """Strings one behind another in one piece of memory: half of what a list of paths takes.

    Processes that are forked share it, since reading counts no references.

    Parameters
    ----------
    strings : Iterable[str]
        The first; `extend` adds others.

    Example
    -------
    >>> strings = Strings(["a", "bc"])
    >>> strings.extend(["", "dé"])
    >>> strings[3], len(strings), strings.find("bc"), strings.find("x")
    ('dé', 4, 1, None)
    """

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("Q", [0])
        self._hashes: np.ndarray | None = None  # sorted
        self._places: np.ndarray | None = None  # of those
        self._later: dict[str, int] = {}  # places of those behind them
        self._seen = 0  # how many are in either
        for chunk in chunks(strings):
            self.extend(chunk)

    def extend(self, strings: Iterable[str]) -> None:
        """Add strings at the end."""
        encoded = [string.encode("utf-8", _ERRORS) for string in strings]
        ends = np.cumsum([len(one) for one in encoded], dtype=np.uint64) + np.uint64(self._ends[-1])
        self._ends.frombytes(ends.tobytes())
        self._bytes += b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return self.at(range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode("utf-8", _ERRORS)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]

    def at(self, places: Iterable[int]) -> list[str]:
        """Those at some places, which count from 0."""
        data, ends = self._bytes, self._ends
        return [data[ends[i] : ends[i + 1]].decode("utf-8", _ERRORS) for i in places]

    def find(self, string: str) -> int | None:
        """The last place of a string, if it has one.

        The first call takes 16 bytes for each string, and longer than the others.
        """
        return self.find_all([string])[0]

    def find_all(self, strings: Sequence[str]) -> list[int | None]:
        """The last place of each, as `find`; of many at once in less time."""
        known, order = self._index()
        if not len(self):
            return [None] * len(strings)
        hashes = np.fromiter(map(hash, strings), np.int64, len(strings))
        ends = np.searchsorted(known, hashes, "right")
        likely = order[ends - 1].tolist()
        return [
            self._later[string]
            if string in self._later
            else place if there == string else self._among(string, end)
            for string, place, there, end in zip(
                strings, likely, self.at(likely), ends.tolist(), strict=True
            )
        ]  # fmt: skip

    def _among(self, string: str, end: int) -> int | None:
        """Its place among those of its hash, which end there; different strings may have one."""
        known, order = self._index()
        while end and known[end - 1] == hash(string):
            end -= 1
            if self[int(order[end])] == string:
                return int(order[end])
        return None

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        indexed = 0 if self._hashes is None else len(self._hashes)
        if not indexed or len(self) - indexed > max(CHUNK, indexed // 4):
            hashes = np.fromiter(map(hash, self), np.int64, len(self))
            self._places = np.argsort(hashes, kind="stable").astype(np.uint32)
            self._hashes = hashes[self._places]
            self._later = {}
        elif self._seen < len(self):
            self._later.update(zip(self[self._seen :], range(self._seen, len(self)), strict=True))
        self._seen = len(self)
        assert self._hashes is not None
        assert self._places is not None
        return self._hashes, self._places

    def __getstate__(self) -> dict[str, Any]:
        """Without the index: another process hashes in another way."""
        return {**vars(self), "_hashes": None, "_places": None, "_later": {}, "_seen": 0}


class Coded(Sequence[H], Generic[H]):
    """Values of which many are alike, such as labels: each different one once, and a number a place.

    Example
    -------
    >>> coded = Coded(["dog", "cat", "dog"])
    >>> coded[2], coded.names, coded.codes.tolist()
    ('dog', ['dog', 'cat'], [0, 1, 0])
    """

    def __init__(self, values: Iterable[H] = ()) -> None:
        self._numbers: dict[H, int] = {}
        self._codes = array("i")
        self._names: list[H] = []
        for chunk in chunks(values):
            self.extend(chunk)

    @property
    def names(self) -> list[H]:
        """The different ones, in the order in which they came."""
        if len(self._names) < len(self._numbers):
            self._names = [*self._numbers]
        return self._names

    @property
    def codes(self) -> np.ndarray:
        """(N,) the number of each: its place among the `names`."""
        return np.array(self._codes, np.int32)

    def extend(self, values: Sequence[H]) -> None:
        """Add values at the end."""
        numbers = self._numbers
        for value in dict.fromkeys(values):
            numbers.setdefault(value, len(numbers))
        self._codes.extend(map(numbers.__getitem__, values))

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, place: int) -> H: ...
    @overload
    def __getitem__(self, place: slice) -> list[H]: ...
    def __getitem__(self, place: int | slice) -> H | list[H]:
        if isinstance(place, slice):
            return [self.names[code] for code in self._codes[place]]
        return self.names[self._codes[place]]

    def __iter__(self) -> Iterator[H]:
        return map(self.names.__getitem__, self._codes)

    def at(self, places: Iterable[int]) -> list[H]:
        """Those at some places."""
        names, codes = self.names, self._codes
        return [names[codes[place]] for place in places]

    def ranks(self) -> np.ndarray:
        """(N,) places among the sorted different ones."""
        names: Sequence[Any] = self.names
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order))
        return rank[self._codes]


def order_of(
    count: int, at: Callable[[Sequence[int]], Sequence[str]]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Places in the order of their strings, and those of each string that is there again.

    As `sorted`, but of a part of the strings at a time, so that the others need not be Python objects.

    Parameters
    ----------
    count : int
        How many there are.
    at : Callable
        The strings at some places.

    Returns
    -------
    numpy.ndarray
        (N,) places; equal strings in the order of theirs.
    list[tuple[int, int]]
        For each string that is there before, the place of the first and its own.

    Example
    -------
    >>> strings = Strings(["b", "a", "b"])
    >>> order_of(3, strings.at)
    (array([1, 0, 2], dtype=int32), [(0, 2)])
    """
    sample = sorted(at(range(0, count, max(count // 1024, 1))))
    bounds = sample[len(sample) // _PARTS :: max(len(sample) // _PARTS, 1)][: _PARTS - 1]
    if count <= CHUNK:
        bounds = []
    part = np.empty(count, np.int8)
    for places in chunks(range(count)):
        part[places[0] : places[-1] + 1] = [bisect_right(bounds, one) for one in at(places)]
    order, again = [], []
    for number in range(len(bounds) + 1):
        those = np.flatnonzero(part == number).astype(np.int32)
        strings = at(those.tolist())
        order.append(those[sorted(range(len(strings)), key=strings.__getitem__)])
        if len({*strings}) < len(strings):
            first: dict[str, int] = {}
            for string, place in zip(sorted(strings), order[-1].tolist(), strict=True):
                if first.setdefault(string, place) != place:
                    again.append((first[string], place))
    return np.concatenate(order), again
