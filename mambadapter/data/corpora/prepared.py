"""Manifests that know what they were made from, and are made again when that is another."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambadapter.data.durations import stamp
from mambadapter.errors import UserError
from mambadapter.utils.files import read_json, write_json

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
_DONE, _LEFT_OUT = "prepared.json", "left_out.json"


@dataclass(frozen=True)
class Chosen:
    """What a preparation found."""

    # For each split from a clip's id to its ``wav`` (path), ``duration`` (s), and ``label`` or ``text``.
    entries: Mapping[str, Mapping[str, dict[str, Any]]]
    # For each split the clips that were looked at and not used, each with the reason.
    left_out: Mapping[str, Mapping[str, str]]


def write_manifests(
    folder: Path, made_from: Mapping[str, Any], audio: Path, choose: Callable[[], Chosen]
) -> dict[str, Path]:
    """Write a manifest a split and ``left_out.json``, unless those there were made from the same.

    Parameters
    ----------
    folder : Path
        Where they go.
    made_from : Mapping[str, Any]
        All that they depend on but the audio files: the corpus, its tables, the settings. JSON-able.
    audio : Path
        The folder from which the left out clips are named.
    choose : Callable
        Makes them.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder holds manifests of other clips, texts or labels, which a run may have learnt from.
    """
    manifests = {split: folder / f"{split}.json" for split in SPLITS}
    before = _read(folder, manifests)
    if before is not None:
        known, then = before
        if known == {"made_from": made_from, "audio": _digest(then, audio)}:
            return manifests
        now = _with_sizes(choose())
        if differences := _differences(then.entries, now.entries):
            changed = [
                key for key, value in made_from.items() if known["made_from"].get(key) != value
            ]
            raise UserError(
                f"{folder} was prepared from other data or with other settings "
                f"({'; '.join([*(f'another {key}' for key in changed), *differences])}). "
                "Give another --output_folder, or delete that one."
            )
        logger.info("The corpus moved or its files have new times: the manifests are made again.")
    else:
        now = _with_sizes(choose())
    for split, entries in now.entries.items():
        write_json(manifests[split], entries)
    write_json(folder / _LEFT_OUT, now.left_out)
    write_json(folder / _DONE, {"made_from": made_from, "audio": _digest(now, audio)})
    return manifests


def _read(folder: Path, manifests: Mapping[str, Path]) -> tuple[Mapping[str, Any], Chosen] | None:
    """What was written before, if all of it was."""
    if not all(path.is_file() for path in (*manifests.values(), folder / _DONE)):
        return None
    mend = f"delete {folder}; it is made again"
    known = read_json(folder / _DONE, mend)
    if "made_from" not in known:  # by an older version
        known = {"made_from": known, "audio": ""}
    left_out = folder / _LEFT_OUT
    return known, Chosen(
        {split: read_json(path, mend) for split, path in manifests.items()},
        read_json(left_out, mend) if left_out.is_file() else {},
    )


def _digest(chosen: Chosen, audio: Path) -> str:
    """Of the size and time of each file that was looked at."""
    paths = [
        Path(entry["wav"]) for entries in chosen.entries.values() for entry in entries.values()
    ]
    paths += [audio / name for names in chosen.left_out.values() for name in names]
    return hashlib.sha256(json.dumps([stamp(path) for path in paths]).encode()).hexdigest()


def _with_sizes(chosen: Chosen) -> Chosen:
    """With each file's size, by which another recording of the same length is noticed."""
    sized = {
        split: {
            name: {**entry, "size": (stamp(Path(entry["wav"])) or [0])[0]}
            for name, entry in entries.items()
        }
        for split, entries in chosen.entries.items()
    }
    return Chosen(sized, chosen.left_out)


def _differences(
    then: Mapping[str, Mapping[str, dict]], now: Mapping[str, Mapping[str, dict]]
) -> list[str]:
    """What is another in the manifests, wherever the files are."""
    found = []
    for split in SPLITS:
        old, new = then[split], now[split]
        both = old.keys() & new.keys()
        fields = {field for name in both for field in old[name].keys() & new[name].keys()} - {"wav"}
        counts = {
            "more": len(new.keys() - old.keys()),
            "fewer": len(old.keys() - new.keys()),
            **{
                f"with another {field}": sum(
                    old[name].get(field) != new[name].get(field)
                    for name in both
                    if field in old[name]
                )
                for field in sorted(fields)
            },
        }
        found += [f"{split}: {count} clips {what}" for what, count in counts.items() if count]
    return found
