"""Tables of clips: CSV, TSV, JSON lines and Parquet; no cell is guessed to be a number."""

import csv
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mambadapter.data.own.labels import JOINED, NO_SEPARATOR, checked_separator, parted
from mambadapter.data.own.rows import (
    SPLIT_NAMES,
    Broken,
    BrokenCell,
    NoTarget,
    Rows,
    Target,
    clean,
    split_named,
)
from mambadapter.errors import UserError, did_you_mean
from mambadapter.utils.columns import chunks

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {"tab": "\t"}

# What columns are called, where no flag says it; lower case.
_KNOWN = {
    "path": ("path", "file", "filename", "file_name", "filepath", "audio", "audio_filepath", "wav"),
    "label": ("label", "labels", "class", "category", "tag", "tags"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "speaker", "speaker_id", "client_id", "src_file", "session"),
    "start": ("start", "start_time", "begin"),
    "end": ("end", "end_time"),
}
AUTO, NONE = "auto", "none"

Cells = Iterator[tuple[int, Sequence[Any]]]  # the line, and its cells in the order of the header


def read_rows(
    path: Path, target: Target, columns: Mapping[str, str], delimiter: str = AUTO, split: str = ""
) -> tuple[Rows, str]:
    """The rows of a table, and in words from which columns.

    Parameters
    ----------
    path : Path
        The table.
    target : {"label", "text"}
        What is learnt of a clip.
    columns : Mapping[str, str]
        For each of path, label, text, split, group, start and end the column's name; ``auto`` takes the one
        that has one of the names known for it, ``none`` none. Of labels several, with commas between them.
        And the ``label_separator``.
    delimiter : str
        Of a CSV; ``auto`` is a comma, and a tab in ``.tsv``.
    split : str
        Of all rows, where the table is of one.

    Returns
    -------
    tuple[Rows, str]
        The rows, and a sentence.

    Raises
    ------
    UserError
        One line that names the table, the first broken row, and the mend.
    """
    header, cells = _open(path, delimiter)
    return rows_of(path, header, cells, target, columns, split)


def rows_of(
    path: Path,
    header: list[str],
    cells: Cells,
    target: Target,
    columns: Mapping[str, str],
    split: str = "",
) -> tuple[Rows, str]:
    """As `read_rows`, of a table that is open: its columns, and the cells of each line."""
    chosen = choose_columns(path, header, {**columns, **({"split": NONE} if split else {})}, target)
    separator = checked_separator(columns.get("label_separator", NO_SEPARATOR))
    reader = _Reader(path.name, header, chosen, target, split, separator)
    for chunk in chunks(cells):
        reader.read(*map(list, zip(*chunk, strict=True)))
    rows = reader.rows
    for before, place in rows.twice:
        problem = f"{rows[place].key} again, as in line {rows[before].line}"
        reader.note(rows[place].line, problem, "keep one of the two rows")
    reader.broken.refuse()
    if not rows:
        raise UserError(f"{path} has a header and no rows; give a table of clips.")
    unread = [name for name in header if not any(name in names for names in chosen.values())]
    said = ", ".join(f"{what} from '{' and '.join(names)}'" for what, names in chosen.items())
    return rows, f"{path.name}: {said}" + (f"; not read: {', '.join(unread)}" if unread else "")


class _Reader:
    """Takes the rows of a table, many at a time, and notes which are broken, and by what first."""

    def __init__(
        self,
        table: str,
        header: Sequence[str],
        chosen: Mapping[str, tuple[str, ...]],
        target: Target,
        split: str,
        separator: str,
    ) -> None:
        self.rows, self.broken = Rows(target), Broken()
        self._table, self._chosen, self._target = table, chosen, target
        self._split, self._separator = split, separator
        self._place = {name: place for place, name in enumerate(header)}
        # Cells that are the same in many rows are looked at once.
        self._cleaned: dict[str, str] = {}
        self._targets: dict[str, str | BrokenCell] = {}
        self._problems: dict[int, BrokenCell] = {}

    def note(self, line: int, problem: str, mend: str) -> None:
        """One more broken row."""
        self.broken.add(f"{self._table}, line {line}", problem, mend, line)

    def read(self, lines: list[int], cells: list[Sequence[Any]]) -> None:
        """Take some rows."""
        self._problems = {}
        columns = [*zip(*cells, strict=True)]
        texts = {what: self._texts(what, columns) for what in self._chosen}
        for what in ("path", self._target):
            missing = BrokenCell(
                f"no {' or '.join(self._chosen[what])}", "fill the cell, or delete the row"
            )
            self._refuse(missing, (place for place, text in enumerate(texts[what]) if not text))
        self._check_names(texts["path"])
        splits = self._splits(texts["split"]) if "split" in texts else [self._split] * len(lines)
        groups = self._groups(texts["group"]) if "group" in texts else [""] * len(lines)
        starts, ends = (
            self._times(what, texts[what]) if what in texts else [None] * len(lines)
            for what in ("start", "end")
        )  # fmt: skip
        self._check_order(starts, ends)
        targets = texts["text"] if self._target == "text" else self._labels(texts["label"])
        good = [place for place in range(len(lines)) if place not in self._problems]
        all_columns: tuple[Any, ...] = (
            texts["path"], targets, [self._table] * len(lines), lines, splits, groups, starts, ends,
        )  # fmt: skip
        if self._problems:
            for place, one in sorted(self._problems.items(), key=lambda item: item[0]):
                self.note(lines[place], one.problem, one.mend)
            all_columns = tuple([column[place] for place in good] for column in all_columns)
        self.rows.extend(*all_columns)

    def _refuse(self, problem: BrokenCell, places: Iterable[int]) -> None:
        for place in places:
            self._problems.setdefault(place, problem)

    def _texts(self, what: str, columns: Sequence[Sequence[Any]]) -> list[str]:
        """What is in the cells of a thing; of several columns joined."""
        names = self._chosen[what]
        several = []
        for name in names:
            column = columns[self._place[name]]
            if {*map(type, column)} == {str}:
                several.append([*map(str.strip, column)])
            else:
                several.append(self._other_texts(what, name, column))
        if len(names) == 1:
            return several[0]
        joined = []
        for place, parts in enumerate(zip(*several, strict=True)):
            filled = [*filter(None, parts)]
            if not self._separator and any(JOINED in part for part in filled):
                mend = f"say what parts labels, if not '{JOINED}' another: --data.label_separator '{JOINED}'"
                self._refuse(BrokenCell(f"a '{JOINED}' in its labels", mend), [place])
            joined.append((self._separator or JOINED).join(filled))
        return joined

    def _other_texts(self, what: str, name: str, column: Sequence[Any]) -> list[str]:
        """The same of cells that are not all text."""
        texts = []
        for place, value in enumerate(column):
            try:
                texts.append(_text(value, what, name))
            except BrokenCell as error:
                self._refuse(error, [place])
                texts.append("")
        return texts

    def _check_names(self, names: Sequence[str]) -> None:
        for place, name in enumerate(names):
            if "\\" in name:
                problem = f"'{name}' has the backslashes of Windows"
            elif "\0" in name:
                problem = f"{name!a} is no path"
            else:
                continue
            mend = "write the path with /, from the table's folder"
            self._refuse(BrokenCell(problem, mend), [place])

    def _splits(self, texts: Sequence[str]) -> list[str]:
        split_of = {text: split_named(text) for text in {*texts}}
        for unknown in (text for text, split in split_of.items() if split is None):
            mend = (
                f"write one of {', '.join(SPLIT_NAMES)}, or leave the column out: --data.split none"
            )
            problem = BrokenCell(f"'{unknown}' is no split", mend)
            self._refuse(problem, (place for place, text in enumerate(texts) if text == unknown))
        return [split_of[text] or "" for text in texts]

    def _groups(self, texts: Sequence[str]) -> list[str]:
        missing = BrokenCell(
            f"no {self._chosen['group'][0]}", "fill the cell, or give --data.group none"
        )
        self._refuse(missing, (place for place, text in enumerate(texts) if not text))
        known = self._cleaned
        for text in {*texts}.difference(known):
            known[text] = clean(text)
        return [known[text] for text in texts]

    def _times(self, what: str, texts: Sequence[str]) -> list[float | None]:
        return [self._time(what, place, text) if text else None for place, text in enumerate(texts)]

    def _time(self, what: str, place: int, text: str) -> float:
        try:
            time = float(text)
        except ValueError:
            time = math.nan
        if not 0 <= time < math.inf:
            problem = BrokenCell(f"its {what} is '{text}'", "write seconds, such as 12.5")
            self._refuse(problem, [place])
        return time

    def _check_order(self, starts: Sequence[float | None], ends: Sequence[float | None]) -> None:
        for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if end is not None and end <= (start or 0):
                problem = f"it ends at {end:g} s and starts at {start or 0:g} s"
                self._refuse(BrokenCell(problem, "mend the two times"), [place])

    def _labels(self, texts: Sequence[str]) -> list[str]:
        known = self._targets
        for text in {*texts}.difference(known):
            try:
                known[text] = self._label(text)
            except BrokenCell as error:
                known[text] = error
        labels = []
        for place, text in enumerate(texts):
            label = known[text]
            if isinstance(label, BrokenCell):
                self._refuse(label, [place])
                label = ""
            labels.append(label)
        return labels

    def _label(self, text: str) -> str:
        label = clean(text)
        if not label or (not self._separator and len(self._chosen["label"]) == 1):
            return label
        mark = self._separator or JOINED
        labels = parted(label, mark)
        label = mark.join(labels)
        self.rows.labels[label] = labels
        return label


def _text(value: Any, what: str, column: str) -> str:
    """What is in a cell, where that is text or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, float) and what in ("start", "end"):
        value = "" if math.isnan(value) else repr(value)
    if value is None:
        value = ""
    if not isinstance(value, str):
        kind = "true or false" if isinstance(value, bool) else f"a {type(value).__name__}"
        raise BrokenCell(f"its {column} is {kind}, {value}", f'write it as text: "{value}"')
    return value.strip()


def choose_columns(
    path: Path, header: list[str], columns: Mapping[str, str], target: Target
) -> dict[str, tuple[str, ...]]:
    """The column of each thing that is read; of labels there may be several."""
    other = {"label": "text", "text": "label"}[target]
    chosen: dict[str, tuple[str, ...]] = {}
    for what, known in _KNOWN.items():
        given = columns.get(what, AUTO)
        if what == other or given == NONE:
            continue
        if given != AUTO:
            several = what == "label" and given not in header
            names = tuple(name.strip() for name in given.split(",")) if several else (given,)
            for name in names:
                if name not in header or names.count(name) > 1:
                    wrong = "no column" if name not in header else "once and not twice the column"
                    raise UserError(
                        f"{path} has {wrong} '{name}' (--data.{what}); {did_you_mean(name, header)}."
                    )
            chosen[what] = names
            continue
        found = [name for name in header if name.strip().lower() in known]
        if len(found) > 1:
            raise UserError(
                f"{path}: the columns {', '.join(found)} may all be the {what}; say which: "
                f"--data.{what} {found[0]}."
            )
        if found:
            chosen[what] = (found[0],)
    for what in ("path", target):
        if what not in chosen:
            raise (NoTarget if what == target else UserError)(
                f"{path} has no column for the {what}, only {', '.join(header)}; say which it is: "
                f"--data.{what} COLUMN."
            )
    return chosen


def _open(path: Path, delimiter: str) -> tuple[list[str], Cells]:
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    text = _decoded(path)
    if path.suffix.lower() == ".jsonl":
        return _json_lines(path, text)
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    mark = mark if delimiter == AUTO else _DELIMITERS.get(delimiter, delimiter)
    if len(mark) != 1:
        raise UserError(f"--data.delimiter: '{delimiter}' is not one character, or tab.")
    return _csv(path, text, mark)


def _decoded(path: Path) -> Iterable[str]:
    """The lines of a table, in UTF-8 with or without a mark at its beginning."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path.name}, line {number}: not UTF-8 ({error.reason}); save the table as UTF-8."
                ) from error
            if "\0" in text:
                raise UserError(
                    f"{path.name}, line {number}: a character that no text has (U+0000); save the table as "
                    "UTF-8."
                )
            yield text


def _csv(path: Path, lines: Iterable[str], delimiter: str) -> tuple[list[str], Cells]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def refuse(error: csv.Error) -> UserError:
        return UserError(
            f"{path.name}, line {reader.line_num}: its quotes cannot be read ({error}); close each quote, "
            'and write "" for one in a cell.'
        )

    try:
        header = next(reader, [])
    except csv.Error as error:
        raise refuse(error) from error
    if not header:
        raise UserError(f"{path} is empty; give a table with a header and a row for each clip.")
    others = [mark for mark in ",;\t|" if mark != delimiter and mark in header[0]]
    if len(header) == 1 and others:
        mark = "tab" if others[0] == "\t" else others[0]
        raise UserError(
            f"{path} has the one column '{header[0]}': its delimiter is another; give it: "
            f"--data.delimiter '{mark}'."
        )
    _check_header(path, header)

    def cells() -> Cells:
        try:
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise UserError(
                        f"{path.name}, line {reader.line_num}: {len(row)} cells, where the header has "
                        f"{len(header)}; put cells that hold a {_named(delimiter)} in quotes."
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise refuse(error) from error

    return header, cells()


def _named(delimiter: str) -> str:
    return {",": "comma", "\t": "tab", ";": "semicolon"}.get(delimiter, f"'{delimiter}'")


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(
            f"{path} has {'two columns without a name' if twice == [''] else f'the column {twice[0]} twice'};"
            " name each once."
        )


def _json_lines(path: Path, lines: Iterable[str]) -> tuple[list[str], Cells]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key is there twice")
        return found

    def all_rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=once)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{path.name}, line {number}: no JSON ({error}); write one object on each line."
                ) from error
            if not isinstance(row, dict):
                raise UserError(
                    f"{path.name}, line {number}: no object; write {{...}} on each line."
                )
            yield number, row

    rows = all_rows()
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path} is empty; give a table with an object on a line for each clip.")
    header, known = list(first[1]), first[1].keys()

    def cells() -> Cells:
        yield first[0], [*first[1].values()]
        for number, row in rows:
            if new := row.keys() - known:
                raise UserError(
                    f"{path.name}, line {number}: the key {min(new)}, which the first line has not; write it "
                    "there too, null where there is none."
                )
            yield number, [row.get(name) for name in header]

    return header, cells()


def _parquet(path: Path) -> tuple[list[str], Cells]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"{path}: Parquet is read by pyarrow, which is not installed; "
            "pip install 'mambadapter[tables]', or write the table as CSV."
        ) from error
    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is no Parquet file ({error}); write it again.") from error
    header = list(file.schema_arrow.names)
    _check_header(path, header)

    def cells() -> Cells:
        number = 0
        for batch in file.iter_batches(batch_size=10_000):
            for row in batch.to_pylist():
                number += 1
                yield number, [*row.values()]

    return header, cells()
