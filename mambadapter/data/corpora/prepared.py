"""Manifests that know what they were made from, and are made again when that is another."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mambadapter.data.durations import stamp
from mambadapter.errors import UserError
from mambadapter.utils.columns import Strings, chunks
from mambadapter.utils.files import read_items, read_json, write_items, write_json

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
_DONE, _LEFT_OUT = "prepared.json", "left_out.json"


class Entries(Protocol):
    """The clips of a split: a mapping, or what can be gone through like one."""

    def items(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Ids, and of each its ``wav`` (path), ``duration`` (s), and ``label`` or ``text``."""


@dataclass(frozen=True)
class Chosen:
    """What a preparation found."""

    # For each split its clips.
    entries: Mapping[str, Entries]
    # For each split the clips that were looked at and not used, each with the reason.
    left_out: Mapping[str, Mapping[str, str]]
    # For each split (N, 2) size and time of each clip's file, where they were looked at.
    stamps: Mapping[str, np.ndarray] = field(default_factory=dict)


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
    mend = f"delete {folder}; it is made again"
    known = _read(folder, manifests, mend)
    if known is None:
        chosen = choose()
    else:
        left_out = folder / _LEFT_OUT
        then = _Stamps(audio)
        for path in manifests.values():
            then.add(entry["wav"] for _, entry in read_items(path, mend))
        if known == {
            "made_from": made_from,
            "audio": then.digest(read_json(left_out, mend) if left_out.is_file() else {}),
        }:
            return manifests
        chosen = choose()
        if differences := _differences(manifests, chosen, mend):
            changed = [
                key for key, value in made_from.items() if known["made_from"].get(key) != value
            ]
            raise UserError(
                f"{folder} was prepared from other data or with other settings "
                f"({'; '.join([*(f'another {key}' for key in changed), *differences])}). "
                "Give another --output_folder, or delete that one."
            )
        logger.info("The corpus moved or its files have new times: the manifests are made again.")
    now = _Stamps(audio)
    for split in chosen.entries:
        write_items(manifests[split], _with_sizes(chosen, split, now))
    write_json(folder / _LEFT_OUT, chosen.left_out)
    write_json(folder / _DONE, {"made_from": made_from, "audio": now.digest(chosen.left_out)})
    return manifests


def _read(folder: Path, manifests: Mapping[str, Path], mend: str) -> dict[str, Any] | None:
    """What the manifests there were made from, if all are."""
    if not all(path.is_file() for path in (*manifests.values(), folder / _DONE)):
        return None
    known = read_json(folder / _DONE, mend)
    return (
        known if "made_from" in known else {"made_from": known, "audio": ""}
    )  # of an older version


class _Stamps:
    """Sizes and times of the files that are looked at, one after the other."""

    def __init__(self, audio: Path) -> None:
        self._audio, self._hash = audio, hashlib.sha256()
        self._before = "["
        self._stamp = lru_cache(1024)(stamp)  # segments of a file come one after the other

    def add(self, paths: Iterable[str | Path]) -> None:
        """Look at some files."""
        for some in chunks(paths):
            self.look(some)

    def look(self, paths: Sequence[str | Path]) -> list[list[int]]:
        """The size and time of each of some files, empty where there is none."""
        return self.note([*map(self._stamp, paths)])

    def note(self, found: list[list[int]]) -> list[list[int]]:
        """The same of files that were looked at."""
        self._hash.update((self._before + json.dumps(found)[1:-1]).encode())
        self._before = ", "
        return found

    def digest(self, left_out: Mapping[str, Mapping[str, str]]) -> str:
        """Of all of them, and of what was left out."""
        self.add(self._audio / name for names in left_out.values() for name in names)
        self._hash.update(b"]" if self._before == ", " else b"[]")
        return self._hash.hexdigest()


def _with_sizes(
    chosen: Chosen, split: str, stamps: _Stamps
) -> Iterator[tuple[str, dict[str, Any]]]:
    """With each file's size, by which another recording of the same length is noticed."""
    begin, known = 0, chosen.stamps.get(split)
    for some in chunks(chosen.entries[split].items()):
        if known is None:
            found = stamps.look([entry["wav"] for _, entry in some])
        else:
            found = stamps.note(known[begin : begin + len(some)].tolist())
        begin += len(some)
        for (name, entry), one in zip(some, found, strict=True):
            yield name, {**entry, "size": one[0] if one else 0}


def _differences(manifests: Mapping[str, Path], now: Chosen, mend: str) -> list[str]:
    """What is another in the manifests, wherever the files are."""
    found = []
    for split, path in manifests.items():
        names, old = Strings(), Strings()
        for some in chunks(read_items(path, mend)):
            names.extend([name for name, _ in some])
            old.extend([json.dumps(entry) for _, entry in some])
        counts: Counter[str] = Counter()
        fields, both, count = set[str](), 0, 0
        for some in chunks(_with_sizes(now, split, _Stamps(path))):
            count += len(some)
            for (_, entry), place in zip(some, names.find_all([n for n, _ in some]), strict=True):
                if place is None:
                    continue
                both += 1
                then = json.loads(old[place])
                fields |= then.keys() & entry.keys()
                counts.update(key for key in then if then[key] != entry.get(key))
        told = {
            "more": count - both,
            "fewer": len(names) - both,
            **{f"with another {field}": counts[field] for field in sorted(fields - {"wav"})},
        }
        found += [f"{split}: {count} clips {what}" for what, count in told.items() if count]
    return found
