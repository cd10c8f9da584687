"""Read a table of a Common Voice release: its clips, and its rows that cannot be what was meant."""

import csv
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TextIO

from mambadapter.errors import UserError
from mambadapter.text import TextRules

COLUMNS = ("client_id", "path", "sentence")


@dataclass(frozen=True)
class Utterance:
    """A clip as a table lists it, its sentence by the language's rules."""

    clip: str
    speaker: str
    sentence: str
    text: str
    outside: str


@dataclass(frozen=True)
class Table:
    """What a table lists."""

    utterances: list[Utterance]
    broken: list[str]  # table, line and what is wrong there


def read_table(path: Path, rules: TextRules) -> Table:
    """Read a table; a tab or a new line within a sentence breaks its row, and no part of it is used."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _table(path, file, rules)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); unpack the release again.") from error


def _table(path: Path, file: TextIO, rules: TextRules) -> Table:
    # Sentences hold quotation marks that quote nothing.
    rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(rows, [])
    absent = [name for name in COLUMNS if name not in header]
    if absent:
        raise UserError(
            f"{path} has no column {', '.join(absent)}, only {', '.join(header)}; "
            "unpack a release of Common Voice from 13 on."
        )
    speaker, clip, sentence = (header.index(name) for name in COLUMNS)
    sentence_is_last = sentence == len(header) - 1
    first: dict[str, Utterance] = {}
    broken = []
    numbered = ((rows.line_num, cells) for cells in rows if cells)
    for (line, cells), (_, following) in pairwise(chain(numbered, [(0, header)])):
        if len(cells) != len(header):
            problem = f"{len(cells)} cells, where the header has {len(header)}"
        elif sentence_is_last and len(following) == 1:
            problem = "a new line in its sentence"
        elif cells[clip] in ("", "..") or Path(cells[clip]).name != cells[clip]:
            problem = f"{cells[clip]!r} is not the name of a clip"
        else:
            normalised = rules.normalise(cells[sentence])
            one = Utterance(
                cells[clip], cells[speaker], cells[sentence], normalised.text, normalised.outside
            )
            # By the name in a manifest, which has no suffix.
            other = first.setdefault(Path(one.clip).stem, one)
            same = (other.clip, other.sentence) == (one.clip, one.sentence)
            problem = "" if same else f"{one.clip} again, with another sentence"
        if problem:
            broken.append(f"{path.name}, line {line}: {problem}")
    return Table([*first.values()], broken)
