"""Folders of clips: one for each class, optionally below train, valid and test."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mambadapter.data.decoding import SUFFIXES
from mambadapter.data.own.rows import Row, Rows, clean, listed, split_named
from mambadapter.errors import UserError

# What people have that libsndfile does not decode.
_UNREAD = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".mka", ".mov", ".ape", ".wv")


def class_folders(root: Path) -> list[Path]:
    """The folders right below one that hold audio, at any depth."""
    return [path for path in _below(root) if any(_audio(path, (root.resolve(),)))]


def split_folders(root: Path) -> dict[str, Path]:
    """Of the folders below one those that are called after a split, if all with audio are."""
    folders = class_folders(root)
    named = {path: split_named(path.name) for path in folders}
    if not folders or not all(named.values()):
        if half := [path for path, split in named.items() if split and class_folders(path)]:
            other = next(path for path, split in named.items() if not split)
            raise UserError(
                f"{root} has the {named[half[0]]} split {half[0].name} and {other.name}, which is none; name "
                "it train, valid or test, move it, or list the clips in a table."
            )
        return {}
    splits: dict[str, Path] = {}
    for path, split in named.items():
        if (other := splits.setdefault(str(split), path)) != path:
            raise UserError(f"{other} and {path} are both the {split} split; make them one folder.")
    return splits


def read_folders(root: Path) -> tuple[Rows, str]:
    """The clips of a folder for each class, and in words how they were read."""
    splits = split_folders(root)
    rows = Rows("label")
    for split, folder in (splits or {"": root}).items():
        classes = class_folders(folder)
        alone = [path for path in _files(folder) if path.suffix.lower() in SUFFIXES]
        if alone:
            raise UserError(
                f"{alone[0]}: it is in no class's folder; put it in one, or list the clips in a table."
            )
        if not classes:
            raise UserError(f"{folder} has no folder with audio for each class; make one for each.")
        for path in classes:
            files = _audio(path, (root.resolve(),))
            label = clean(path.name)
            rows.add(Rows("label", (
                Row(file.relative_to(root).as_posix(), label, root.name, 0, split)
                for file in files
            )))  # fmt: skip
    below = f" below {listed([path.name for path in splits.values()])}" if splits else ""
    return rows, f"a folder for each class{below}"


def groups_in(rows: Rows, pattern: str) -> Iterator[str]:
    """The group that a pattern finds in the name of each row's file."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"--data.group_pattern: '{pattern}' is no regular expression ({error})."
        ) from error
    if compiled.groups != 1:
        raise UserError(
            f"--data.group_pattern: '{pattern}' has {compiled.groups} groups; put the speaker's part in "
            "the only (...)."
        )
    for place, name in enumerate(rows.names):
        match = compiled.search(Path(name).name)
        if match is None or not match[1]:
            raise UserError(
                f"{rows[place].where}: --data.group_pattern '{pattern}' finds nothing in {Path(name).name}; "
                "mend it, or give the speakers in a table."
            )
        yield clean(match[1])


def audio_files(folder: Path) -> list[Path]:
    """The audio files in a folder at any depth, sorted."""
    return [*_audio(folder, ())]


def _below(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _audio(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The audio files in a folder at any depth, sorted; links are followed, but not round in a circle."""
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder} is a link to a folder above it; delete it.")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name[0] == ".":
            continue
        if entry.is_dir():
            yield from _audio(path, (*above, real))
        elif path.suffix.lower() in SUFFIXES:
            yield path
        elif path.suffix.lower() in _UNREAD:
            raise UserError(
                f"{path}: {path.suffix} is not read; convert it, for instance by "
                f"ffmpeg -i {path.name} {path.stem}.flac."
            )
