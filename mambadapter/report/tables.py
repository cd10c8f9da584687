"""A collection of results as tidy CSV, and as tables in Markdown and LaTeX."""

import csv
import io
from collections.abc import Sequence

from mambadapter.report.collect import METRICS, Collection

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"})


def to_csv(collection: Collection) -> str:
    """One line a run: its settings, counts, metrics and cost."""
    runs = [run for cell in collection.cells for run in cell.runs]
    metrics = sorted({name for run in runs for name in run.result["metrics"]["test"]})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    counts = ("adapted", "layer_norm", "head")
    writer.writerow(
        [*collection.columns, "seed", "test_fold", *counts, *metrics, "wall_time_s", "file"]
    )
    for run in runs:
        test = run.result["metrics"]["test"]
        writer.writerow(
            [
                *(run.settings.get(column) for column in collection.columns),
                *run.repetition,
                *(run.result["parameters"].get(count) for count in counts),
                *(test.get(name) for name in metrics),
                run.result.get("wall_time_s"),
                run.path.name if run.path.name != "result.json" else run.path.parent.name,
            ]
        )
    return stream.getvalue()


def rows_of(collection: Collection) -> tuple[list[str], list[list[str]]]:
    """A header and a row a cell, as texts; the best mean of a column is marked with ``*``."""
    more_is_better = METRICS.get(collection.metric, True)
    sums = [cell.summary(collection.metric) for cell in collection.cells]
    best = (max if more_is_better else min)(mean for mean, _ in sums)
    header = [
        *(column.removeprefix("method.") for column in collection.columns),
        "trained without head",
        "runs",
        f"test {collection.metric}, %",
    ]
    rows = []
    for cell, (mean, half) in zip(collection.cells, sums, strict=True):
        interval = "" if half != half else f" ± {100 * half:.1f}"
        mark = " *" if mean == best and len(sums) > 1 else ""
        labels = ["" if label is None else str(label) for label in cell.labels]
        rows.append(
            [*labels, f"{cell.adapted:,}", str(len(cell.runs)), f"{100 * mean:.1f}{interval}{mark}"]
        )
    return header, rows


def to_markdown(collection: Collection) -> str:
    """Mean and 95 % interval of every cell."""
    header, rows = rows_of(collection)
    rule = [
        *("---" for _ in collection.columns),
        *("---:" for _ in header[len(collection.columns) :]),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows)) + "\n"


def to_latex(collection: Collection) -> str:
    """The same with booktabs' rules; the best is bold."""
    header, rows = rows_of(collection)
    columns = "l" * len(collection.columns) + "r" * (len(header) - len(collection.columns))
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _latex_row(header), "\\midrule"]
    for row in rows:
        cells = [_latex(cell) for cell in row]
        if row[-1].endswith(" *"):
            cells[-1] = f"\\textbf{{{_latex(row[-1].removesuffix(' *'))}}}"
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return text.translate(_SPECIAL).replace("±", "$\\pm$")
