"""How many bytes of samples the header of an uncompressed audio file promises, and how many are there.

libsndfile reads what there is without a word: a file that was cut short, whole to it, is not told from one
written by a pipe, whose writer could not go back to fill its sizes in.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What writers leave in a size that they do not know yet: 0 (GStreamer, wave modules), a little less than
# 2**31 (sox, arecord) or 2**32 (ffmpeg); the length of a header or a block may be taken off.
_UNKNOWN, _LESS = (2**31, 2**32), 4096

# A chunk that is not at its place would have one look for it through all of a large file.
_MOST_CHUNKS = 1000


@dataclass(frozen=True)
class Samples:
    """Where an uncompressed file keeps its samples."""

    start: int  # bytes before them
    promised: int  # bytes of them by the header
    held: int  # bytes from there to the end of the file
    order: str = "little"  # of the header's numbers
    size_at: int = -1  # where the header has `promised`; -1: not as four bytes

    @property
    def unknown(self) -> bool:
        """Whether the writer did not know their size."""
        filler = any(limit - _LESS <= self.promised <= limit for limit in _UNKNOWN)
        return self.held < self.promised if filler else self.promised == 0 < self.held

    @property
    def cut(self) -> bool:
        """Whether some are missing."""
        return self.held < self.promised and not self.unknown


def find_samples(path: Path) -> Samples | None:
    """Look for the samples of a wav, RF64, AIFF or au file; None of any other, or where there are none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[:4] == b".snd":
            start, promised = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8))
            return Samples(start, promised, max(size - start, 0), "big", 8)
        kind, form = head[:4], head[8:12]
        if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
            wanted, order = b"SSND", "big"
        elif kind in (b"RIFF", b"RIFX", b"RF64") and form == b"WAVE":
            wanted, order = b"data", "big" if kind == b"RIFX" else "little"
        else:
            return None
        large = 0
        for name, start, promised in _chunks(file, size, order):
            if name == b"ds64":  # sizes beyond 32 bits, of RF64: of the file, of the samples
                file.seek(start + 8)
                large = int.from_bytes(file.read(8), "little")
            if name == wanted:
                promised = large if kind == b"RF64" and promised == 0xFFFFFFFF else promised
                held = size - start
                if promised == 0 and _is_chunk(file, start, held, order):
                    held = 0  # there are none, and the file goes on
                return Samples(start, promised, held, order, start - 4)
    return None


def _chunks(file: io.BufferedIOBase, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each chunk."""
    place = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or place >= size:
            return
        length = int.from_bytes(head[4:], order)  # type: ignore[arg-type]
        yield head[:4], place + 8, length
        place += 8 + length + length % 2


def _is_chunk(file: io.BufferedIOBase, start: int, held: int, order: str) -> bool:
    """Whether a whole chunk stands there, rather than samples."""
    file.seek(start)
    head = file.read(8)
    length = int.from_bytes(head[4:], order)  # type: ignore[arg-type]
    return head[:4].isalnum() and 8 + length <= held


def with_size(path: Path, samples: Samples) -> io.BytesIO:
    """The file with the size of its samples filled in."""
    content = bytearray(path.read_bytes())
    held = samples.held.to_bytes(4, samples.order)  # type: ignore[arg-type]
    content[samples.size_at : samples.size_at + 4] = held
    return io.BytesIO(content)
