"""Kaldi's data folders: ``wav.scp``, ``text``, ``utt2spk`` and ``segments``."""

from collections.abc import Iterator
from pathlib import Path

from mambadapter.data.own.rows import Broken, Row, Rows, clean
from mambadapter.errors import UserError

RECORDINGS = "wav.scp"


def read_kaldi(folder: Path, split: str = "") -> Rows:
    """The utterances of a folder, in the order of ``text``.

    Raises
    ------
    UserError
        One line that names the file, its line and the mend.
    """
    broken = Broken()
    rows = Rows("text", _rows(folder, split, broken))
    broken.refuse()
    if not rows:
        raise UserError(f"{folder / 'text'} is empty; write an utterance on each line.")
    return rows


def _rows(folder: Path, split: str, broken: Broken) -> Iterator[Row]:
    recordings = dict(_pairs(folder, RECORDINGS))
    segments = dict(_pairs(folder, "segments", optional=True))
    speakers = dict(_pairs(folder, "utt2spk", optional=True))
    for utterance, (line, text) in _pairs(folder, "text"):
        where = f"text, line {line}"
        recording, start, end = utterance, None, None
        if segments:
            if utterance not in segments:
                broken.add(where, f"{utterance} is not in segments", "add its line there")
                continue
            at, said = segments[utterance]
            cells = said.split()
            try:
                recording, (start, end) = cells[0], map(float, cells[1:])
            except (ValueError, IndexError):
                broken.add(
                    f"segments, line {at}",
                    f"'{said}'",
                    "write utterance, recording, start and end in seconds",
                )
                continue
            if not 0 <= start < end:
                broken.add(
                    f"segments, line {at}",
                    f"it ends at {end:g} s and starts at {start:g} s",
                    "mend the two times",
                )
                continue
        if recording not in recordings:
            broken.add(where, f"{recording} is not in {RECORDINGS}", "add its line there")
            continue
        at, path = recordings[recording]
        if path.endswith("|"):
            broken.add(
                f"{RECORDINGS}, line {at}",
                f"a command, '{path}'",
                "run it once and give the file that it writes",
            )
            continue
        if not text:
            broken.add(where, f"{utterance} has no text", "write it, or delete the line")
            continue
        if speakers and utterance not in speakers:
            broken.add(where, f"{utterance} is not in utt2spk", "add its line there")
            continue
        speaker = clean(speakers[utterance][1]) if speakers else ""
        yield Row(path, text, "text", line, split, speaker, start, end)


def _pairs(
    folder: Path, name: str, optional: bool = False
) -> Iterator[tuple[str, tuple[int, str]]]:
    """The first word of each line, its number, and the rest."""
    path = folder / name
    if not path.is_file():
        if optional:
            return
        raise UserError(f"{path} is missing; a Kaldi folder has {RECORDINGS} and text.")
    seen: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if not key:
            continue
        if key in seen:
            raise UserError(
                f"{name}, line {number}: {key} again, as in line {seen[key]}; keep one of the two lines."
            )
        seen[key] = number
        yield key, (number, rest.strip())
