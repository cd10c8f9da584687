"""How long compressed clips are, found by decoding them, once: their headers may lie."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from mambadapter.data.audio import SHORTEST_SECONDS
from mambadapter.errors import UserError
from mambadapter.utils.files import write_json

logger = logging.getLogger(__name__)

# A decoder may give or take the samples of a few frames of an mp3.
_FRAMES_LEEWAY = 8 * 1152


@dataclass(frozen=True)
class Measured:
    """What decoding a clip found."""

    seconds: float  # its length; 0 where it cannot be read
    problem: str = ""  # why it cannot be used; empty if it can


class DurationCache:
    """Lengths of the clips of a corpus, measured in parallel and remembered.

    A clip is measured again if its size has changed.
    """

    def __init__(self, path: Path, clips: Path) -> None:
        self.path, self.clips = path, clips
        self._known: dict[str, list] = {}
        if path.is_file():
            try:
                self._known = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{path} is not JSON ({error}); delete it.") from error

    def measure(self, names: Sequence[str]) -> dict[str, Measured]:
        """Measure clips; what is new is remembered at once."""
        sizes = {name: self._size(name) for name in names}
        new = [
            n for n in names if sizes[n] is not None and self._known.get(n, [None])[0] != sizes[n]
        ]
        if new:
            with ThreadPoolExecutor() as pool:
                found = pool.map(lambda name: decode(self.clips / name), new)
                for name, one in zip(new, found, strict=True):
                    self._known[name] = [sizes[name], one.seconds, one.problem]
            write_json(self.path, self._known)
        return {
            name: Measured(0.0, "missing") if size is None else Measured(*self._known[name][1:])
            for name, size in sizes.items()
        }

    def _size(self, name: str) -> int | None:
        path = self.clips / name
        return path.stat().st_size if path.is_file() else None


def decode(path: Path) -> Measured:
    """Decode an audio file to the end and measure it."""
    if path.stat().st_size == 0:
        return Measured(0.0, "empty")
    try:
        with soundfile.SoundFile(path) as file:
            promised, rate = file.frames, file.samplerate
            samples = file.read(dtype="float32")
    except soundfile.LibsndfileError:
        return Measured(0.0, "corrupt: not audio that can be decoded")
    frames = len(samples)
    seconds = round(frames / rate, 4)
    if seconds < SHORTEST_SECONDS:
        return Measured(
            seconds, "empty" if frames == 0 else "too short: less than an encoder frame"
        )
    if frames < promised - _FRAMES_LEEWAY:
        return Measured(seconds, "corrupt: shorter than its header says")
    if not np.isfinite(samples).all():
        return Measured(seconds, "corrupt: samples that are not finite")
    return Measured(seconds)
