"""Several sweeps in one table, a row a task and budget, a column a method; and ranks over tasks."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mambadapter.metrics.names import HEADLINES
from mambadapter.report.collect import Cell, Collection, is_own
from mambadapter.report.figures import critical_difference, letters
from mambadapter.report.html import captioned, document, table
from mambadapter.report.ranks import rank
from mambadapter.report.significance import compare_cells
from mambadapter.report.tables import MARK, markdown, score_of

_ALPHA, _BELOW = 0.05, "†"
_MARKS = (
    f"{MARK} {_BELOW} significantly below that one (paired t-tests at 5 %, Holm's correction over those of "
    "its row)."
)


def rows_of_tasks(collections: Mapping[str, Collection]) -> tuple[list[str], list[list[str]]]:
    """A header and a row for each task and budget of at least two methods, as texts; each by its own metric.

    A column for each method that is in most rows, in the order of how many of them it is the best of; the
    best of the other methods has one column. The last row counts where a method has the best mean.
    """
    groups = {
        (name, *key): cells
        for name, collection in collections.items()
        for key, cells in _by_task(collection).items()
        if len(cells) > 1
    }
    named = {
        key: {collections[key[0]].method_of(cell): cell for cell in cells}
        for key, cells in groups.items()
    }
    best = {key: _best(cells, collections[key[0]].metric) for key, cells in named.items()}
    found = [name for cells in named.values() for name in cells]
    methods = sorted(
        {name for name in found if 2 * found.count(name) > len(named)},
        key=lambda name: (-list(best.values()).count(name), -found.count(name), name),
    )
    header = ["runs", "task", "metric, %", *methods, "the best of the others"]
    rows = []
    for key, cells in named.items():
        collection = collections[key[0]]
        below = _apart(cells[best[key]], cells.values(), collection.metric)
        shown = {
            name: score_of(cell, list(cells.values()), collection.metric)
            + (f" {_BELOW}" if cell in below else "")
            for name, cell in cells.items()
        }
        others = {name: cell for name, cell in cells.items() if name not in methods}
        other = _best(others, collection.metric) if others else None
        rows.append(
            [key[0], _called(collection, groups[key][0]), collection.metric]
            + [shown.get(name, "") for name in methods]
            + ["" if other is None else f"{other} {shown[other]}, of {len(others)}"]
        )
    counts = [str(list(best.values()).count(name)) for name in methods]
    rest = len(best) - sum(map(int, counts))
    rows.append(["the best mean", f"of {len(best)} rows", "", *counts, str(rest)])
    return header, rows


def overview_to_markdown(collections: Mapping[str, Collection]) -> str:
    """The table of `rows_of_tasks`."""
    return markdown(*rows_of_tasks(collections), labels=3) + f"\n{_MARKS}\n"


def write_overview(collections: Mapping[str, Collection], output: Path) -> Path:
    """Write ``table.md``, the picture of the ranks where there are enough tasks, and ``index.html``."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(overview_to_markdown(collections), encoding="utf-8")
    parts = ["<h1>Tasks</h1>", table(*rows_of_tasks(collections)), f"<p>{_MARKS[1:]}</p>"]
    ranking = rank(*collections.values())
    if ranking is not None:
        with letters():
            figure = critical_difference(ranking)
            for ending in ("pdf", "png"):
                figure.savefig(output / f"ranks.{ending}", dpi=200)
            parts.append(captioned(figure, ranking.caption))
    page = output / "index.html"
    page.write_text(document("Tasks", parts), encoding="utf-8")
    return page


def _by_task(collection: Collection) -> dict[tuple, list[Cell]]:
    cells: dict[tuple, list[Cell]] = {}
    for cell in collection.cells:
        key = (*collection.task_of(cell), collection.budget_of(cell))
        cells.setdefault(key, []).append(cell)
    return cells


def _best(cells: Mapping[str, Cell], metric: str) -> str:
    of = max if HEADLINES.get(metric, True) else min
    return of(cells, key=lambda name: cells[name].summary(metric)[0])


def _apart(best: Cell, cells: Iterable[Cell], metric: str) -> list[Cell]:
    pairs = ((best, cell) for cell in cells if cell is not best)
    return [one.other for one in compare_cells(pairs, metric) if one.p_corrected < _ALPHA]


def _called(collection: Collection, cell: Cell) -> str:
    """A task and its budget, by what sets it apart from the others of its runs."""
    named = zip(collection.columns, cell.labels, strict=True)
    return ", ".join(
        f"{label:,}" if isinstance(label, int) else f"{label}"
        for column, label in named
        if not is_own(column) and label is not None
    )
