"""How long compressed clips are, found by decoding them, once: their headers may lie."""

import json
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mambadapter.data.audio import warn_of_cancelling
from mambadapter.data.decoding import UnusableAudio, look
from mambadapter.errors import UserError
from mambadapter.utils.files import write_json


@dataclass(frozen=True)
class Measured:
    """What decoding a clip found."""

    seconds: float  # its length; 0 where it cannot be read
    problem: str = ""  # why it cannot be used; empty if it can


class DurationCache:
    """Lengths of the clips of a corpus, measured in parallel and remembered.

    A clip is measured again if its size or its time has changed.
    """

    def __init__(self, path: Path, clips: Path) -> None:
        self.path, self.clips = path, clips
        self._known: dict[str, list] = {}
        if path.is_file():
            try:
                self._known = dict(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise UserError(f"{path} is not whole ({error}); delete it.") from error

    def measure(self, names: Sequence[str]) -> dict[str, Measured]:
        """Measure clips; what is new is remembered at once."""
        stamps = {name: stamp(self.clips / name) for name in names}
        new = [name for name in names if stamps[name] and self._known_stamp(name) != stamps[name]]
        if new:
            with ThreadPoolExecutor() as pool:
                found = list(pool.map(lambda name: _measure(self.clips / name), new))
            warn_of_cancelling(
                [
                    self.clips / name
                    for name, (_, cancels) in zip(new, found, strict=True)
                    if cancels
                ]
            )
            for name, (one, _) in zip(new, found, strict=True):
                self._known[name] = [*stamps[name], one.seconds, one.problem]
            write_json(self.path, self._known)
        return {
            name: Measured(*self._known[name][2:]) if stamps[name] else Measured(0.0, "missing")
            for name in names
        }

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
