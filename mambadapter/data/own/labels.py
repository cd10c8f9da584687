"""Several labels of a clip: parted where the user says so, and never guessed."""

from collections import defaultdict
from collections.abc import Iterable

from mambadapter.data.own.rows import BrokenCell, clean
from mambadapter.errors import UserError

NO_SEPARATOR = "none"
JOINED = ";"  # labels of several columns, where no separator is given

_LIKELY = ";|,/+&"


def checked_separator(given: str) -> str:
    """The character that parts labels; empty where a clip has one.

    Raises
    ------
    UserError
        If it is not one character.
    """
    if given == NO_SEPARATOR:
        return ""
    if len(given) != 1:
        raise UserError(
            f"--data.label_separator: '{given}' is not one character; give one, such as ';', or "
            f"{NO_SEPARATOR}."
        )
    return given


def parted(cell: str, separator: str) -> tuple[str, ...]:
    """The labels in a cell, sorted.

    Raises
    ------
    BrokenCell
        If one is empty, or there twice.
    """
    labels = [clean(part) for part in cell.split(separator)]
    if "" in labels:
        raise BrokenCell(f"an empty label in '{cell}'", f"write one '{separator}' between two")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise BrokenCell(f"'{twice[0]}' twice in '{cell}'", "write each label once")
    return tuple(sorted(labels))


def likely_separator(cells: Iterable[str]) -> str | None:
    """A character that seems to part labels: most of what it parts is also in other cells.

    Example
    -------
    >>> likely_separator(["dog;rain", "rain", "dog", "rain;wind"])
    ';'
    >>> likely_separator(["bark, dog", "song, bird"])
    """
    different = {*cells}
    for mark in _LIKELY:
        found = defaultdict(set)
        for cell in different:
            for part in cell.split(mark):
                found[part.strip()].add(cell)
        marked = [of for of in found.values() if any(mark in cell for cell in of)]
        if marked and 2 * sum(len(of) > 1 for of in marked) > len(marked):
            return mark
    return None
