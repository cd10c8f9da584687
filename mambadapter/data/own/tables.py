"""Tables of clips: CSV, TSV, JSON lines and Parquet; no cell is guessed to be a number."""

import csv
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mambadapter.data.own.labels import JOINED, NO_SEPARATOR, checked_separator, parted
from mambadapter.data.own.rows import SPLIT_NAMES, Broken, NoTarget, Row, Target, clean, split_named
from mambadapter.errors import UserError, did_you_mean

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

Cells = Iterator[tuple[int, Mapping[str, Any]]]


def read_rows(
    path: Path, target: Target, columns: Mapping[str, str], delimiter: str = AUTO, split: str = ""
) -> tuple[list[Row], str]:
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
    tuple[list[Row], str]
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
) -> tuple[list[Row], str]:
    """As `read_rows`, of a table that is open: its columns, and the cells of each line."""
    chosen = _choose(path, header, {**columns, **({"split": NONE} if split else {})}, target)
    separator = checked_separator(columns.get("label_separator", NO_SEPARATOR))
    rows, broken = [], Broken()
    first: dict[str, int] = {}
    for line, cell in cells:
        where = f"{path.name}, line {line}"
        row = _row(path, line, where, cell, chosen, target, split, broken, separator)
        if row is None:
            continue
        if (before := first.setdefault(row.key, line)) != line:
            broken.add(where, f"{row.key} again, as in line {before}", "keep one of the two rows")
        else:
            rows.append(row)
    broken.refuse()
    if not rows:
        raise UserError(f"{path} has a header and no rows; give a table of clips.")
    unread = [name for name in header if not any(name in names for names in chosen.values())]
    said = ", ".join(f"{what} from '{' and '.join(names)}'" for what, names in chosen.items())
    return rows, f"{path.name}: {said}" + (f"; not read: {', '.join(unread)}" if unread else "")


def _row(
    path: Path,
    line: int,
    where: str,
    cells: Mapping[str, Any],
    chosen: Mapping[str, tuple[str, ...]],
    target: Target,
    split: str,
    broken: Broken,
    separator: str,
) -> Row | None:
    texts = {}
    for what, names in chosen.items():
        parts = [_text(cells[column], what, column, where, broken) for column in names]
        if None in parts:
            return None
        filled = [*filter(None, parts)]
        if len(names) > 1 and not separator and any(JOINED in part for part in filled):
            mend = f"say what parts labels, if not '{JOINED}' another: --data.label_separator '{JOINED}'"
            broken.add(where, f"a '{JOINED}' in its labels", mend)
            return None
        texts[what] = (separator or JOINED).join(filled)
    for what in ("path", target):
        if not texts[what]:
            broken.add(where, f"no {' or '.join(chosen[what])}", "fill the cell, or delete the row")
            return None
    name, problem = texts["path"], ""
    if "\\" in name:
        problem = f"'{name}' has the backslashes of Windows"
    elif "\0" in name:
        problem = f"{name!a} is no path"
    if problem:
        broken.add(where, problem, "write the path with /, from the table's folder")
        return None
    if "split" in texts:
        given = split_named(texts["split"])
        if given is None:
            mend = (
                f"write one of {', '.join(SPLIT_NAMES)}, or leave the column out: --data.split none"
            )
            broken.add(where, f"'{texts['split']}' is no split", mend)
            return None
        split = given
    if "group" in texts and not texts["group"]:
        broken.add(where, f"no {chosen['group'][0]}", "fill the cell, or give --data.group none")
        return None
    times = _times(texts, where, broken)
    if times is None:
        return None
    wanted, labels = texts[target], tuple[str, ...]()
    if target == "label":
        wanted = clean(wanted)
    if target == "label" and (separator or len(chosen[target]) > 1):
        mark = separator or JOINED
        found = parted(wanted, mark, where, broken)
        if found is None:
            return None
        wanted, labels = mark.join(found), found
    group = clean(texts.get("group", ""))
    return Row(name, wanted, path.name, line, split, group, *times, labels=labels)


def _text(value: Any, what: str, column: str, where: str, broken: Broken) -> str | None:
    """What is in a cell, where that is text or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, float) and what in ("start", "end"):
        value = "" if math.isnan(value) else repr(value)
    if value is None:
        value = ""
    if not isinstance(value, str):
        kind = "true or false" if isinstance(value, bool) else f"a {type(value).__name__}"
        broken.add(where, f"its {column} is {kind}, {value}", f'write it as text: "{value}"')
        return None
    return value.strip()


def _times(
    texts: Mapping[str, str], where: str, broken: Broken
) -> tuple[float | None, float | None] | None:
    times: list[float | None] = []
    for what in ("start", "end"):
        text = texts.get(what, "")
        try:
            time = float(text) if text else None
        except ValueError:
            time = math.nan
        if time is not None and not (0 <= time < math.inf):
            broken.add(where, f"its {what} is '{text}'", "write seconds, such as 12.5")
            return None
        times.append(time)
    start, end = times
    if end is not None and end <= (start or 0):
        broken.add(
            where, f"it ends at {end:g} s and starts at {start or 0:g} s", "mend the two times"
        )
        return None
    return start, end


def _choose(
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
    if path.suffix == ".parquet":
        return _parquet(path)
    text = _decoded(path)
    if path.suffix == ".jsonl":
        return _json_lines(path, text)
    mark = "\t" if path.suffix == ".tsv" else ","
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
                yield reader.line_num, dict(zip(header, row, strict=True))
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

    def all_rows() -> Cells:
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
    header = list(first[1])

    def cells() -> Cells:
        yield first
        for number, row in rows:
            yield number, {name: row.get(name) for name in header}

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
                yield number, row

    return header, cells()
