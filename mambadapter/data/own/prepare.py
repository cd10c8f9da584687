"""Write the manifests of one's own recordings: of sounds with a class, and of speech with a transcript."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mambadapter.data.copies import same_audio
from mambadapter.data.corpora.prepared import SPLITS, Chosen, write_manifests
from mambadapter.data.decoding import UnusableAudio, segment_seconds
from mambadapter.data.durations import DurationCache, Measured
from mambadapter.data.manifests import check_splits
from mambadapter.data.own.labels import likely_separator
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.rows import Listing, Row, listed
from mambadapter.data.own.splits import check_leaks, split_rows, write_splits_table
from mambadapter.errors import UserError
from mambadapter.text import TextRules
from mambadapter.utils.files import shown

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
    if not listing.several and (mark := likely_separator(row.target for row in listing.rows)):
        logger.warning(
            "Labels seem to be parted by '%s', and are read as one each; if a clip may have several: "
            "--data.label_separator '%s'", mark, mark,
        )  # fmt: skip
    cut = {"folds": folds, "test_fold": test_fold, "split_seed": split_seed}

    def choose() -> Chosen:
        usable, seconds, left_out = _usable(listing, cache_folder, skip_unusable_audio)
        labels = {row.key: row.classes for row in usable.rows}
        return _chosen(
            usable, seconds, left_out,
            split_rows(usable, labels, test_fold, folds, split_seed),
            lambda row: {"labels": [*row.labels]} if row.labels else {"label": row.target},
            Path(manifest_folder),
        )  # fmt: skip

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
        found, seconds, left_out = _usable(listing, cache_folder, skip_unusable_audio)
        written = {row.key: rules.normalise(row.target) for row in found.rows}
        for row in found.rows:
            text = written[row.key]
            if seconds[row.key] > longest_seconds:
                left_out[row.key] = f"longer than {longest_seconds:g} s"
            elif not text.text:
                left_out[row.key] = "no words in its transcript"
            elif text.outside:
                left_out[row.key] = f"outside of the alphabet: {text.outside}"
        usable = replace(found, rows=[row for row in found.rows if row.key not in left_out])
        if not usable.rows:
            raise UserError(f"{listing.root}: nothing is left: {_counted(left_out)}.")
        if left_out:
            logger.warning("Left out %s", _counted(left_out))
        split_of = split_rows(usable, None, seed=split_seed)
        _name_rare({row.key: written[row.key].text for row in usable.rows}, split_of)
        return _chosen(
            usable, seconds, left_out, split_of,
            lambda row: {"text": written[row.key].text, "sentence": row.target},
            Path(manifest_folder),
        )  # fmt: skip

    return write_manifests(
        Path(manifest_folder),
        _made_from(listing, reading, {"split_seed": split_seed}, settings),
        listing.audio,
        choose,
    )


def characters(texts: Mapping[str, str]) -> Counter[str]:
    """How often each character occurs, spaces left out."""
    return Counter(c for text in texts.values() for c in text if c != " ")


def measured_rows(listing: Listing, cache_folder: str | Path) -> Iterator[tuple[Row, Measured]]:
    """Each row with the seconds of its clip, or what is wrong with it."""
    place = hashlib.sha256(str(listing.audio.resolve()).encode()).hexdigest()[:16]
    cache = DurationCache(Path(cache_folder) / f"own-{place}-durations.json", listing.audio)
    names = [*dict.fromkeys(row.name for row in listing.rows)]
    files = cache.measure(names)
    for row in listing.rows:
        file = files[row.name]
        if file.problem or (row.start is None and row.end is None):
            yield row, file
            continue
        try:
            yield row, Measured(segment_seconds(file.seconds, row.start, row.end))
        except UnusableAudio as error:
            yield row, Measured(0.0, str(error))


def _usable(
    listing: Listing, cache_folder: str | Path, skip: bool
) -> tuple[Listing, dict[str, float], dict[str, str]]:
    """The rows whose clips can be used, their seconds, and why not the others."""
    rows, seconds, left_out = [], {}, {}
    broken: list[tuple[Row, str]] = []
    for row, one in measured_rows(listing, cache_folder):
        if one.problem:
            broken.append((row, one.problem))
            left_out[row.key] = one.problem
        else:
            rows.append(row)
            seconds[row.key] = round(one.seconds, 4)
    if broken:
        row, problem = broken[0]
        name = "" if row.where == row.name else f"{row.name}: "
        said = f"{row.where}: {name}{problem}"
        if not skip:
            mend = "mend it, or leave such clips out: --skip_unusable_audio true"
            if problem == "missing":
                mend = _mend_missing(listing, row)
            others = f" {len(broken) - 1} more clips cannot be used." if len(broken) > 1 else ""
            raise UserError(shown(f"{said}; {mend}.{others}"))
        logger.warning(
            "Left out %d of %d clips: %s, ...", len(broken), len(listing.rows), shown(said)
        )
    if not rows:
        raise UserError(f"{listing.root}: no clip can be used; is it the right folder?")
    return replace(listing, rows=rows), seconds, left_out


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
    digest = hashlib.sha256()
    for row in sorted(listing.rows, key=lambda row: row.key):
        digest.update(json.dumps([row.key, row.target, row.split, row.group]).encode())
    return {
        "data_folder": str(listing.root.resolve()),
        "list of clips": digest.hexdigest(),
        **{f"data.{key}": value for key, value in reading.items()},
        **cut,
        **settings,
    }


def _chosen(
    listing: Listing,
    seconds: Mapping[str, float],
    left_out: Mapping[str, str],
    split_of: Mapping[str, str],
    about: Callable[[Row], dict[str, Any]],
    folder: Path,
) -> Chosen:
    logger.info("%s", listing.read)
    if any(row.split for row in listing.rows):
        whole = [r for r in listing.rows if r.start is None and r.end is None]
        check_leaks(listing, split_of, same_audio(listing.path(row) for row in whole))
    entries: dict[str, dict[str, dict[str, Any]]] = {split: {} for split in SPLITS}
    for row in sorted(listing.rows, key=lambda row: row.key):
        entry: dict[str, Any] = {
            "wav": str(listing.path(row).resolve()),
            "duration": seconds[row.key],
            **about(row),
        }
        if row.start is not None or row.end is not None:
            entry |= {"start": row.start, "end": row.end}
        entries[split_of[row.key]][row.key] = entry
    if listing.target == "label":
        classes = {row.key: row.classes for row in listing.rows}
        labels = {
            split: [label for key in of for label in classes[key]] for split, of in entries.items()
        }
        check_splits(labels, listing.root)
        for split in ("valid", "test"):
            if absent := sorted(set(labels["train"]) - set(labels[split])):
                logger.warning("The %s split has no clip of %s.", split, listed(absent))
    for split, of_split in entries.items():
        hours = sum(entry["duration"] for entry in of_split.values()) / 3600
        logger.info("%s: %d clips, %.2f hours", split, len(of_split), hours)
    write_splits_table(folder / "splits.csv", listing, split_of)
    return Chosen(entries, {"all": dict(left_out)})


def _name_rare(texts: Mapping[str, str], split_of: Mapping[str, str]) -> None:
    training = characters({key: text for key, text in texts.items() if split_of[key] == "train"})
    scored = characters({key: text for key, text in texts.items() if split_of[key] != "train"})
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
