"""Splits that can be trusted: the given ones checked, others made so that no source is on two sides."""

import csv
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mambadapter.data.copies import same_audio
from mambadapter.data.corpora.preparation import split_of_folds, warn_of_overlap
from mambadapter.data.corpora.prepared import SPLITS
from mambadapter.data.own.rows import Listing, Rows, listed, seconds_text
from mambadapter.errors import UserError
from mambadapter.utils.columns import Coded, chunks
from mambadapter.utils.files import below, whole_file

logger = logging.getLogger(__name__)

# Where no folds are asked for, one of so many tests, the next one validates, the others train; fewer where a
# class has fewer sources.
FOLDS = 5
_FEWEST = 3  # a fold each to train, validate and test

_TRIES = 20
_EVEN = 0.02  # of a class's share in a fold: close enough to an even one


def split_rows(
    listing: Listing,
    used: np.ndarray | None = None,
    fold: int | str = "all",
    folds: int = 0,
    seed: int = 1986,
) -> np.ndarray:
    """The split of each row: the given one, or one that is made.

    Where rows have classes, every split has all of them in the same proportions.

    Parameters
    ----------
    listing : Listing
        What is to be split.
    used : numpy.ndarray, optional
        (N,) whether a row is; None: all are.
    fold : int or str
        The one that tests, from 1; ``all`` where there are no folds.
    folds : int
        How many; 0 for a single split, that of fold 1 of five.
    seed : int
        Of the draw. The order of the rows does not matter.

    Returns
    -------
    numpy.ndarray
        (N,) places in `SPLITS`, -1 of rows that are not used.

    Raises
    ------
    UserError
        If what is asked for cannot be: a class of too few speakers, fewer sources than folds, given splits
        without a test.
    """
    rows = listing.rows
    places = rows.by_key if used is None else rows.by_key[used[rows.by_key]]
    _check_twice(rows, used)
    number = {split: place for place, split in enumerate(SPLITS)}
    split_of = np.full(len(rows), -1, np.int8)
    given = np.array([number.get(name, -1) for name in rows.splits.names], np.int8)
    split_of[places] = given[rows.splits.codes[places]]
    present = {*np.unique(split_of[places]).tolist()}
    if present == {-1}:
        split_of[places] = _made(listing, places, fold, folds, seed)
        return split_of
    if folds:
        raise UserError(
            f"--folds {folds}: {listing.root} says which clips train and test; leave it out, or let new "
            "splits be made: --data.split none."
        )
    missing = [split for split in SPLITS if number[split] not in present]
    if missing == ["valid"]:
        training = places[split_of[places] == number["train"]]
        cut = _made(listing, training, 1, 0, seed, parts=("valid",))
        split_of[training[cut == number["test"]]] = number["valid"]
        logger.info("There is no validation split: a fifth of the training clips is taken for it.")
    elif missing:
        raise UserError(
            f"{listing.root} has no {missing[-1]} split; name its clips, or let new splits be made: "
            "--data.split none."
        )
    return split_of


_CLIPS, _FILES = ("clip", "clips"), ("source file", "source files")
_GROUPS = ("speaker or group", "speakers or groups")


@dataclass(frozen=True)
class _Sources:
    """What of each row may not be on two sides."""

    numbers: np.ndarray  # (N,), in the order of their names
    what: tuple[str, str]  # one is called, and several
    name: Callable[[int], str]  # of a number


def _sources(listing: Listing, places: np.ndarray) -> _Sources:
    """Of rows that are in the order of their keys."""
    rows = listing.rows
    if listing.flags.get("group") == "none":
        return _Sources(_alone(places), _CLIPS, lambda number: rows.keys_at([places[number]])[0])
    if any(rows.groups.names[code] for code in np.unique(rows.groups.codes[places])):
        groups = rows.groups
        return _Sources(groups.ranks()[places], _GROUPS, sorted(groups.names).__getitem__)
    if not rows.cut:
        return _Sources(_alone(places), _CLIPS, lambda number: rows.names[places[number]])
    what = _CLIPS if rows.whole()[places].all() else _FILES
    files = _files_of(rows, places)
    return _Sources(files.ranks(), what, sorted(files.names).__getitem__)


def _alone(places: np.ndarray) -> np.ndarray:
    return np.arange(len(places), dtype=np.int32)


def copies_in(listing: Listing, places: np.ndarray) -> dict[int, str]:
    """Of some rows a digest of each whose file, or that it is cut from, may be a copy of another's."""
    rows = listing.rows
    if not rows.cut:
        found = same_audio(len(places), lambda some: listing.files_at(places[some].tolist()))
        return {int(places[number]): digest for number, digest in found.items()}
    files = _files_of(rows, places).codes
    _, first = np.unique(files, return_index=True)
    found = same_audio(len(first), lambda some: listing.files_at(places[first[some]].tolist()))
    return {
        place: found[file]
        for place, file in zip(places.tolist(), files.tolist(), strict=True)
        if file in found
    }


def _files_of(rows: Rows, places: np.ndarray) -> Coded[str]:
    """The files that some rows are of."""
    return Coded(name for some in chunks(places) for name in rows.names.at(some))


def check_leaks(listing: Listing, split_of: np.ndarray, copies: Mapping[int, str]) -> None:
    """Warn of speakers, files or recordings that are on two sides of the splits."""
    rows = listing.rows
    sides = {split: np.flatnonzero(split_of == number) for number, split in enumerate(SPLITS)}
    groups, named = rows.groups.codes, np.array([bool(name) for name in rows.groups.names])
    found = {
        split: {code for code in np.unique(groups[at]).tolist() if named[code]}
        for split, at in sides.items()
    }
    mend = "let others be made: --data.split none"
    warn_of_overlap(found, "speakers or groups", mend)
    if rows.cut:  # else no two rows have one file
        files = Coded(rows.names).codes
        found = {split: {*np.unique(files[at]).tolist()} for split, at in sides.items()}
        warn_of_overlap(found, "source files", mend)
    recordings = {
        split: {digest for place, digest in copies.items() if split_of[place] == number}
        for number, split in enumerate(SPLITS)
    }
    warn_of_overlap(recordings, "recordings under two names", mend)


def write_splits_table(path: Path, listing: Listing, split_of: np.ndarray) -> None:
    """Write down the split of each clip, as a table that can be read as data again."""
    rows = listing.rows
    folder = listing.audio.absolute()
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", listing.target, "split", "group", "start", "end"])
        for places in chunks(rows.by_key[split_of[rows.by_key] >= 0]):
            names = rows.names.at(places)
            times = (
                ["" if time is None else seconds_text(time) for time in column]
                for column in rows.times_at(places)
            )
            writer.writerows(
                zip(
                    below(folder, names),
                    rows.targets.at(places),
                    [SPLITS[number] for number in split_of[places].tolist()],
                    [
                        group or name
                        for group, name in zip(rows.groups.at(places), names, strict=True)
                    ],
                    *times,
                    strict=True,
                )
            )


def _check_twice(rows: Rows, used: np.ndarray | None) -> None:
    for before, place in rows.twice:
        if used is None or (used[before] and used[place]):
            one, other = rows[before], rows[place]
            raise UserError(
                f"{other.where}: {other.key} is in {one.where} too; keep one of the two rows."
            )


def _made(
    listing: Listing,
    places: np.ndarray,
    fold: int | str,
    folds: int,
    seed: int,
    parts: Sequence[str] = ("valid", "test"),
) -> np.ndarray:
    """Places in `SPLITS` of rows, which are in the order of their keys."""
    if 0 < folds < _FEWEST:
        raise UserError(
            f"--folds {folds}: give at least {_FEWEST}, since one tests, the next validates, the rest train."
        )
    sources = _sources(listing, places)
    numbers, needed = (
        _joined(sources.numbers, _recordings(listing, places)),
        folds or len(parts) + 1,
    )
    sets, set_of = _classes(listing, places)
    if listing.rows.cut and sources.what == _GROUPS:
        tied = _joined(numbers, _files_of(listing.rows, places).codes)
        if min(_units_of(sets, set_of, tied).values()) >= needed:
            numbers = tied
        else:
            logger.warning(
                "Speakers or groups share files, and too few do not: a file may be on two sides, a speaker "
                "or group is not."
            )
    sources = replace(sources, numbers=numbers)
    fewest = _check_classes(listing, sets, set_of, sources, needed, folds)
    number_of = folds or min(FOLDS, fewest)  # so that every class is in every one
    _, units = _without_gaps(sources.numbers)
    places_of = _fold_of(sets, set_of, units, number_of, seed)
    role = split_of_folds(1 if fold == "all" else fold, number_of)
    splits = [SPLITS.index(role[one + 1]) for one in range(number_of)]
    return np.array(splits, np.int8)[places_of]


def _classes(listing: Listing, places: np.ndarray) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """The different sets of classes of some rows, and (N,) the place of each row's among them."""
    targets = listing.rows.targets
    if not isinstance(targets, Coded):
        return [("",)], np.zeros(len(places), np.int8)
    codes, set_of = _without_gaps(targets.codes[places])
    names = [targets.names[code] for code in codes]
    return [listing.rows.labels.get(name, (name,)) for name in names], set_of


def _without_gaps(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones, sorted, and (N,) the place of each among them; `numpy.unique`, in less memory."""
    there = np.bincount(numbers) > 0
    different = np.flatnonzero(there)
    place = (np.cumsum(there) - 1).astype(np.min_scalar_type(len(different)))
    return different, place[numbers]


def _recordings(listing: Listing, places: np.ndarray) -> np.ndarray:
    """(N,) numbers of recordings that may be in several files; -1 of the others."""
    copies, numbers = copies_in(listing, places), dict[str, int]()
    found = np.full(len(places), -1, np.int32)
    if copies:
        for at, place in enumerate(places.tolist()):
            if place in copies:
                found[at] = numbers.setdefault(copies[place], len(numbers))
    return found


def _joined(units: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Units with those that share a key, which is at least 0, made one: the first of them."""
    count, keyed = int(units.max()) + 1, keys >= 0
    key, unit = np.divmod(np.unique(keys[keyed].astype(np.int64) * count + units[keyed]), count)
    same = np.flatnonzero(key[1:] == key[:-1])
    if not len(same):
        return units
    ties = coo_array((np.ones(len(same)), (unit[same], unit[same + 1])), shape=(count, count))
    _, part = connected_components(ties, directed=False)
    _, first = np.unique(part, return_index=True)
    return first[part][units]


def _members(sets: Sequence[Sequence[str]], set_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) numbers of rows and of their classes, in the order of the rows; a row has one or several."""
    number = {label: place for place, label in enumerate(_labels(sets))}
    flat = np.array([number[label] for of_set in sets for label in of_set], np.int32)
    counts = np.array([len(of_set) for of_set in sets])
    if len(flat) == len(sets):  # one each
        return np.arange(len(set_of), dtype=np.int32), flat[set_of]
    begins = np.cumsum(counts) - counts
    rows = np.repeat(np.arange(len(set_of), dtype=np.int32), counts[set_of])
    before = np.cumsum(counts[set_of]) - counts[set_of]
    return rows, flat[np.arange(len(rows)) + (begins[set_of] - before)[rows]]


def _labels(sets: Sequence[Sequence[str]]) -> list[str]:
    return sorted({label for of_set in sets for label in of_set})


def _units_of(
    sets: Sequence[Sequence[str]], set_of: np.ndarray, units: np.ndarray
) -> dict[str, int]:
    """How many units each class has, in the order of their names."""
    rows, members = _members(sets, set_of)
    width = int(units.max()) + 1
    pairs = np.unique(members.astype(np.int64) * width + units[rows])
    return dict(zip(_labels(sets), np.bincount(pairs // width).tolist(), strict=True))


def _check_classes(
    listing: Listing,
    sets: Sequence[Sequence[str]],
    set_of: np.ndarray,
    sources: _Sources,
    needed: int,
    folds: int,
) -> int:
    """Refuse a class of too few sources; returns how many the smallest has."""
    (one, what), units = sources.what, sources.numbers
    counts = _units_of(sets, set_of, units)
    label = min(counts, key=counts.__getitem__)  # the first of equally small ones
    fewest = counts[label]
    if fewest >= needed:
        return fewest
    whose = f"class '{label}' has" if label else "there are"
    rows, members = _members(sets, set_of)
    of_label = np.unique(units[rows[members == _labels(sets).index(label)]])
    named = [sources.name(unit) for unit in of_label[:3].tolist()]
    names = f" ({listed(named, 2)})" if what != "clips" else ""
    why = f"fewer than the {folds} folds" if folds else f"and {needed} splits need one each"
    mends = [f"--folds {fewest}"] if folds > fewest >= _FEWEST else []
    mends.append("record more" + (", or leave the class out" if label else ""))
    if what != "clips":
        mends.append(f"let clips of one of the {what} be on two sides: --data.group none")
    counted = f"{fewest} {what if fewest != 1 else one}"
    raise UserError(f"{listing.root}: {whose} {counted}{names}, {why}; {', or '.join(mends)}.")


def _fold_of(
    sets: Sequence[Sequence[str]], set_of: np.ndarray, units: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """The fold of each row, from 0: no unit in two, each class shared out as evenly as can be.

    scikit-learn stratifies over one class a row. Where rows have several it is the rarest of them, which is
    the hardest to share out; of several draws the one is taken that shares out all classes best.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = _per_fold(sets, set_of, np.zeros(len(set_of), np.int8), 1)[:, 0]
    number = {label: place for place, label in enumerate(_labels(sets))}
    rarest = [
        min((number[label] for label in of_set), key=lambda c: (counts[c], c)) for of_set in sets
    ]
    strata = np.array(rarest, np.min_scalar_type(len(counts)))[set_of]  # of which copies are made
    alone = units.max() + 1 == len(units)
    best, best_score = None, (np.inf, np.inf)
    for attempt in range(1 if alone and max(map(len, sets)) == 1 else _TRIES):
        kind = StratifiedKFold if alone else StratifiedGroupKFold
        splitter = kind(folds, shuffle=True, random_state=(seed + attempt) % 2**32)
        place = np.zeros(len(units), dtype=np.int8 if folds < 128 else int)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a class of fewer clips than folds was looked at
            for fold, (_, inside) in enumerate(splitter.split(strata, strata, units)):
                place[inside] = fold
        table = _per_fold(sets, set_of, place, folds)
        shares = table / table.sum(1, keepdims=True)
        score = (int((table == 0).sum()), float(np.abs(shares - 1 / folds).max()))
        if score < best_score:
            best, best_score = place, score
        if best_score < (1, _EVEN):
            break
    assert best is not None
    return best


def _per_fold(
    sets: Sequence[Sequence[str]], set_of: np.ndarray, fold_of: np.ndarray, folds: int
) -> np.ndarray:
    """(classes, folds) how many rows of each class are in each."""
    rows, members = _members(sets, set_of)
    count = len(_labels(sets))
    of_row = fold_of[rows]
    return np.stack(
        [np.bincount(members[of_row == fold], minlength=count) for fold in range(folds)], axis=1
    )
