"""A collection of results as tidy CSV, as JSON lines, and as tables in Markdown and LaTeX."""

import csv
import io
import json
from collections.abc import Sequence

from mambadapter.metrics.names import HEADLINES
from mambadapter.report.collect import Cell, Collection, heading
from mambadapter.report.significance import Comparison

MARK = "\\* the best mean of those over at least two seeds or folds."

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"})


def to_csv(collection: Collection) -> str:
    """One line a run: its settings, counts, metrics and cost."""
    runs = [run for cell in collection.cells for run in cell.runs]
    metrics = sorted({name for run in runs for name in run.result["metrics"]["test"]})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    counts = ("adapted", "layer_norm", "head")
    rate = () if "lr" in collection.columns else ("lr",)
    writer.writerow(
        [*collection.columns, *rate, "seed", "test_fold", *counts, *metrics, "wall_time_s", "name"]
    )
    for run in runs:
        test = run.result["metrics"]["test"]
        writer.writerow(
            [
                *(
                    {"lr": run.lr, **run.settings}.get(column)
                    for column in (*collection.columns, *rate)
                ),
                *run.repetition,
                *(run.result["parameters"].get(count) for count in counts),
                *(test.get(name) for name in metrics),
                run.result.get("wall_time_s"),
                run.name,
            ]
        )
    return stream.getvalue()


def to_json_lines(collection: Collection) -> str:
    """All results, one a line, which `mambadapter.report.sources.read_results` reads."""
    runs = (run for cell in collection.cells for run in cell.runs)
    return "".join(json.dumps({"name": run.name, **run.result}) + "\n" for run in runs)


def rows_of(collection: Collection) -> tuple[list[str], list[list[str]]]:
    """A header and a row a cell, as texts.

    The best mean of each task is marked with ``*``, of those over at least two seeds or folds: one is no
    evidence.
    """
    header = [
        *(heading(column) for column in collection.columns),
        *([] if "lr" in collection.columns else ["learning rate"]),
        "trained without head",
        "mean over",
        *(f"test {metric}, %" for metric in collection.metrics),
    ]
    rows = []
    for cell in collection.cells:
        rivals = collection.rivals_of(cell)
        # A rate is a setting of a grid's runs alone; in the same column the others have what they learned at.
        said = {"lr": cell.learning_rate}
        labels = [
            said.get(column, "") if label is None else str(label)
            for column, label in zip(collection.columns, cell.labels, strict=True)
        ]
        scores = (score_of(cell, rivals, metric) for metric in collection.metrics)
        rate = [] if "lr" in collection.columns else [cell.learning_rate]
        rows.append([*labels, *rate, f"{cell.adapted:,}", cell.repetitions, *scores])
    return header, rows


def score_of(cell: Cell, rivals: Sequence[Cell], metric: str) -> str:
    """The mean, its interval (of a single run its own, over clips), and the mark of the best."""
    mean, half = cell.summary(metric)
    test = cell.runs[0].result["metrics"]["test"]
    interval = f" ± {100 * half:.1f}"
    if half != half:
        ends = [test.get(f"{metric}_{end}") for end in ("low", "high")]
        interval = "" if None in ends else f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
    best = best_of(rivals, metric)
    marked = best is not None and cell.repeated and mean == best.summary(metric)[0]
    return f"{100 * mean:.1f}{interval}" + (" *" if marked else "")


def best_of(cells: Sequence[Cell], metric: str) -> Cell | None:
    """The best mean of at least two cells of several seeds or folds, of which a single one is no evidence."""
    several = [cell for cell in cells if cell.repeated]
    if len(several) < 2:
        return None
    best = max if HEADLINES.get(metric, True) else min
    return best(several, key=lambda cell: cell.summary(metric)[0])


def to_markdown(collection: Collection) -> str:
    """Mean and 95 % interval of every cell."""
    header, rows = rows_of(collection)
    marked = any(cell.endswith(" *") for row in rows for cell in row)
    return markdown(header, rows, len(collection.columns)) + (f"\n{MARK}\n" if marked else "")


def difference_rows(
    collection: Collection, comparisons: Sequence[Comparison]
) -> tuple[list[str], list[list[str]]]:
    """A header and a row a comparison, as texts."""
    header = ["setting", "other setting", "pairs", "difference, points", "p", "p, corrected"]
    rows = [
        [
            collection.label(comparison.one),
            collection.label(comparison.other),
            str(comparison.pairs),
            _difference(comparison),
            *(_probability(p) for p in (comparison.p, comparison.p_corrected)),
        ]
        for comparison in comparisons
    ]
    return header, rows


def differences_to_markdown(collection: Collection, comparisons: Sequence[Comparison]) -> str:
    """Paired tests between settings."""
    return markdown(*difference_rows(collection, comparisons), labels=2)


def markdown(header: list[str], rows: list[list[str]], labels: int) -> str:
    """A table whose first columns are labels, the others numbers."""
    rule = ["---" if place < labels else "---:" for place in range(len(header))]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped) + "\n"


def _difference(comparison: Comparison) -> str:
    """With its 95 % interval, unless every pair differs by the same."""
    middle, half = comparison.difference, comparison.half_width
    shown = [_points(value) for value in (middle, middle - half, middle + half)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if comparison.p == comparison.p else shown[0]


def _points(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # 0.0, and not -0.0


def _probability(p: float) -> str:
    return "" if p != p else f"{p:.2g}"


def to_latex(collection: Collection) -> str:
    """The same with booktabs' rules; the best is bold."""
    header, rows = rows_of(collection)
    columns = "l" * len(collection.columns) + "r" * (len(header) - len(collection.columns))
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _latex_row(header), "\\midrule"]
    for row in rows:
        lines.append(_latex_row(row))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    best = {
        cell: f"\\textbf{{{_latex(cell.removesuffix(' *'))}}}"
        for cell in cells
        if cell.endswith(" *")
    }
    return " & ".join(best.get(cell, _latex(cell)) for cell in cells) + r" \\"


def _latex(text: str) -> str:
    return text.translate(_SPECIAL).replace("±", "$\\pm$")
