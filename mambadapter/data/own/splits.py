"""Splits that can be trusted: the given ones checked, others made so that no source is on two sides."""

import csv
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from mambadapter.data.copies import same_audio
from mambadapter.data.corpora.preparation import split_of_folds, warn_of_overlap
from mambadapter.data.corpora.prepared import SPLITS
from mambadapter.data.own.rows import Listing, Row, listed
from mambadapter.errors import UserError
from mambadapter.utils.files import whole_file

logger = logging.getLogger(__name__)

# Where no folds are asked for, one of so many tests, the next one validates, the others train; fewer where a
# class has fewer sources.
FOLDS = 5
_FEWEST = 3  # a fold each to train, validate and test

_TRIES = 20
_EVEN = 0.02  # of a class's share in a fold: close enough to an even one


def split_rows(
    listing: Listing,
    labels: Mapping[str, Sequence[str]] | None = None,
    fold: int | str = "all",
    folds: int = 0,
    seed: int = 1986,
) -> dict[str, str]:
    """The split of each row, by its key: the given one, or one that is made.

    Parameters
    ----------
    listing : Listing
        What is to be split.
    labels : Mapping[str, Sequence[str]], optional
        The classes of each row by its key: every split then has all in the same proportions.
    fold : int or str
        The one that tests, from 1; ``all`` where there are no folds.
    folds : int
        How many; 0 for a single split, that of fold 1 of five.
    seed : int
        Of the draw. The order of the rows does not matter.

    Returns
    -------
    dict[str, str]
        ``train``, ``valid`` or ``test``.

    Raises
    ------
    UserError
        If what is asked for cannot be: a class of too few speakers, fewer sources than folds, given splits
        without a test.
    """
    rows = sorted(listing.rows, key=lambda row: row.key)
    _check_twice(rows)
    given = {row.key: row.split for row in rows}
    if not any(given.values()):
        return _made(listing, rows, labels, fold, folds, seed)
    if folds:
        raise UserError(
            f"--folds {folds}: {listing.root} says which clips train and test; leave it out, or let new "
            "splits be made: --data.split none."
        )
    missing = [split for split in SPLITS if split not in given.values()]
    if "valid" in missing and len(missing) == 1:
        training = [row for row in rows if row.split == "train"]
        cut = _made(listing, training, labels, 1, 0, seed, parts=("valid",))
        given |= {key: "valid" if split == "test" else "train" for key, split in cut.items()}
        logger.info("There is no validation split: a fifth of the training clips is taken for it.")
    elif missing:
        raise UserError(
            f"{listing.root} has no {missing[-1]} split; name its clips, or let new splits be made: "
            "--data.split none."
        )
    return given


def sources(listing: Listing, rows: Iterable[Row]) -> tuple[list[str], str]:
    """What of each row may not be on two sides, and what that is called."""
    rows = [*rows]
    if listing.flags.get("group") == "none":
        return [row.key for row in rows], "clips"
    if any(row.group for row in rows):
        return [row.group for row in rows], "speakers or groups"
    cut = any(row.start is not None or row.end is not None for row in rows)
    return [row.name for row in rows], "source files" if cut else "clips"


def check_leaks(listing: Listing, split_of: Mapping[str, str], copies: Mapping[Path, str]) -> None:
    """Warn of speakers, files or recordings that are on two sides of the splits."""
    for what, of_row in (
        ("speakers or groups", lambda row: row.group),
        ("source files", lambda row: row.name),
        ("recordings under two names", lambda row: copies.get(listing.path(row), "")),
    ):
        found: dict[str, set[str]] = {split: set() for split in SPLITS}
        for row in listing.rows:
            if row.key in split_of and (source := of_row(row)):
                found[split_of[row.key]].add(source)
        warn_of_overlap(found, what, mend="let others be made: --data.split none")


def write_splits_table(path: Path, listing: Listing, split_of: Mapping[str, str]) -> None:
    """Write down the split of each clip, as a table that can be read as data again."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", listing.target, "split", "group", "start", "end"])
        for row in sorted(listing.rows, key=lambda row: row.key):
            if row.key in split_of:
                times = ["" if time is None else f"{time:g}" for time in (row.start, row.end)]
                where = listing.path(row).absolute()
                writer.writerow(
                    [where, row.target, split_of[row.key], row.group or row.name, *times]
                )


def _check_twice(rows: Sequence[Row]) -> None:
    for one, other in pairwise(rows):
        if one.key == other.key:
            raise UserError(
                f"{other.where}: {other.key} is in {one.where} too; keep one of the two rows."
            )


def _made(
    listing: Listing,
    rows: Sequence[Row],
    labels: Mapping[str, Sequence[str]] | None,
    fold: int | str,
    folds: int,
    seed: int,
    parts: Sequence[str] = ("valid", "test"),
) -> dict[str, str]:
    if 0 < folds < _FEWEST:
        raise UserError(
            f"--folds {folds}: give at least {_FEWEST}, since one tests, the next validates, the rest train."
        )
    units, what = sources(listing, rows)
    copies = same_audio(listing.path(row) for row in rows if row.start is None and row.end is None)
    units = _joined(units, [copies.get(listing.path(row), "") for row in rows])
    classes = [(labels[row.key] if labels is not None else ("",)) for row in rows]
    fewest = _check_classes(listing, classes, units, what, folds or len(parts) + 1, folds)
    numbers = np.unique(units, return_inverse=True)[1]
    number_of = folds or min(FOLDS, fewest)  # so that every class is in every one
    places = _fold_of(classes, numbers, number_of, seed)
    role = split_of_folds(1 if fold == "all" else int(fold), number_of)
    return {row.key: role[int(place) + 1] for row, place in zip(rows, places, strict=True)}


def _joined(units: Sequence[str], copies: Sequence[str]) -> list[str]:
    """Units with those that hold the same recording made one."""
    parent: dict[str, str] = {}

    def root(unit: str) -> str:
        while parent.get(unit, unit) != unit:
            unit = parent[unit]
        return unit

    first: dict[str, str] = {}
    for unit, copy in zip(units, copies, strict=True):
        if copy:
            one, other = sorted((root(unit), root(first.setdefault(copy, unit))))
            parent[other] = one
    return [root(unit) for unit in units]


def _check_classes(
    listing: Listing,
    classes: Sequence[Sequence[str]],
    units: Sequence[str],
    what: str,
    needed: int,
    folds: int,
) -> int:
    """Refuse a class of too few sources; returns how many the smallest has."""
    of_class: dict[str, set[str]] = defaultdict(set)
    for of_row, unit in zip(classes, units, strict=True):
        for label in of_row:
            of_class[label].add(unit)
    label, fewest = min(of_class.items(), key=lambda item: (len(item[1]), item[0]))
    if len(fewest) >= needed:
        return len(fewest)
    whose = f"class '{label}' has" if label else "there are"
    names = f" ({listed(sorted(fewest), 2)})" if what != "clips" else ""
    why = f"fewer than the {folds} folds" if folds else f"and {needed} splits need one each"
    mends = [f"--folds {len(fewest)}"] if folds > len(fewest) >= _FEWEST else []
    mends.append("record more" + (", or leave the class out" if label else ""))
    if what != "clips":
        mends.append(f"let clips of one of the {what} be on two sides: --data.group none")
    raise UserError(
        f"{listing.root}: {whose} {len(fewest)} {what}{names}, {why}; {', or '.join(mends)}."
    )


def _fold_of(
    classes: Sequence[Sequence[str]], units: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """The fold of each row, from 0: no unit in two, each class shared out as evenly as can be.

    scikit-learn stratifies over one class a row. Where rows have several it is the rarest of them, which is
    the hardest to share out; of several draws the one is taken that shares out all classes best.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = Counter(label for of_row in classes for label in of_row)
    number = {label: place for place, label in enumerate(sorted(counts))}
    strata = np.array([number[min(of_row, key=lambda c: (counts[c], c))] for of_row in classes])
    rows = np.repeat(np.arange(len(classes)), [len(of_row) for of_row in classes])
    members = np.array([number[label] for of_row in classes for label in of_row])
    alone = units.max() + 1 == len(units)
    best, best_score = None, (np.inf, np.inf)
    for attempt in range(1 if alone and len(rows) == len(classes) else _TRIES):
        kind = StratifiedKFold if alone else StratifiedGroupKFold
        splitter = kind(folds, shuffle=True, random_state=(seed + attempt) % 2**32)
        place = np.zeros(len(units), dtype=int)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a class of fewer clips than folds was looked at
            for fold, (_, inside) in enumerate(splitter.split(strata, strata, units)):
                place[inside] = fold
        table = np.zeros((len(counts), folds))
        np.add.at(table, (members, place[rows]), 1)
        shares = table / table.sum(1, keepdims=True)
        score = (int((table == 0).sum()), float(np.abs(shares - 1 / folds).max()))
        if score < best_score:
            best, best_score = place, score
        if best_score < (1, _EVEN):
            break
    assert best is not None
    return best
