"""Folders that ``save_to_disk`` of Hugging Face's ``datasets`` wrote; audio inside becomes files."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from mambadapter.data.own.labels import JOINED, NO_SEPARATOR
from mambadapter.data.own.rows import Rows, Target, listed, split_named
from mambadapter.data.own.tables import AUTO, NONE, Cells, choose_columns, rows_of
from mambadapter.errors import UserError, first_line
from mambadapter.utils.files import whole_file

# By one of these such a folder is known: of a dataset, and of a dictionary of some.
SAVED = frozenset({"dataset_info.json", "state.json", "dataset_dict.json"})

_ROWS = 64  # that are in memory at a time


def read_saved(
    folder: Path, target: Target, columns: Mapping[str, str], cache_folder: Path | None
) -> tuple[Rows, str, Path | None]:
    """The clips of a ``Dataset`` or a ``DatasetDict``, whose keys are the splits.

    Parameters
    ----------
    folder : Path
        What ``save_to_disk`` wrote.
    target : {"label", "text"}
        What is learnt of a clip.
    columns : Mapping[str, str]
        As of `mambadapter.data.own.tables.read_rows`; the path is by default the only column of audio.
    cache_folder : Path, optional
        Audio that is inside of the dataset is written to ``clips`` there, each clip once, below its digest.

    Returns
    -------
    tuple[Rows, str, Path or None]
        The clips, in words how they were read, and where their names start if not in the folder.

    Raises
    ------
    UserError
        If ``datasets`` is not installed, it cannot read the folder, or as of `read_rows`.
    """
    loaded = _load(folder)
    import datasets  # is there: it has loaded the folder

    parts = loaded.items() if isinstance(loaded, datasets.DatasetDict) else [("", loaded)]
    clips = None if cache_folder is None else cache_folder / "clips"
    base = folder if (given := columns.get("audio_folder", AUTO)) == AUTO else Path(given)
    rows = Rows(target)
    said, written = [], False
    for key, dataset in parts:
        split = ""
        if key and columns.get("split") != NONE:
            if (named := split_named(key)) is None:
                raise UserError(
                    f"{folder}: '{key}' is no split; name its parts train, valid and test, or let new splits "
                    "be made: --data.split none."
                )
            split = named
        path = folder / key if key else folder
        chosen = {**columns, "path": _audio_column(path, dataset, columns)}
        if isinstance(dataset.features.get(chosen["path"]), datasets.Audio):
            written = True
        several = []
        if target == "label":
            header = _header(dataset, chosen["path"])
            labels = choose_columns(path, header, chosen, target)["label"]
            several = [name for name in labels if _inside(dataset.features[name])]
        if several and chosen.get("label_separator", NO_SEPARATOR) == NO_SEPARATOR:
            chosen["label_separator"] = JOINED
        opened = _opened(path, dataset, chosen, several, base.expanduser(), clips)
        more, read = rows_of(path, *opened, target, chosen, split)
        rows.add(more)
        said.append(read)
    return rows, "; ".join(said), clips if written else None


def _load(folder: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{folder}: what save_to_disk wrote is read by datasets, which is not installed; "
            "pip install 'mambadapter[datasets]'."
        ) from error
    try:
        return datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder} is no whole folder of datasets' save_to_disk ({first_line(error)}); write it again."
        ) from error


def _audio_column(path: Path, dataset: Any, columns: Mapping[str, str]) -> str:
    """The column of clips: the one that was named, the only one of audio, or one that is called so."""
    import datasets

    if (given := columns.get("path", AUTO)) != AUTO:
        return given
    audio = [name for name, of in dataset.features.items() if isinstance(of, datasets.Audio)]
    if len(audio) > 1:
        raise UserError(
            f"{path}: the columns {listed(audio)} are all audio; say which: --data.path {audio[0]}."
        )
    return audio[0] if audio else AUTO


def _opened(
    path: Path,
    dataset: Any,
    chosen: Mapping[str, str],
    several: Sequence[str],
    base: Path,
    clips: Path | None,
) -> tuple[list[str], Cells]:
    """Columns and cells, with a file's name for audio, a class's for its number, and several joined."""
    import datasets

    audio = chosen["path"]
    header = _header(dataset, audio)
    is_audio = isinstance(dataset.features.get(audio), datasets.Audio)
    if is_audio:
        dataset = dataset.cast_column(audio, datasets.Audio(decode=False))
    texts = {
        name: _text(of)
        for name, of in dataset.features.items()
        if isinstance(of, datasets.ClassLabel)
    }
    lists = {name: _text(_inside(dataset.features[name])) for name in several}
    mark = chosen.get("label_separator", NO_SEPARATOR)

    def cells() -> Cells:
        line = 0
        for batch in dataset.select_columns(header).with_format(None).iter(batch_size=_ROWS):
            for values in zip(*batch.values(), strict=True):
                line += 1
                row = dict(zip(batch, values, strict=True))
                for name, text in texts.items():
                    row[name] = text(row[name])
                for name, text in lists.items():
                    labels = [*map(text, row[name] or ())]
                    if any(mark in label for label in labels):
                        raise UserError(
                            f"{path.name}, line {line}: a '{mark}' in its {name}; give a character that "
                            "is in none: --data.label_separator '|'."
                        )
                    row[name] = mark.join(labels)
                if is_audio:
                    row[audio] = _file(path, row[audio], base, clips)
                yield line, [row[name] for name in header]

    return header, cells()


def _inside(feature: Any) -> Any:
    """What a list holds, if that is classes or texts."""
    inside = getattr(feature, "feature", None)
    texts = getattr(inside, "dtype", "") in ("string", "large_string")
    return inside if texts or hasattr(inside, "names") else None


def _text(feature: Any) -> Callable[[Any], str]:
    """What makes a text of a class's number, -1 where there is none, or of a text that may be none."""
    names = getattr(feature, "names", None)
    return lambda value: "" if value in (None, -1) else names[value] if names else value


def _header(dataset: Any, audio: str) -> list[str]:
    """The columns that are read: of what would be decoded, such as pictures, the audio alone."""
    features = dataset.features.items()
    return [name for name, of in features if name == audio or not hasattr(of, "decode_example")]


def _file(path: Path, clip: Mapping[str, Any] | None, base: Path, clips: Path | None) -> str:
    """The file of a clip, which is written where it has none: below `clips`, or an absolute path."""
    if clip is None:
        return ""
    content, named = clip["bytes"], clip["path"] or ""
    if content is None:
        return str((base / named).absolute()) if named else ""
    if clips is None:
        raise UserError(f"{path}: its clips are inside of it; give cache_folder, to write them to.")
    # A path may be of the machine, and of the system, on which the dataset was made.
    name = PureWindowsPath(named).name.replace("\0", "") or "clip"
    below = Path(hashlib.blake2b(content, digest_size=8).hexdigest(), name)
    if not (clips / below).is_file():
        with whole_file(clips / below) as partial:
            partial.write_bytes(content)
    return str(below)
