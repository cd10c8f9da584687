"""How long compressed clips are, found by decoding them, once: their headers may lie."""

import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mambadapter.data.audio import warn_of_cancelling
from mambadapter.data.decoding import UnusableAudio, look
from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

_CHUNK = 4096  # clips that are measured before they are remembered


@dataclass(frozen=True)
class Measured:
    """What decoding a clip found."""

    seconds: float  # its length; 0 where it cannot be read
    problem: str = ""  # why it cannot be used; empty if it can


class DurationCache:
    """Lengths of the clips of a corpus, measured in parallel and remembered.

    What is found is appended a line a clip, so that a run that was killed goes on. A clip is measured again
    if its size or its time has changed.
    """

    def __init__(self, path: Path, clips: Path) -> None:
        self.path, self.clips = path.with_suffix(".jsonl"), clips
        self._known: dict[str, list] = {}
        try:
            if path.is_file():  # by an earlier version
                self._known = dict(json.loads(path.read_text(encoding="utf-8")))
            for line in self._whole_lines():
                name, *found = json.loads(line)
                self._known[name] = found
        except (ValueError, TypeError) as error:
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

    def measure(self, names: Sequence[str]) -> dict[str, Measured]:
        """Measure clips; what is new is remembered at once."""
        stamps = {name: stamp(self.clips / name) for name in names}
        new = [name for name in names if stamps[name] and self._known_stamp(name) != stamps[name]]
        began = time.monotonic()
        for start in range(0, len(new), _CHUNK):
            if start:
                left = (time.monotonic() - began) / start * (len(new) - start)
                logger.info("Looked at %d of %d files; %.0f s are left.", start, len(new), left)
            self._measure(new[start : start + _CHUNK], stamps)
        return {
            name: Measured(*self._known[name][2:]) if stamps[name] else Measured(0.0, "missing")
            for name in names
        }

    def _measure(self, names: Sequence[str], stamps: Mapping[str, list[int]]) -> None:
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(lambda name: _measure(self.clips / name), names))
        warn_of_cancelling(
            [self.clips / n for n, (_, cancels) in zip(names, found, strict=True) if cancels]
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for name, (one, _) in zip(names, found, strict=True):
                self._known[name] = [*stamps[name], one.seconds, one.problem]
                file.write(json.dumps([name, *self._known[name]]) + "\n")

    def _known_stamp(self, name: str) -> list[int]:
        return self._known.get(name, [])[:2]


def stamp(path: Path) -> list[int]:
    """Size and time of a file, by which a change is noticed; empty where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # a table may name anything
        return []
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else []


def _measure(path: Path) -> tuple[Measured, bool]:
    """What `look` finds, and whether the channels cancel each other."""
    try:
        found = look(path)
    except UnusableAudio as error:
        return Measured(0.0, str(error)), False
    return Measured(found.seconds), found.cancels
