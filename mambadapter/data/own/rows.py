"""What a folder or a table lists, and the one message that says which of its rows are broken."""

import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mambadapter.errors import UserError
from mambadapter.utils.files import shown

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
        if self.start is None and self.end is None:
            return self.name
        end = "" if self.end is None else f"{self.end:g}"
        return f"{self.name}#t={self.start or 0:g},{end}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Its labels, or its only one."""
        return self.labels or (self.target,)

    @property
    def where(self) -> str:
        """Where it is listed, for messages."""
        return f"{self.table}, line {self.line}" if self.line else self.name


@dataclass(frozen=True)
class Listing:
    """All that a folder or a table lists."""

    layout: str  # such as ``table``
    target: Target
    root: Path  # where relative names start, for messages
    rows: list[Row]
    read: str  # how it was read, in words
    flags: dict[str, str] = field(default_factory=dict)  # settings that were needed to read it
    written: Path | None = None  # where relative names start of clips that had no file of their own

    @property
    def several(self) -> bool:
        """Whether a clip may have several labels."""
        return any(row.labels for row in self.rows)

    @property
    def audio(self) -> Path:
        """Where relative names of files start."""
        return self.written or self.root

    def path(self, row: Row) -> Path:
        """The file of a row."""
        return self.audio / row.name


class Broken:
    """Collects what is wrong with rows, to say it at once."""

    def __init__(self) -> None:
        self._first = ""
        self._others: list[str] = []

    def add(self, where: str, problem: str, mend: str) -> None:
        """One more broken row."""
        if self._first:
            self._others.append(where)
        else:
            self._first = f"{where}: {problem}; {mend}."

    def refuse(self) -> None:
        """Raise one line, if anything is wrong."""
        if self._first:
            some = ", ".join(self._others[:_MOST_LINES])
            more = ", ..." if len(self._others) > _MOST_LINES else ""
            others = f" {len(self._others)} more are broken: {some}{more}." if some else ""
            raise UserError(shown(self._first + others))


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
