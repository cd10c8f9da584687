"""Write the manifests of one's own recordings: of sounds with a class, and of speech with a transcript."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mambadapter.data.corpora.prepared import SPLITS, Chosen, write_manifests
from mambadapter.data.decoding import UnusableAudio, segment_seconds
from mambadapter.data.durations import DurationCache, Lengths
from mambadapter.data.manifests import check_splits
from mambadapter.data.own.labels import likely_separator
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.rows import Listing, Row, listed
from mambadapter.data.own.splits import check_leaks, copies_in, split_rows, write_splits_table
from mambadapter.errors import UserError
from mambadapter.text import TextRules
from mambadapter.utils.columns import CHUNK, Coded, Strings, chunks
from mambadapter.utils.files import below, shown

logger = logging.getLogger(__name__)

# A character that occurs less often in the training texts is hardly learnt.
RARE = 5


def prepare_sounds(
    data_folder: str | Path,
    manifest_folder: str | Path,
    cache_folder: str | Path,
    reading: Mapping[str, str],
    test_fold: int | str = "all",
    folds: int = 0,
    split_seed: int = 1986,
    skip_unusable_audio: bool = False,
) -> dict[str, Path]:
    """Write ``train.json``, ``valid.json``, ``test.json`` and ``splits.csv`` of clips with classes.

    Nothing is done twice, and lengths that were found are not looked for again.

    Parameters
    ----------
    data_folder : str or Path
        A folder or a table.
    manifest_folder : str or Path
        Where the manifests go.
    cache_folder : str or Path
        Where the lengths of files are remembered, for all runs, and clips written that had no file.
    reading : Mapping[str, str]
        How the folder is read: ``hparams/own_data.yaml``.
    test_fold : int or str
        The fold that tests; ``all`` where there are no folds.
    folds : int
        How many; 0: a single split.
    split_seed : int
        Of the splits, where none are given.
    skip_unusable_audio : bool
        Leave clips out that cannot be used, instead of refusing.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        One line with the file, the row and the mend.

    Example
    -------
    >>> prepare_sounds("sounds", "manifests", "cache", {})["train"].name  # doctest: +SKIP
    'train.json'
    """
    listing = read_data(data_folder, "label", reading, Path(cache_folder))
    rows = listing.rows
    assert isinstance(rows.targets, Coded)  # of labels
    if not listing.several and (mark := likely_separator(rows.targets.names)):
        logger.warning(
            "Labels seem to be parted by '%s', and are read as one each; if a clip may have several: "
            "--data.label_separator '%s'", mark, mark,
        )  # fmt: skip
    cut = {"folds": folds, "test_fold": test_fold, "split_seed": split_seed}

    def choose() -> Chosen:
        lengths, left_out = _usable(listing, cache_folder, skip_unusable_audio)
        split_of = split_rows(listing, lengths.seconds > 0, test_fold, folds, split_seed)

        def about(places: Sequence[int]) -> Iterator[dict[str, Any]]:
            for target in rows.targets.at(places):
                labels = rows.labels.get(target)
                yield {"labels": [*labels]} if labels else {"label": target}

        folder = Path(manifest_folder)
        return _chosen(listing, lengths, left_out, split_of, about, folder)

    return write_manifests(
        Path(manifest_folder),
        _made_from(listing, reading, cut, {"skip_unusable_audio": skip_unusable_audio}),
        listing.audio,
        choose,
    )


def prepare_speech(
    data_folder: str | Path,
    manifest_folder: str | Path,
    cache_folder: str | Path,
    reading: Mapping[str, str],
    rules: TextRules,
    longest_seconds: float = 10.0,
    split_seed: int = 1986,
    skip_unusable_audio: bool = False,
) -> dict[str, Path]:
    """Write ``train.json``, ``valid.json``, ``test.json`` and ``splits.csv`` of transcribed clips.

    Left out, with the reason in ``left_out.json``, are clips that are longer than the limit or have no word.
    Characters that are rare in training, or never there, are named.

    Parameters
    ----------
    data_folder, manifest_folder, cache_folder, reading, split_seed, skip_unusable_audio
        As of `prepare_sounds`.
    rules : TextRules
        By which transcripts are written.
    longest_seconds : float
        Of a clip.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        One line with the file, the row and the mend.

    Example
    -------
    >>> rules = TextRules(None, word_marks="'")
    >>> prepare_speech("clips.csv", "manifests", "cache", {}, rules)["train"].name  # doctest: +SKIP
    'train.json'
    """
    listing = read_data(data_folder, "text", reading, Path(cache_folder))
    settings = {
        "rule": asdict(rules) | {"look_alikes": dict(rules.look_alikes)},
        "longest_seconds": longest_seconds,
        "skip_unusable_audio": skip_unusable_audio,
    }

    def choose() -> Chosen:
        lengths, left_out = _usable(listing, cache_folder, skip_unusable_audio)
        seconds = lengths.seconds
        texts = _written(listing, rules, longest_seconds, seconds, left_out)
        if not (seconds > 0).any():
            raise UserError(f"{listing.root}: nothing is left: {_counted(left_out)}.")
        if left_out:
            logger.warning("Left out %s", _counted(left_out))
        split_of = split_rows(listing, seconds > 0, seed=split_seed)
        _name_rare(texts, split_of)

        def about(places: Sequence[int]) -> Iterator[dict[str, Any]]:
            for text, target in zip(texts.at(places), listing.rows.targets.at(places), strict=True):
                yield {"text": text, "sentence": target}

        folder = Path(manifest_folder)
        return _chosen(listing, lengths, left_out, split_of, about, folder)

    return write_manifests(
        Path(manifest_folder),
        _made_from(listing, reading, {"split_seed": split_seed}, settings),
        listing.audio,
        choose,
    )


def characters(texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs, spaces left out."""
    counts: Counter[str] = Counter()
    for some in chunks(texts):
        counts.update("".join(some))
    del counts[" "]
    return counts


def measured_rows(listing: Listing, cache_folder: str | Path) -> Lengths:
    """What is found of each row's clip."""
    place = hashlib.sha256(str(listing.audio.resolve()).encode()).hexdigest()[:16]
    path, rows = Path(cache_folder) / f"own-{place}-durations.json", listing.rows
    if not rows.cut and not rows.twice:  # each has a file of its own
        names = copy(rows.names)  # whose index goes with it
        return DurationCache(path, listing.audio, names).measure()
    files = Coded(rows.names)
    names = Strings(files.names)
    lengths = DurationCache(path, listing.audio, names).measure()
    seconds = lengths.seconds[files.codes]
    of_file = enumerate(files.codes.tolist())
    problems = {at: lengths.problems[code] for at, code in of_file if code in lengths.problems}
    for places in chunks(np.flatnonzero(~rows.whole())):
        for at, start, end in zip(places, *rows.times_at(places), strict=True):
            if at in problems:
                continue
            try:
                seconds[at] = segment_seconds(float(seconds[at]), start, end)
            except UnusableAudio as error:
                seconds[at], problems[at] = 0.0, str(error)
    return Lengths(lengths.stamps[files.codes], seconds, problems)


def _usable(
    listing: Listing, cache_folder: str | Path, skip: bool
) -> tuple[Lengths, dict[str, str]]:
    """What is found of the rows' clips, rounded; by their keys why some cannot be used."""
    rows = listing.rows
    lengths = measured_rows(listing, cache_folder)
    seconds, problems = lengths.seconds, lengths.problems
    if problems:
        first = min(problems)
        row, problem = rows[first], problems[first]
        name = "" if row.where == row.name else f"{row.name}: "
        said = f"{row.where}: {name}{problem}"
        if not skip:
            mend = "mend it, or leave such clips out: --skip_unusable_audio true"
            if problem == "missing":
                mend = _mend_missing(listing, row)
            others = f" {len(problems) - 1} more clips cannot be used." if len(problems) > 1 else ""
            raise UserError(shown(f"{said}; {mend}.{others}"))
        logger.warning("Left out %d of %d clips: %s, ...", len(problems), len(rows), shown(said))
    if len(problems) == len(rows):
        raise UserError(f"{listing.root}: no clip can be used; is it the right folder?")
    places = sorted(problems)
    left_out = dict(zip(rows.keys_at(places), map(problems.__getitem__, places), strict=True))
    for start in range(0, len(rows), CHUNK):
        some = seconds[start : start + CHUNK]
        some[:] = [round(one, 4) for one in some.tolist()]  # as Python does, which NumPy does not
    return lengths, left_out


def _written(
    listing: Listing,
    rules: TextRules,
    longest_seconds: float,
    seconds: np.ndarray,
    left_out: dict[str, str],
) -> Strings:
    """The texts of all rows by the rules; those that cannot be used are left out, and have 0 seconds."""
    texts, rows = Strings(), listing.rows
    for places in chunks(range(len(rows))):
        written = [rules.normalise(target) for target in rows.targets.at(places)]
        texts.extend([one.text for one in written])
        for place, one, length in zip(places, written, seconds[places].tolist(), strict=True):
            if not length:
                continue
            if length > longest_seconds:
                reason = f"longer than {longest_seconds:g} s"
            elif not one.text:
                reason = "no words in its transcript"
            elif one.outside:
                reason = f"outside of the alphabet: {one.outside}"
            else:
                continue
            left_out[rows.keys_at([place])[0]], seconds[place] = reason, 0
    return texts


def _mend_missing(listing: Listing, row: Row) -> str:
    """What may be meant by the name of a file that is not there."""
    from mambadapter.data.own.names import same_but_for

    path = listing.path(row)
    if close := same_but_for(path):
        return f"the folder has {close[0]}, {close[1]}; write that"
    return (
        f"paths start in {listing.root}; say where they do: --data.audio_folder FOLDER, or leave such clips "
        "out: --skip_unusable_audio true"
    )


def _made_from(
    listing: Listing,
    reading: Mapping[str, str],
    cut: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    digest, rows = hashlib.sha256(), listing.rows
    for places in chunks(rows.by_key):
        columns = [one.at(places) for one in (rows.targets, rows.splits, rows.groups)]
        digest.update(json.dumps([rows.keys_at(places), *columns]).encode())
    return {
        "data_folder": str(listing.root.resolve()),
        "list of clips": digest.hexdigest(),
        **{f"data.{key}": value for key, value in reading.items()},
        **cut,
        **settings,
    }


class _Entries:
    """The clips of a split, made as they are gone through."""

    def __init__(
        self,
        listing: Listing,
        places: np.ndarray,
        seconds: np.ndarray,
        about: Callable[[Sequence[int]], Iterator[dict[str, Any]]],
    ) -> None:
        self._listing, self._places, self._seconds, self._about = listing, places, seconds, about

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Keys, in their order, and entries of a manifest."""
        rows, real = self._listing.rows, lru_cache(1024)(_real)
        for places in chunks(self._places):
            names = rows.names.at(places)
            paths = [path.rpartition("/") for path in below(self._listing.audio, names)]
            columns = (
                rows.keys_of(names, places), [real(folder + slash) + name for folder, slash, name in paths],
                self._seconds[places].tolist(), self._about(places), *rows.times_at(places),
            )  # fmt: skip
            for key, path, seconds, about, start, end in zip(*columns, strict=True):
                entry = {"wav": path, "duration": seconds, **about}
                if start is not None or end is not None:
                    entry |= {"start": start, "end": end}
                yield key, entry


def _real(folder: str) -> str:
    """A folder without links, and the slash behind it."""
    return os.path.join(os.path.realpath(folder), "")


def _chosen(
    listing: Listing,
    lengths: Lengths,
    left_out: Mapping[str, str],
    split_of: np.ndarray,
    about: Callable[[Sequence[int]], Iterator[dict[str, Any]]],
    folder: Path,
) -> Chosen:
    logger.info("%s", listing.read)
    rows = listing.rows
    used = np.flatnonzero(split_of >= 0)
    if any(rows.splits.names[code] for code in np.unique(rows.splits.codes[used])):
        check_leaks(listing, split_of, copies_in(listing, used))
    of_split = {
        split: rows.by_key[split_of[rows.by_key] == number] for number, split in enumerate(SPLITS)
    }
    if isinstance(rows.targets, Coded):
        codes, names = rows.targets.codes, rows.targets.names
        labels = {
            split: {
                label
                for code in np.unique(codes[places])
                for label in rows.labels.get(names[code], (names[code],))
            }
            for split, places in of_split.items()
        }
        check_splits(labels, listing.root)
        for split in ("valid", "test"):
            if absent := sorted(labels["train"] - labels[split]):
                logger.warning("The %s split has no clip of %s.", split, listed(absent))
    for split, places in of_split.items():
        hours = lengths.seconds[places].sum() / 3600
        logger.info("%s: %d clips, %.2f hours", split, len(places), hours)
    write_splits_table(folder / "splits.csv", listing, split_of)
    return Chosen(
        {s: _Entries(listing, places, lengths.seconds, about) for s, places in of_split.items()},
        {"all": dict(left_out)},
        {split: lengths.stamps[places] for split, places in of_split.items()},
    )


def _name_rare(texts: Strings, split_of: np.ndarray) -> None:
    in_training = split_of == SPLITS.index("train")
    training, scored = (
        characters(text for some in chunks(np.flatnonzero(these)) for text in texts.at(some))
        for these in (in_training, (split_of >= 0) & ~in_training)
    )
    rare = sorted(c for c, count in training.items() if count < RARE)
    if rare:
        named = listed([f"'{c}' ({training[c]})" for c in rare], 20)
        logger.warning("Rare in the training texts, and hardly learnt: %s.", named)
    if unseen := sorted(scored.keys() - training.keys()):
        named = listed([f"'{c}' ({scored[c]})" for c in unseen], 20)
        logger.warning("In validation or test texts and never in training: %s.", named)


def _counted(left_out: Mapping[str, str]) -> str:
    counts = Counter(reason.partition(":")[0] for reason in left_out.values())
    return ", ".join(f"{count} ({reason})" for reason, count in counts.most_common())
