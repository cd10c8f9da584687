"""What a folder or a table lists, and the one message that says which of its rows are broken."""

import math
import sys
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import numpy as np

from mambadapter.errors import UserError
from mambadapter.utils.columns import CHUNK, Coded, Strings, chunks, order_of
from mambadapter.utils.files import below, shown

# What a task learns of a clip: its class, or what is said in it.
Target = Literal["label", "text"]

# What splits are called, in tables and as folders.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "dev", "val"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_MOST_LINES = 5


class NoTarget(UserError):
    """Nothing says what is to be learnt of the clips."""


class BrokenCell(ValueError):
    """What is wrong with a cell of a table, and what mends it."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.problem, self.mend = problem, mend


@dataclass(frozen=True, slots=True)
class Row:
    """A clip: a file, or a segment of one."""

    name: str  # as it is listed: a path below `Listing.audio`, or an absolute one
    target: str  # its class or its transcript
    table: str  # where it is listed
    line: int  # there, from 1; 0 of a folder
    split: str = ""  # ``train``, ``valid``, ``test``, or empty: not given
    group: str = ""  # its speaker, or other source; empty: not given
    start: float | None = None  # seconds; None: from the beginning
    end: float | None = None  # seconds; None: to the end
    labels: tuple[str, ...] = ()  # sorted, where a clip may have several; `target` joins them

    @property
    def key(self) -> str:
        """Its name in manifests; a segment's is that of W3C Media Fragments."""
        return key_of(self.name, self.start, self.end)

    @property
    def classes(self) -> tuple[str, ...]:
        """Its labels, or its only one."""
        return self.labels or (self.target,)

    @property
    def where(self) -> str:
        """Where it is listed, for messages."""
        return f"{self.table}, line {self.line}" if self.line else self.name


def key_of(name: str, start: float | None, end: float | None) -> str:
    """As `Row.key`."""
    if start is None and end is None:
        return name
    return f"{name}#t={seconds_text(start or 0.0)},{'' if end is None else seconds_text(end)}"


def seconds_text(time: float) -> str:
    """The shortest text that reads as the same number.

    Example
    -------
    >>> seconds_text(12345.625), seconds_text(3.0)
    ('12345.625', '3')
    """
    return repr(float(time)).removesuffix(".0")


class Rows(Sequence[Row]):
    """Rows in columns, in the order in which they were listed: some hundred bytes each.

    Attributes
    ----------
    names, targets, splits, groups
        Columns of what `Row` calls so.
    labels : dict[str, tuple[str, ...]]
        Of each target that joins several labels.
    cut : bool
        Some are segments.
    """

    def __init__(self, target: Target, rows: Iterable[Row] = ()) -> None:
        self.names = Strings()
        self.targets: Coded | Strings = Coded() if target == "label" else Strings()
        self.splits: Coded[str] = Coded()
        self.groups: Coded[str] = Coded()
        self._tables: Coded[str] = Coded()
        self.labels: dict[str, tuple[str, ...]] = {}
        self.cut = False
        self._lines = array("i")
        self._starts, self._ends = array("d"), array("d")  # NaN: None; empty while nothing is cut
        for chunk in chunks(rows):
            of = {name: [getattr(row, name) for row in chunk] for name in Row.__slots__}
            self.labels |= {row.target: row.labels for row in chunk if row.labels}
            self.extend(
                of["name"], of["target"], of["table"], of["line"], of["split"], of["group"],
                of["start"], of["end"],
            )  # fmt: skip

    def extend(
        self,
        names: Sequence[str],
        targets: Sequence[str],
        tables: Sequence[str],
        lines: Sequence[int],
        splits: Sequence[str],
        groups: Sequence[str],
        starts: Sequence[float | None],
        ends: Sequence[float | None],
    ) -> None:
        """Add rows, a column after the other."""
        times = (self._starts, starts), (self._ends, ends)
        if not self.cut and any(time is not None for _, column in times for time in column):
            self.cut = True
            for known, _ in times:
                known.extend([math.nan] * len(self))
        if self.cut:
            for known, column in times:
                known.extend([math.nan if time is None else time for time in column])
        self.names.extend(names)
        self.targets.extend(targets)
        self._tables.extend(tables)
        self._lines.extend(lines)
        self.splits.extend(splits)
        self.groups.extend(groups)
        vars(self).pop("_order", None)

    def add(self, other: "Rows", folder: str = "") -> None:
        """Add another's rows, of which the names start in a folder."""
        self.labels |= other.labels
        for places in chunks(range(len(other))):
            names, tables = other.names.at(places), other._tables.at(places)
            if folder:
                names = [str(Path(folder, name)) for name in names]
                tables = [f"{folder}/{table}" for table in tables]
            self.extend(
                names, other.targets.at(places), tables, other._lines[places[0] : places[-1] + 1],
                other.splits.at(places), other.groups.at(places), *other.times_at(places),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        target = self.targets[place]
        (start,), (end,) = self.times_at([place])
        return Row(
            self.names[place], target, self._tables[place], self._lines[place], self.splits[place],
            self.groups[place], start, end, self.labels.get(target, ()),
        )  # fmt: skip

    def times_at(
        self, places: Sequence[int]
    ) -> tuple[Sequence[float | None], Sequence[float | None]]:
        """Start and end of some rows."""
        if not self.cut:
            return (nothing := [None] * len(places)), nothing
        both = ([column[place] for place in places] for column in (self._starts, self._ends))
        starts, ends = ([None if t != t else t for t in times] for times in both)
        return starts, ends

    def keys_at(self, places: Sequence[int]) -> list[str]:
        """The keys of some rows."""
        return self.keys_of(self.names.at(places), places)

    def keys_of(self, names: list[str], places: Sequence[int]) -> list[str]:
        """The same of rows whose names are at hand."""
        return [*map(key_of, names, *self.times_at(places))] if self.cut else names

    def keys(self) -> Iterator[str]:
        """The keys of all rows, in their order."""
        for places in chunks(range(len(self))):
            yield from self.keys_at(places)

    def whole(self) -> np.ndarray:
        """(N,) whether a row is all of a file."""
        if not self.cut:
            return np.ones(len(self), bool)
        return np.isnan(self._starts) & np.isnan(self._ends)

    @cached_property
    def _order(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        return order_of(len(self), self.keys_at)

    @property
    def by_key(self) -> np.ndarray:
        """(N,) places of the rows, in the order of their keys."""
        return self._order[0]

    @property
    def twice(self) -> list[tuple[int, int]]:
        """Of rows whose key another has, the first that has it and the row."""
        return self._order[1]


@dataclass(frozen=True)
class Listing:
    """All that a folder or a table lists."""

    layout: str  # such as ``table``
    target: Target
    root: Path  # where relative names start, for messages
    rows: Rows
    read: str  # how it was read, in words
    flags: dict[str, str] = field(default_factory=dict)  # settings that were needed to read it
    written: Path | None = None  # where relative names start of clips that had no file of their own

    @property
    def several(self) -> bool:
        """Whether a clip may have several labels."""
        return bool(self.rows.labels)

    @property
    def audio(self) -> Path:
        """Where relative names of files start."""
        return self.written or self.root

    def path(self, row: Row) -> Path:
        """The file of a row."""
        return self.audio / row.name

    def files_at(self, places: Sequence[int]) -> list[str]:
        """The files of some rows."""
        return below(self.audio, self.rows.names.at(places))


class Broken:
    """Collects what is wrong with rows, to say it at once: the first of them, and where others are."""

    def __init__(self) -> None:
        self._count = 0
        self._found: list[tuple[int, str, str]] = []

    def add(self, where: str, problem: str, mend: str, line: int = 0) -> None:
        """One more broken row; those of one table may come in any order of their lines."""
        self._count += 1
        self._found.append((line, where, f"{where}: {problem}; {mend}."))
        if len(self._found) > CHUNK:  # of millions the first few are enough
            self._sort()
            del self._found[_MOST_LINES + 1 :]

    def _sort(self) -> None:
        self._found.sort(key=lambda one: one[0])

    def refuse(self) -> None:
        """Raise one line, if anything is wrong."""
        if not self._found:
            return
        self._sort()
        (_, _, said), *others = self._found
        if others:
            some = ", ".join(where for _, where, _ in others[:_MOST_LINES])
            more = ", ..." if self._count - 1 > _MOST_LINES else ""
            said += f" {self._count - 1} more are broken: {some}{more}."
        raise UserError(shown(said))


def clean(text: str) -> str:
    """A label or a name of a speaker: in Unicode form NFC, so that what looks alike is alike."""
    return sys.intern(unicodedata.normalize("NFC", text.strip()))


def split_named(text: str) -> str | None:
    """The split that a name stands for."""
    return SPLIT_NAMES.get(text.strip().lower())


def listed(names: Iterable[str], most: int = _MOST_LINES) -> str:
    """The first of some names, for a message."""
    names = [*names]
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
