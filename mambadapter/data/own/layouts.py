"""Which layout a folder or a file has: recognised where it can be only one, or named by a flag."""

from collections.abc import Mapping
from itertools import repeat
from pathlib import Path

from mambadapter.data.own.folders import class_folders, groups_in, read_folders, split_folders
from mambadapter.data.own.kaldi import RECORDINGS, read_kaldi
from mambadapter.data.own.labels import NO_SEPARATOR, checked_separator
from mambadapter.data.own.rows import Listing, NoTarget, Rows, Target, listed, split_named
from mambadapter.data.own.saved import SAVED, read_saved
from mambadapter.data.own.tables import AUTO, NONE, SUFFIXES, read_rows
from mambadapter.errors import UserError, did_you_mean
from mambadapter.utils.columns import Coded

TABLE, FOLDERS, AUDIOFOLDER, KALDI, DATASETS = (
    "table", "folders", "audiofolder", "kaldi", "datasets",
)  # fmt: skip
LAYOUTS = (TABLE, FOLDERS, AUDIOFOLDER, KALDI, DATASETS)
_METADATA = "metadata"


def read_data(
    data_folder: str | Path,
    target: Target,
    settings: Mapping[str, str],
    cache_folder: Path | None = None,
) -> Listing:
    """Read what a folder or a table lists.

    Parameters
    ----------
    data_folder : str or Path
        A folder or a table.
    target : {"label", "text"}
        What is learnt of a clip.
    settings : Mapping[str, str]
        Those of ``hparams/own_data.yaml``.
    cache_folder : Path, optional
        Where clips are written that have no file of their own, those inside of a ``datasets`` folder.

    Returns
    -------
    Listing

    Raises
    ------
    UserError
        If there is nothing, or more than one layout fits, or a row is broken: one line with file, row and
        mend.

    Example
    -------
    >>> read_data("clips.csv", "label", {"label": "category"}).layout  # doctest: +SKIP
    'table'
    """
    given = Path(data_folder).expanduser()
    if not given.exists():
        raise UserError(f"There is no folder or table {given}; give data_folder.")
    asked = settings.get("layout", AUTO)
    if asked not in (AUTO, *LAYOUTS):
        raise UserError(
            f"--data.layout: '{asked}' is unknown; {did_you_mean(asked, (AUTO, *LAYOUTS))}."
        )
    layout = _recognise(given) if asked == AUTO else asked
    separator = checked_separator(settings.get("label_separator", NO_SEPARATOR))
    if separator and (target == "text" or layout not in (TABLE, AUDIOFOLDER, DATASETS)):
        raise NoTarget(
            f"--data.label_separator parts labels in a table, and {given} is read for its "
            f"{'transcripts' if target == 'text' else 'folders'}; leave it out."
        )
    written = None
    if layout == DATASETS:
        root = given
        rows, read, written = read_saved(given, target, settings, cache_folder)
    else:
        readers = {TABLE: _tables, AUDIOFOLDER: _audiofolder, FOLDERS: _folders, KALDI: _kaldi}
        root, rows, read = readers[layout](given, target, settings)
    if settings.get("split") == NONE:
        rows.splits = Coded(repeat("", len(rows)))
    if (folder := settings.get("audio_folder", AUTO)) != AUTO:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise UserError(f"--data.audio_folder: there is no folder {root}.")
    if (pattern := settings.get("group_pattern", AUTO)) != AUTO:
        rows.groups = Coded(groups_in(rows, pattern))
        read += f"; group from names by '{pattern}'"
    flags = {key: value for key, value in settings.items() if value != AUTO}
    if not separator:
        flags.pop("label_separator", None)
    return Listing(layout, target, root, rows, read, flags, written)


def _recognise(given: Path) -> str:
    """The only layout that fits."""
    if given.is_file():
        if given.suffix.lower() not in SUFFIXES:
            raise UserError(
                f"{given} is no table that is read: give {', '.join(SUFFIXES)}, or a folder."
            )
        return TABLE
    names = {path.name for path in given.iterdir()}
    if names & SAVED:
        return DATASETS
    splits = [path for path in given.iterdir() if path.is_dir() and split_named(path.name)]
    fits = []
    if any((folder / RECORDINGS).is_file() for folder in (given, *splits)):
        fits.append(KALDI)
    if any(_metadata(folder) for folder in (given, *splits)):
        fits.append(AUDIOFOLDER)
    tables = [path for path in _tables_in(given) if path.stem != _METADATA]
    classes = class_folders(given)
    below = [path for folder in split_folders(given).values() for path in class_folders(folder)]
    if tables and not fits:
        fits.append(TABLE)
    if (len(classes) > 1 or below) and not {KALDI, AUDIOFOLDER} & {*fits}:
        fits.append(FOLDERS)
    if not fits:
        what = (
            f"the one folder with audio {classes[0].name}" if classes else "no audio and no table"
        )
        raise UserError(
            f"{given} has {what}; give a table ({', '.join(SUFFIXES)}), a folder for each class, a Kaldi "
            "folder, or one of datasets' save_to_disk."
        )
    if len(fits) > 1:
        raise UserError(
            f"{given} may be read as {' or '.join(fits)}: it has {listed([p.name for p in tables])} and "
            f"folders with audio, {listed([p.name for p in classes], 3)}; say which: --data.layout {fits[0]}."
        )
    return fits[0]


_Read = tuple[Path, Rows, str]


def _tables(given: Path, target: Target, settings: Mapping[str, str]) -> _Read:
    if given.is_file():
        rows, read = read_rows(given, target, settings, settings.get("delimiter", AUTO))
        return given.parent, rows, read
    tables = _tables_in(given)
    splits = {path: split_named(path.stem) for path in tables}
    if len(tables) == 1:
        return _tables(tables[0], target, settings)
    if not tables or not all(splits.values()) or len(set(splits.values())) < len(tables):
        found = listed([path.name for path in tables]) or "no table"
        raise UserError(
            f"{given} has {found}; give one table, such as --data_folder "
            f"{tables[0] if tables else given / 'clips.csv'}."
        )
    rows, said = Rows(target), []
    for path, split in splits.items():
        more, read = read_rows(path, target, settings, settings.get("delimiter", AUTO), str(split))
        rows.add(more)
        said.append(read)
    return given, rows, "; ".join(said)


def _audiofolder(given: Path, target: Target, settings: Mapping[str, str]) -> _Read:
    """Hugging Face's: metadata with ``file_name``, at the root or in each split's folder."""
    folders = [given] if _metadata(given) else []
    folders = folders or sorted(p for p in given.iterdir() if p.is_dir() and _metadata(p))
    rows, said = Rows(target), []
    for folder in folders:
        found = _metadata(folder)
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]} are both there; keep one.")
        split = "" if folder == given else split_named(folder.name)
        if split is None:
            raise UserError(f"{folder} is named after no split; call it train, valid or test.")
        more, read = read_rows(found[0], target, settings, settings.get("delimiter", AUTO), split)
        below = "" if folder == given else folder.name
        rows.add(more, below)
        said.append(f"{below}/{read}" if below else read)
    if not folders:
        raise UserError(f"{given} has no metadata.csv or metadata.jsonl; write one.")
    return given, rows, "; ".join(said)


def _folders(given: Path, target: Target, settings: Mapping[str, str]) -> _Read:
    if target == "text":
        raise NoTarget(
            f"{given}: class folders have no transcripts; give a table with a column for them."
        )
    if not given.is_dir():
        raise UserError(f"{given} is no folder; give one that holds a folder for each class.")
    rows, read = read_folders(given)
    return given, rows, read


def _kaldi(given: Path, target: Target, settings: Mapping[str, str]) -> _Read:
    if target == "label":
        raise NoTarget(
            f"{given}: a Kaldi folder has transcripts and no classes; train recipes/YourSpeech on it, or "
            "write a table with labels."
        )
    if (given / RECORDINGS).is_file():
        return given, read_kaldi(given), "a Kaldi folder"
    rows = Rows(target)
    splits = {p: split_named(p.name) for p in given.iterdir() if (p / RECORDINGS).is_file()}
    for folder, split in sorted(splits.items()):
        if split is None:
            raise UserError(f"{folder} is named after no split; call it train, valid or test.")
        rows.add(read_kaldi(folder, split), folder.name)
    if not rows:
        raise UserError(f"{given} has no {RECORDINGS}; a Kaldi folder has {RECORDINGS} and text.")
    return given, rows, f"Kaldi folders {listed([p.name for p in splits])}"


def _tables_in(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] not in "._"
    )


def _metadata(folder: Path) -> list[Path]:
    return [p for p in _tables_in(folder) if p.stem == _METADATA] if folder.is_dir() else []
