"""Several sweeps in one table, a row a task and budget, a column a method; and ranks over tasks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mambadapter.errors import UserError
from mambadapter.report.collect import Cell, Collection, heading, is_own
from mambadapter.report.figures import critical_difference, letters
from mambadapter.report.html import captioned, document, table
from mambadapter.report.page import problems
from mambadapter.report.ranks import rank
from mambadapter.report.significance import compare_cells
from mambadapter.report.tables import MARK, best_of, markdown, score_of

_ALPHA, _BELOW = 0.05, "†"
_APART = (
    f"{_BELOW} significantly below that one: paired t-tests at 5 %, Holm's correction over all pairs of its "
    "row, which a row of many methods makes strict: no mark is no sign of being as good. Numbers in "
    "brackets: seeds, where they are not the same for all of a row."
)
_NO_RANKS = (
    "No ranks: it takes three tasks of three methods, and three methods that all of them have."
)


@dataclass(frozen=True)
class _Row:
    """A task at a budget."""

    source: str
    task: str
    metric: str
    cells: Mapping[str, Cell]  # by method

    @property
    def best(self) -> str | None:
        """The method of the best mean."""
        best = best_of(list(self.cells.values()), self.metric)
        return next((name for name, cell in self.cells.items() if cell is best), None)

    def scores(self) -> dict[str, str]:
        """By method, with what marks it."""
        cells = list(self.cells.values())
        best = best_of(cells, self.metric)
        pairs = compare_cells(combinations(cells, 2), self.metric)
        below = [
            cell
            for pair in pairs
            if best in (pair.one, pair.other) and pair.p_corrected < _ALPHA
            for cell in (pair.one, pair.other)
            if cell is not best
        ]
        mixed = len({cell.extent for cell in cells}) > 1
        return {
            name: score_of(cell, cells, self.metric)
            + (f" {_BELOW}" if cell in below else "")
            + (f" ({cell.repetitions})" if mixed or cell.failed else "")
            for name, cell in self.cells.items()
        }


def rows_of_tasks(collections: Mapping[str, Collection]) -> tuple[list[str], list[list[str]]]:
    """A header and a row for each task and budget of at least two methods, as texts; each by its own metric.

    A column for each method that is in most rows, in the order of how many of them it is the best of; the
    best of the other methods has one column. The last row counts where a method has the best mean.

    Raises
    ------
    UserError
        If no task was run with two methods.
    """
    tasks = _rows(collections)
    best = Counter(task.best for task in tasks)
    run = Counter(name for task in tasks for name in task.cells)
    methods = sorted(
        (name for name, times in run.items() if 2 * times > len(tasks)),
        key=lambda name: (-best[name], -run[name], name),
    )
    header = ["runs", "task", "metric, %", *methods, "the best of the others"]
    rows = [[task.source, task.task, task.metric, *_scored(task, methods)] for task in tasks]
    others = sum(times for name, times in best.items() if name and name not in methods)
    counts = [str(best[name]) for name in methods]
    rows.append(["the best mean", f"of {len(tasks)} rows", "", *counts, str(others)])
    return header, rows


def overview_to_markdown(collections: Mapping[str, Collection]) -> str:
    """The table of `rows_of_tasks`."""
    return _to_markdown(*rows_of_tasks(collections))


def write_overview(collections: Mapping[str, Collection], output: Path) -> Path:
    """Write ``table.md``, the picture of the ranks where there are enough tasks, and ``index.html``."""
    header, rows = rows_of_tasks(collections)
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(_to_markdown(header, rows), encoding="utf-8")
    parts = [
        "<h1>Tasks</h1>",
        *(problems(collection, []) for collection in collections.values()),
        table(header, rows),
        f"<p>Bold, or *: the best mean of its row, of those over at least two seeds or folds. {_APART}</p>",
    ]
    ranking = rank(*collections.values())
    if ranking is None:
        parts.append(f"<p>{_NO_RANKS}</p>")
    else:
        with letters():
            figure = critical_difference(ranking)
            for ending in ("pdf", "png"):
                figure.savefig(output / f"ranks.{ending}", dpi=200)
            parts.append(captioned(figure, ranking.caption))
    page = output / "index.html"
    page.write_text(document("Tasks", parts), encoding="utf-8")
    return page


def _to_markdown(header: list[str], rows: list[list[str]]) -> str:
    return markdown(header, rows, labels=3) + f"\n{MARK} {_APART}\n"


def _rows(collections: Mapping[str, Collection]) -> list[_Row]:
    rows = []
    for source, collection in collections.items():
        groups: dict[tuple, list[Cell]] = {}
        for cell in collection.cells:
            key = (*collection.task_of(cell), collection.budget_of(cell))
            groups.setdefault(key, []).append(cell)
        for cells in groups.values():
            named = {collection.method_of(cell): cell for cell in cells}
            if len(named) < len(cells):
                raise UserError(
                    f"{source}: two settings of a task are called the same, in {list(named)}."
                )
            if len(cells) > 1:
                rows.append(_Row(source, _called(collection, cells[0]), collection.metric, named))
    if not rows:
        raise UserError(
            "No task there was run with two methods, so that there is nothing to compare."
        )
    return rows


def _called(collection: Collection, cell: Cell) -> str:
    """A task and its budget, by what sets it apart from the others of its runs."""
    named = zip(collection.columns, cell.labels, strict=True)
    return ", ".join(_said(column, label) for column, label in named if not is_own(column))


def _said(column: str, label: object) -> str:
    if column == "adapter_budget" and label is not None:
        return f"{label:,} parameters"
    return label if isinstance(label, str) else f"{heading(column)} {label}"


def _scored(task: _Row, methods: Sequence[str]) -> list[str]:
    shown = task.scores()
    others = {name: cell for name, cell in task.cells.items() if name not in methods}
    best = best_of(list(others.values()), task.metric)
    name = next((name for name, cell in others.items() if cell is best), None)
    name = next(iter(others), None) if len(others) == 1 else name
    of = f", of {len(others)} others" if len(others) > 1 else ""
    rest = "" if name is None else f"{name}{of}: {shown[name]}"
    return [*(shown.get(method, "") for method in methods), rest]
