"""How long compressed clips are, found by decoding them, once: their headers may lie."""

import json
import logging
import os
import stat
import time
from array import array
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

    seconds: np.ndarray  # (N,), 0 where a clip cannot be used
    sizes: np.ndarray  # (N,) bytes of its file, -1 where there is none
    problems: dict[int, str]  # by its place why a clip cannot be used


class DurationCache:
    """Lengths of the clips of a corpus, measured in parallel and remembered.

    What is found is appended a line a clip, so that a run that was killed goes on. A clip is measured again
    if its size or its time has changed.
    """

    def __init__(self, path: Path, clips: Path) -> None:
        self.path, self.clips = path.with_suffix(".jsonl"), clips
        self._names = Strings()
        self._sizes, self._times, self._seconds = array("q"), array("q"), array("d")
        self._problems: dict[int, str] = {}
        try:
            if path.is_file():  # by an earlier version
                known = json.loads(path.read_text(encoding="utf-8"))
                self._remember([[name, *found] for name, found in known.items()])
            for lines in chunks(self._whole_lines()):
                self._remember(json.loads(b"[" + b",".join(lines) + b"]"))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{path} is not whole ({error}); delete it.") from error

    def _whole_lines(self) -> Iterator[bytes]:
        """All but the last if that was cut, which is taken off."""
        if not self.path.is_file():
            return
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    whole += len(line)
                    yield line
        os.truncate(self.path, whole)

    def _remember(self, found: Sequence[Sequence]) -> None:
        """Rows of name, size, time, seconds and problem."""
        names, sizes, times, seconds, problems = zip(*found, strict=True) if found else [()] * 5
        first = len(self._names)
        self._names.extend(names)
        self._sizes.extend(sizes)
        self._times.extend(times)
        self._seconds.extend(seconds)
        self._problems |= {place: one for place, one in enumerate(problems, first) if one}

    def measure(self, names: Sequence[str]) -> Lengths:
        """Measure clips; what is new is remembered at once."""
        found = Lengths(np.zeros(len(names)), np.full(len(names), -1), {})
        new: list[int] = []
        for start in range(0, len(names), CHUNK):
            new += self._recall(names[start : start + CHUNK], start, found)
        began = time.monotonic()
        for start in range(0, len(new), _CHUNK):
            if start:
                left = (time.monotonic() - began) / start * (len(new) - start)
                logger.info("Looked at %d of %d files; %.0f s are left.", start, len(new), left)
            self._measure(names, new[start : start + _CHUNK], found)
        return found

    def _recall(self, names: Sequence[str], first: int, found: Lengths) -> list[int]:
        """Take what is known of some clips, the first of which has that place; gives those that are new."""
        new = []
        known = self._names.find_all(names)
        for place, (path, at) in enumerate(
            zip(below(self.clips, names), known, strict=True), first
        ):
            now = stamp(path)
            if not now:
                found.problems[place] = "missing"
                continue
            found.sizes[place] = now[0]
            if at is None or [self._sizes[at], self._times[at]] != now:
                new.append(place)
                continue
            found.seconds[place] = self._seconds[at]
            if at in self._problems:
                found.problems[place] = self._problems[at]
        return new

    def _measure(self, names: Sequence[str], places: Sequence[int], found: Lengths) -> None:
        paths = [self.clips / names[place] for place in places]
        # Before they are read: one that changes meanwhile is measured again.
        stamps = [stamp(path) or [0, 0] for path in paths]
        with ThreadPoolExecutor() as pool:
            looked = list(pool.map(_measure, paths))
        warn_of_cancelling([p for p, (*_, cancels) in zip(paths, looked, strict=True) if cancels])
        rows = []
        for place, now, (seconds, problem, _) in zip(places, stamps, looked, strict=True):
            rows.append([names[place], *now, seconds, problem])
            found.seconds[place] = seconds
            if problem:
                found.problems[place] = problem
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
