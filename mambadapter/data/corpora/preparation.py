"""What the preparation of every corpus shares: find it, read its tables, check and write its splits."""

import csv
import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

from mambadapter.data.audio import inspect_clips
from mambadapter.data.copies import copies_of
from mambadapter.data.corpora.prepared import SPLITS, Chosen, write_manifests
from mambadapter.data.manifests import check_splits, manifest_entry
from mambadapter.errors import UserError
from mambadapter.utils.files import shown

logger = logging.getLogger(__name__)

_NAMED = 3  # clips in a warning

SAMPLE_RATE = 16000  # of the encoders; here it only decides whether the log speaks of resampling


@dataclass(frozen=True)
class LabelledFile:
    """An audio file as a corpus lists it."""

    name: str  # path below the corpus, with slashes
    split: str  # ``train``, ``valid`` or ``test``
    label: str  # its class
    start: float | None = None  # seconds; with `end`, of a segment of the file
    end: float | None = None
    folder: Path | None = None  # in which `name` starts, if not in the corpus

    @property
    def key(self) -> str:
        """Its name in manifests, without the suffix; a segment's is that of W3C Media Fragments."""
        key = PurePosixPath(self.name).with_suffix("").as_posix()
        if self.folder is not None:
            key = f"{self.folder.name}/{key}"
        return key if self.start is None else f"{key}#t={self.start:g},{self.end:g}"

    def path(self, root: Path) -> Path:
        """Where it is, of a corpus in `root`."""
        return (self.folder or root) / self.name

    @property
    def written(self) -> tuple[str, ...]:
        """What tells it from others; of whole files of a corpus what earlier versions wrote."""
        whole = self.start is None and self.folder is None
        return (self.name, self.split, self.label, *(() if whole else (self.key,)))


def find_corpus(
    data_folder: str | Path,
    corpus: str,
    unpacked: str,
    lacks: str,
    is_corpus: Callable[[Path], bool],
) -> Path:
    """Refuse a folder that is not the corpus, with the one that was probably meant.

    Parameters
    ----------
    data_folder : str or Path
        What the user gave; ``~`` is expanded.
    corpus : str
        Its name in messages.
    unpacked : str
        What the folder is called once unpacked.
    lacks : str
        What a folder that is not the corpus has not.
    is_corpus : Callable[[Path], bool]
        Whether a folder is the corpus.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If there is no such folder or it is not the corpus.

    Example
    -------
    >>> find_corpus(".", "ESC-50", "ESC-50-master", "meta", lambda path: True)
    PosixPath('.')
    """
    root = Path(data_folder).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no folder {root}; give data_folder, the unpacked {unpacked}.")
    if is_corpus(root):
        return root
    # One level too high or too low. Folders that may not be read, such as lost+found, are passed over.
    near = [*sorted(root.iterdir()), root.resolve().parent]
    meant = [
        path for path in near if path.is_dir() and os.access(path, os.X_OK) and is_corpus(path)
    ]
    hint = f"Did you mean {meant[0]}?" if meant else f"Give data_folder, the unpacked {unpacked}."
    raise UserError(f"{root} is not {corpus}: it has no {lacks}. {hint}")


def require_file(path: Path) -> Path:
    """Refuse a corpus without one of its lists or tables."""
    if not path.is_file():
        raise UserError(f"{path} is missing; it comes with the corpus, unpack that again.")
    return path


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read columns of a CSV table with a header.

    Parameters
    ----------
    path : Path
        The table.
    columns : Sequence[str]
        The columns wanted; no cell of them may be blank.

    Returns
    -------
    list[dict[str, str]]
        The rows, from column to text.

    Raises
    ------
    UserError
        If the table is missing, cannot be read, lacks a column, or has a row with a blank cell, too few or
        too many: its cells would be those of other columns.
    """
    rows = []
    try:
        with require_file(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            absent = [name for name in columns if name not in (reader.fieldnames or ())]
            if absent:
                raise UserError(
                    f"{path} has no column {', '.join(absent)}; unpack the corpus again."
                )
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}, line {reader.line_num}: {cells_of(row)} cells, where the header has "
                        f"{len(reader.fieldnames or ())}; unpack the corpus again."
                    )
                cells = {name: row[name].strip() for name in columns}
                blank = [name for name, cell in cells.items() if not cell]
                if blank:
                    raise UserError(
                        f"{path}, line {reader.line_num}: no {', '.join(blank)}; "
                        "unpack the corpus again."
                    )
                rows.append(cells)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); unpack the corpus again.") from error
    return rows


def cells_of(row: Mapping[str | None, Any]) -> int:
    """How many cells a row of `csv.DictReader` had; it puts what is too much under None."""
    return sum(value is not None for key, value in row.items() if key is not None) + len(
        row.get(None, ())
    )


def split_of_folds(test_fold: int | str, folds: int) -> dict[int, str]:
    """Say what each fold does when one of them tests: the next one validates, the others train.

    Parameters
    ----------
    test_fold : int or str
        1 to `folds`.
    folds : int
        How many there are.

    Returns
    -------
    dict[int, str]
        ``train``, ``valid`` or ``test`` of each fold.

    Raises
    ------
    UserError
        If there is no such fold.

    Example
    -------
    >>> split_of_folds(5, folds=5)
    {1: 'valid', 2: 'train', 3: 'train', 4: 'train', 5: 'test'}
    """
    number = {str(fold): fold for fold in range(1, folds + 1)}.get(str(test_fold))
    if number is None:
        raise UserError(f"test_fold: there is no fold {test_fold!r}; there are folds 1 to {folds}.")
    roles = {number: "test", number % folds + 1: "valid"}
    return {fold: roles.get(fold, "train") for fold in range(1, folds + 1)}


def check_folds(present: Collection[str], folds: int, table: Path) -> None:
    """Refuse a table with a fold that there is not, or without a clip of one that there is.

    Parameters
    ----------
    present : Collection[str]
        The folds of its rows.
    folds : int
        How many there are.
    table : Path
        For the message.
    """
    known = {str(fold) for fold in range(1, folds + 1)}
    for what, wrong in (
        ("unknown fold", set(present) - known),
        ("no clip of fold", known - set(present)),
    ):
        if wrong:
            raise UserError(
                f"{table} has {what} {', '.join(sorted(wrong))}: there are folds 1 to {folds}; "
                "unpack the corpus again."
            )


def warn_of_subset(found: Collection[str], complete: int, what: str, root: Path) -> None:
    """Say which classes are there when they are not all.

    Parameters
    ----------
    found : Collection[str]
        The classes that are there.
    complete : int
        How many the whole corpus has.
    what : str
        What a class is called, in the plural.
    root : Path
        The corpus.
    """
    if len(found) < complete:
        logger.warning(
            "%d of the %d %s are in %s: %s",
            len(found), complete, what, root, ", ".join(sorted(found)),
        )  # fmt: skip


def warn_of_overlap(
    groups: Mapping[str, Collection[str]],
    what: str,
    mend: str = "the published splits share none",
) -> None:
    """Say how many speakers, or other sources, are in more than one split, if any.

    Parameters
    ----------
    groups : Mapping[str, Collection[str]]
        The speakers of each split.
    what : str
        What they are called, in the plural.
    mend : str
        What to do.

    Example
    -------
    >>> warn_of_overlap({"train": ["ann", "bob"], "test": ["eve"]}, "speakers")
    """
    shared = [
        f"{len(both)} in {one} ({len(set(groups[one]))}) and {other} ({len(set(groups[other]))})"
        for one, other in combinations(groups, 2)
        if (both := set(groups[one]) & set(groups[other]))
    ]
    if shared:
        logger.warning(
            "The splits share %s: %s. Results will flatter; %s.", what, ", ".join(shared), mend,
        )  # fmt: skip


def write_splits(
    root: Path,
    manifest_folder: str | Path,
    files: Collection[LabelledFile],
    skip_unusable_audio: bool = False,
) -> dict[str, Path]:
    """Check the files and the splits of a corpus and write a manifest a split; nothing is done twice.

    The corpus may move, but not change, between two runs in the same output folder. With
    `skip_unusable_audio`, ``left_out.json`` says what was left out and why.

    Parameters
    ----------
    root : Path
        The corpus.
    manifest_folder : str or Path
        Where ``train.json``, ``valid.json`` and ``test.json`` go.
    files : Collection[LabelledFile]
        Each file of the corpus once. The manifests are in the order of the names.
    skip_unusable_audio : bool
        Leave unusable files out instead of refusing.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If a file is listed twice, in two splits or outside of the corpus; files are missing or unusable;
        a split is empty or has a label that training never sees; the manifest folder was prepared
        from other data.

    Example
    -------
    >>> files = [LabelledFile("audio/1-100032-A-0.wav", "train", "dog")]
    >>> write_splits(Path("ESC-50-master"), "manifests", files)["train"].name  # doctest: +SKIP
    'train.json'
    """
    files = sorted(files, key=lambda file: (file.name, file.key))
    _check_names(files, root)

    def choose() -> Chosen:
        paths = dict.fromkeys(file.path(root) for file in files)
        clips, left_out = inspect_clips(paths, SAMPLE_RATE, skip_unusable_audio)
        usable = {clip.path: clip for clip in clips}
        entries: dict[str, dict[str, dict[str, Any]]] = {split: {} for split in SPLITS}
        reasons: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
        for file in files:
            path = file.path(root)
            if path in left_out:
                reasons[file.split][shown(file.name)] = left_out[path]
            else:
                entries[file.split][file.key] = manifest_entry(
                    usable[path], file.label, file.start, file.end
                )
        check_splits(
            {split: [e["label"] for e in of.values()] for split, of in entries.items()}, root
        )
        _warn_of_copies(root, files)
        for split, of_split in entries.items():
            logger.info("%s: %d clips", split, len(of_split))
        return Chosen(entries, reasons)

    contents = json.dumps([file.written for file in files]).encode()
    made_from = {
        "data_folder": str(root.resolve()),
        "list of files": hashlib.sha256(contents).hexdigest(),
        "skip_unusable_audio": skip_unusable_audio,
    }
    return write_manifests(Path(manifest_folder), made_from, root, choose)


def _warn_of_copies(root: Path, files: Sequence[LabelledFile]) -> None:
    """Of a test in another folder than the corpus, say which of its clips are in training or validation."""
    whole = [file for file in files if file.start is None]
    given = [file.path(root) for file in whole if file.folder is not None]
    if not given:
        return
    both = copies_of(given, (file.path(root) for file in whole if file.folder is None))
    if both:
        folder = next(file.folder for file in whole if file.folder is not None)
        pairs = [
            shown(f"{one.relative_to(folder)} = {other.relative_to(root)}")
            for one, other in both.items()
        ]
        logger.warning(
            "%d of the %d clips of %s are in training or validation, too: %s%s. Results will flatter; give a "
            "test set that shares none.",
            len(both), len(given), folder, ", ".join(pairs[:_NAMED]),
            ", ..." if len(both) > _NAMED else "",
        )  # fmt: skip


def _check_names(files: Sequence[LabelledFile], root: Path) -> None:
    first: dict[str, LabelledFile] = {}
    twice: list[tuple[LabelledFile, LabelledFile]] = []
    leaked: list[tuple[LabelledFile, LabelledFile]] = []
    for file in files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or not path.parts or ".." in path.parts:
            raise UserError(
                f"The tables of {root} name '{file.name}', which is no file below it; "
                "unpack the corpus again."
            )
        # A manifest names clips without the suffix: a.wav and a.flac would be one.
        other = first.setdefault(file.key, file)
        if other is not file:
            (twice if other.split == file.split else leaked).append((other, file))
    if leaked:
        one, other = leaked[0]
        raise UserError(
            f"{len(leaked)} files are in two splits, such as {one.name} "
            f"({one.split} and {other.split}); unpack the corpus again."
        )
    if twice:
        raise UserError(
            f"{len(twice)} files are listed twice, such as {twice[0][0].name} "
            f"({twice[0][0].split}); unpack the corpus again."
        )
