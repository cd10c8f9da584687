"""Results as text: lines, JSON, tables and captions."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping

from mambadapter.inference.results import Result, Timeline, Transcript

# Of one recording, what each adapter says; without names where there is one adapter.
Answer = Mapping[str, Result]


def text(answers: Iterable[Answer], top: int = 3) -> Iterator[str]:
    """A line a file, or a file and adapter."""
    for answer in answers:
        for name, result in answer.items():
            named = f"{name}: " if name else ""
            yield f"{result.source}: {named}{result.said(top)}\n"


def json_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """A JSON object a line."""
    for one in _dicts(answers):
        yield json.dumps(one, ensure_ascii=False) + "\n"


def json_list(answers: Iterable[Answer]) -> Iterator[str]:
    """One JSON array."""
    before = "[\n"
    for one in _dicts(answers):
        yield before + json.dumps(one, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def table(answers: Iterable[Answer], delimiter: str) -> Iterator[str]:
    """A header and rows."""
    line = io.StringIO()
    writer: csv.DictWriter | None = None
    for answer in answers:
        for name, result in answer.items():
            for row in result.rows():
                full = {"adapter": name, **row} if name else row
                if writer is None:
                    writer = csv.DictWriter(line, [*full], delimiter=delimiter, lineterminator="\n")
                    writer.writeheader()
                writer.writerow(full)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def captions(answers: Iterable[Answer], mark: str) -> Iterator[str]:
    """Numbered segments with their times: SubRip with a comma for `mark`, WebVTT with a point."""
    if mark == ".":
        yield "WEBVTT\n\n"
    for answer in answers:
        for result in answer.values():
            assert isinstance(result, Transcript)
            for number, one in enumerate(result.segments, 1):
                times = f"{_time(one.start, mark)} --> {_time(one.end, mark)}"
                yield f"{number}\n{times}\n{one.text}\n\n"


def audacity(answers: Iterable[Answer]) -> Iterator[str]:
    """Audacity's labels: start, end and class of each segment of a timeline, between tabs."""
    for answer in answers:
        for result in answer.values():
            assert isinstance(result, Timeline)
            for one in result.segments:
                yield f"{one.start:.6f}\t{one.end:.6f}\t{one.text}\n"


def _time(seconds: float, mark: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _dicts(answers: Iterable[Answer]) -> Iterator[dict]:
    for answer in answers:
        for name, result in answer.items():
            yield {"adapter": name, **result.to_dict()} if name else result.to_dict()


FORMATS: dict[str, Callable[[Iterable[Answer]], Iterator[str]]] = {
    "text": text,
    "json": json_list,
    "jsonl": json_lines,
    "csv": lambda answers: table(answers, ","),
    "tsv": lambda answers: table(answers, "\t"),
}
CAPTIONS: dict[str, Callable[[Iterable[Answer]], Iterator[str]]] = {
    "srt": lambda answers: captions(answers, ","),
    "vtt": lambda answers: captions(answers, "."),
}
