"""How long compressed clips are, found by decoding them, once: their headers may lie."""

import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mambadapter.data.audio import warn_of_cancelling
from mambadapter.data.decoding import UnusableAudio, look
from mambadapter.errors import UserError
from mambadapter.utils.columns import CHUNK, Strings, chunks
from mambadapter.utils.files import below

logger = logging.getLogger(__name__)

_CHUNK = 4096  # clips that are measured before they are remembered


@dataclass(frozen=True)
class Lengths:
    """What decoding clips found."""

    stamps: np.ndarray  # (N, 2) bytes and time of a clip's file, -1 where there is none
    seconds: np.ndarray  # (N,), 0 where it cannot be used
    problems: dict[int, str]  # by its place why a clip cannot be used


class DurationCache:
    """Lengths of the clips of a corpus, measured in parallel and remembered.

    What is found is appended a line a clip, so that a run that was killed goes on. A clip is measured again
    if its size or its time has changed.

    Parameters
    ----------
    path : Path
        Of what is remembered; the suffix becomes ``.jsonl``.
    clips : Path
        The folder in which names start.
    names : Strings
        The clips that may be asked for, each once.
    """

    def __init__(self, path: Path, clips: Path, names: Strings) -> None:
        self.path, self.clips, self.names = path.with_suffix(".jsonl"), clips, names
        self._stamps = np.full((len(names), 2), -1)  # sizes and times
        self._seconds = np.zeros(len(names))
        self._problems: dict[int, str] = {}
        try:
            if path.is_file():  # by an earlier version
                known = json.loads(path.read_text(encoding="utf-8"))
                self._remember([[name, *found] for name, found in known.items()])
            for lines in self._whole_lines():
                self._remember(json.loads(b"[" + b",".join(lines) + b"]"))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{path} is not whole ({error}); delete it.") from error

    def _whole_lines(self) -> Iterator[list[bytes]]:
        """Many at a time; all but the last if that was cut, which is taken off."""
        if not self.path.is_file():
            return
        whole = 0
        with self.path.open("rb") as file:
            for lines in chunks(file):
                if not lines[-1].endswith(b"\n"):
                    del lines[-1]
                whole += sum(map(len, lines))
                yield lines
        os.truncate(self.path, whole)

    def _remember(self, found: Sequence[Sequence]) -> None:
        """Rows of name, size, time, seconds and problem."""
        if not found:
            return
        names, sizes, times, seconds, problems = zip(*found, strict=True)
        found_at = self.names.find_all(names)
        known = np.array([at is not None for at in found_at])
        places = [at for at in found_at if at is not None]
        self._stamps[places] = np.array([sizes, times], np.int64).T[known]
        self._seconds[places] = np.array(seconds, float)[known]
        if self._problems or any(problems):
            for place, problem in zip(found_at, problems, strict=True):
                if place is not None:
                    self._problems.pop(place, None)
                    if problem:
                        self._problems[place] = problem

    def measure(self, places: Sequence[int] | None = None) -> Lengths:
        """Measure the clips at some places among the names, or all; what is new is remembered at once."""
        at = slice(None) if places is None else places  # of all without a copy
        places = range(len(self.names)) if places is None else places
        nothing, new = [-1, -1], list[int]()
        missing = np.zeros(len(places), bool)
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            paths = below(self.clips, self.names.at(some))
            now = np.array([stamp(path) or nothing for path in paths])
            missing[start : start + len(some)] = gone = now[:, 0] < 0
            same = (now == self._stamps[some]).all(1)
            same &= [
                length > 0 or place in self._problems
                for place, length in zip(some, self._seconds[some].tolist(), strict=True)
            ]
            new += [some[number] for number in np.flatnonzero(~gone & ~same).tolist()]
        began = time.monotonic()
        for start in range(0, len(new), _CHUNK):
            if start:
                left = (time.monotonic() - began) / start * (len(new) - start)
                logger.info("Looked at %d of %d files; %.0f s are left.", start, len(new), left)
            self._measure(new[start : start + _CHUNK])
        stamps, seconds = self._stamps[at], self._seconds[at]
        stamps[missing], seconds[missing] = -1, 0
        problems = dict.fromkeys(np.flatnonzero(missing).tolist(), "missing")
        if self._problems:
            for number, place in enumerate(places):
                if place in self._problems and not missing[number]:
                    problems[number] = self._problems[place]
        return Lengths(stamps, seconds, problems)

    def _measure(self, places: Sequence[int]) -> None:
        names = self.names.at(places)
        paths = [self.clips / name for name in names]
        # Before they are read: one that changes meanwhile is measured again.
        stamps = [stamp(path) or [0, 0] for path in paths]
        with ThreadPoolExecutor() as pool:
            looked = list(pool.map(_measure, paths))
        warn_of_cancelling([p for p, (*_, cancels) in zip(paths, looked, strict=True) if cancels])
        rows = [
            [name, *now, seconds, problem]
            for name, now, (seconds, problem, _) in zip(names, stamps, looked, strict=True)
        ]
        self._remember(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def stamp(path: str | Path) -> list[int]:
    """Size and time of a file, by which a change is noticed; empty where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a table may name anything
        return []
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else []


def _measure(path: Path) -> tuple[float, str, bool]:
    """Seconds, or what is wrong; and whether the channels cancel each other."""
    try:
        found = look(path)
    except UnusableAudio as error:
        return 0.0, str(error), False
    return found.seconds, "", found.cancels
