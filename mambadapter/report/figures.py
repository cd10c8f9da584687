"""Pictures of a collection of results: scores, score against parameters, learning curves, cost, grids.

Each is as wide as a page's text, with letters of 8 points and at most ten names in its legend; what has no
room there is drawn in grey, and is in the table.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from mambadapter.cost import Cost
from mambadapter.metrics.names import HEADLINES
from mambadapter.report.collect import SIZES, Cell, Collection, heading
from mambadapter.report.ranks import Ranking, rank

# Ten colours that people who see few colours can tell apart, by lightness too (Petroff 2021, arXiv
# 2107.02270), each with a marker of its own for print in black and white.
_COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
_STYLES = list(zip(_COLOURS, "os^DvPX<>*", strict=True))
_REST = "#cccccc"  # of what the legend has no room for
_LINES = ("-", "--", "-.", ":")
_WIDTH, _HEIGHT, _ROW = 6.5, 4.0, 0.21  # inches: a page's text; a picture; a row of names

# Sizes that differ by less are one size.
_ALIKE = 1.5


def letters() -> AbstractContextManager[None]:
    """In which pictures are drawn and saved."""
    return matplotlib.rc_context({"font.size": 8, "axes.labelsize": 8.5, "legend.fontsize": 8})


def draw_all(collection: Collection) -> dict[str, Figure]:
    """Every picture that the collection has the numbers for, by name; drawn within `letters`."""
    figures = {"scores": scores(collection)}
    if has_sizes(collection):
        figures["parameters"] = score_against_parameters(collection)
    if any(run.result.get("history") for cell in collection.cells for run in cell.runs):
        figures["curves"] = learning_curves(collection)
    if any(run.result.get("batch_ms") for cell in collection.cells for run in cell.runs):
        figures["score_over_cost"] = score_against_cost(collection)
    if (ranking := rank(collection)) is not None:
        figures["ranks"] = critical_difference(ranking)
    figures["cost"] = cost(collection)
    if (grid := _numeric_pair(collection)) is not None:
        figures["grid"] = heat_map(collection, *grid)
    return figures


def has_sizes(collection: Collection) -> bool:
    """Whether some method was trained at sizes that really differ, so that there is a line to draw."""
    for cells in _methods(collection).values():
        sizes = [cell.adapted for cell in cells]
        if max(sizes) > _ALIKE * min(sizes):
            return True
    return False


def scores(collection: Collection) -> Figure:
    """A row a setting, of each recipe the best on top: the mean with its 95 % interval, each run as a dot."""
    cells = sorted(
        _best_first(collection, collection.cells),
        key=lambda cell: [str(part) for part in cell.runs[0].data],
    )
    figure = Figure(figsize=(_WIDTH, 0.8 + _ROW * len(cells)), layout="constrained")
    axes = figure.subplots()
    most = 100.0 if HEADLINES.get(collection.metric, True) else np.inf
    for row, cell in enumerate(cells):
        runs = [100 * run.score(collection.metric) for run in cell.runs]
        mean, half = (100 * np.nan_to_num(each) for each in cell.summary(collection.metric))
        below = [row + 0.28] * len(runs)
        axes.plot(runs, below, "o", color=_COLOURS[8], alpha=0.6, ms=3, mew=0)
        # With two runs an interval may reach below 0 or above the maximum: it is cut off there.
        ends = [[min(half, mean)], [min(half, most - mean)]]
        axes.errorbar([mean], [row], xerr=ends, fmt="o", color=_COLOURS[0], capsize=2.5, ms=5)
    axes.set_yticks(range(len(cells)), [collection.label(cell) for cell in cells])
    axes.set(xlabel=_called(collection, "Test"), ylim=(len(cells) - 0.5, -0.5))
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(
        range(len(cells)), [f"{_short(cell.adapted)}, {cell.repetitions}" for cell in cells]
    )
    beside.tick_params(length=0)
    axes.grid(axis="x", alpha=0.3)
    return figure


def score_against_parameters(collection: Collection) -> Figure:
    """A line a method, with 95 % intervals, over trained parameters on a logarithmic axis."""
    figure, axes = _axes(collection)
    most = 100.0 if HEADLINES.get(collection.metric, True) else np.inf
    for name, cells, (colour, marker) in _styled(collection):
        points = sorted(cells, key=lambda cell: cell.adapted)
        sums = [cell.summary(collection.metric) for cell in points]
        means, halves = (100 * np.nan_to_num(np.array(each)) for each in zip(*sums, strict=True))
        axes.errorbar(
            [cell.adapted for cell in points],
            means,
            # As in `scores`.
            [np.minimum(halves, means), np.minimum(halves, most - means)],
            fmt=f"{marker}-",
            color=colour,
            capsize=3,
            ms=4.5,
            label=name,
            zorder=2 if name else 1,
        )
    axes.set(xscale="log", xlabel="Trained parameters, the head left out")
    if "adapter_budget" in collection.columns:
        ticks = {collection.budget_of(cell) or cell.adapted for cell in collection.cells}
        axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda count, _: _short(count))
    axes.xaxis.set_minor_locator(NullLocator())
    _legend(figure)
    return figure


def score_against_cost(collection: Collection) -> Figure:
    """Mean score over the time of a batch and over peak memory, a point a setting."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, read) in zip(panels, (_BATCH_TIME, _MEMORY), strict=True):
        for name, cells, (colour, marker) in _styled(collection):
            costs = [_mean(read(run.result) for run in cell.runs) for cell in cells]
            means = [100 * cell.summary(collection.metric)[0] for cell in cells]
            label = name if axes is panels[0] else ""
            axes.plot(
                costs, means, marker, color=colour, ms=5, label=label, zorder=2 if name else 1
            )
        axes.set(xlabel=title)
        axes.grid(alpha=0.3)
    panels[0].set(ylabel=_called(collection, "Test"))
    _legend(figure)
    return figure


def critical_difference(ranking: Ranking) -> Figure:
    """Mean ranks on a line, the best on the left; a bar joins methods that are not significantly apart."""
    names = sorted(ranking.ranks, key=ranking.ranks.__getitem__)
    bars = ranking.groups()
    first, half = 1 + len(bars), math.ceil(len(names) / 2)
    height = 0.8 + 0.12 * len(bars) + _ROW * half
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        left = place < half
        depth = first + 1.6 * (place if left else len(names) - 1 - place)
        edge = 0.8 if left else len(names) + 0.2
        where = ranking.ranks[name]
        axes.plot([where, where, edge], [0, depth, depth], color=_COLOURS[8], linewidth=0.8)
        text = f"{name}  {where:.2f}" if left else f"{where:.2f}  {name}"
        axes.text(edge, depth, f" {text} ", ha="right" if left else "left", va="center")
    for row, bar in enumerate(bars, start=1):
        ends = [ranking.ranks[bar[0]] - 0.04, ranking.ranks[bar[-1]] + 0.04]
        axes.plot(ends, [row * 0.8] * 2, color=_COLOURS[2], linewidth=3, solid_capstyle="round")
    axes.set(xlim=(1, len(names)), ylim=(first + 1.6 * half, 0), yticks=[])
    axes.xaxis.set_ticks_position("top")
    axes.xaxis.set_label_position("top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(
        f"Mean rank over {ranking.tasks} tasks; critical difference {ranking.critical_difference:.2f}, "
        f"Friedman's p {ranking.p:.2g}"
    )
    for side in ("left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def learning_curves(collection: Collection) -> Figure:
    """Validation score after every epoch, a mean over the runs of each setting.

    A colour a method, as against parameters; its sizes from the largest, drawn through, to the smallest.
    """
    figure, axes = _axes(collection, split="Validation")
    for name, cells, (colour, _) in _styled(collection):
        by_size = sorted(cells, key=lambda cell: -cell.adapted)
        for number, (cell, line) in enumerate(zip(by_size, itertools.cycle(_LINES))):
            means = _validation_means(collection, cell)
            if means:
                axes.plot(
                    list(means),
                    list(means.values()),
                    linestyle=line,
                    color=colour,
                    linewidth=1.4 if name else 0.8,
                    label=name if number == 0 else "",
                    zorder=2 if name else 1,
                )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="Epoch")
    _legend(figure)
    return figure


def _styled(collection: Collection) -> list[tuple[str, Sequence[Cell], tuple[str, str]]]:
    """The methods in the order of their best scores, the first ten with a name and a style, the rest grey."""
    methods = _methods(collection)
    best = {name: _best_first(collection, cells)[0] for name, cells in methods.items()}
    names = sorted(methods, key=lambda name: _worse(collection, best[name]))
    styles = itertools.chain(_STYLES, itertools.repeat((_REST, ".")))
    return [
        (name if number < len(_STYLES) else "", methods[name], style)
        for number, (name, style) in enumerate(zip(names, styles))  # noqa: B905
    ]


def unnamed(collection: Collection) -> int:
    """How many methods a legend has no room for."""
    return max(len(_methods(collection)) - len(_STYLES), 0)


def _best_first(collection: Collection, cells: Sequence[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: _worse(collection, cell))


def _worse(collection: Collection, cell: Cell) -> float:
    mean = cell.summary(collection.metric)[0]
    return -mean if HEADLINES.get(collection.metric, True) else mean


def _short(count: float) -> str:
    """A count in a few letters: 49,854 is 49.9k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:g}"


def _validation_means(collection: Collection, cell: Cell) -> dict[int, float]:
    """By epoch, in their order."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for run in cell.runs:
        for epoch in run.result.get("history", []):
            if collection.metric in epoch["valid"]:
                by_epoch[epoch["epoch"]].append(100 * epoch["valid"][collection.metric])
    return {epoch: float(np.mean(by_epoch[epoch])) for epoch in sorted(by_epoch)}


# What a run costs: a title, and where a result says it.
_BATCH_TIME = ("Time of a batch, ms", lambda result: result.get("batch_ms"))
_MEMORY = ("Peak memory, MiB", lambda result: _peak_mib(result["peak_memory_mib"]))
_COSTS = (
    ("Time of a run, s", lambda result: result.get("wall_time_s")),
    _BATCH_TIME,
    _MEMORY,
    ("Saved adapter, KiB", lambda result: _kib(result.get("package_bytes"))),
)


def cost(collection: Collection) -> Figure:
    """Time of a run, peak memory and size of the saved adapter of each setting, means over its runs."""
    shown = {
        title: [_mean(read(run.result) for run in cell.runs) for cell in collection.cells]
        for title, read in _COSTS
    }
    shown = {title: values for title, values in shown.items() if not np.isnan(values).all()}
    figure = Figure(figsize=(_WIDTH, 0.8 + _ROW * len(collection.cells)), layout="constrained")
    names = [collection.label(cell) for cell in collection.cells]
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for number, (axes, (title, values)) in enumerate(zip(panels, shown.items(), strict=True)):
        axes.barh(names, values, color=_COLOURS[number], height=0.7)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set(xlabel=title)
        axes.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    return figure


def heat_map(collection: Collection, across: str, down: str) -> Figure:
    """Mean score over two numeric settings."""
    places = [collection.columns.index(column) for column in (across, down)]
    values: dict[tuple, list[float]] = defaultdict(list)
    for cell in collection.cells:
        key = tuple(cell.labels[place] for place in places)
        values[key].append(100 * cell.summary(collection.metric)[0])
    columns, rows = (sorted({key[axis] for key in values}) for axis in (0, 1))
    table = np.array(
        [[np.mean(values.get((column, row), [np.nan])) for column in columns] for row in rows]
    )
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, aspect="auto", cmap="viridis")
    axes.set(
        xticks=range(len(columns)), xticklabels=[f"{column:,}" for column in columns],
        yticks=range(len(rows)), yticklabels=[f"{row:,}" for row in rows],
        xlabel=heading(across), ylabel=heading(down),
    )  # fmt: skip
    middle = np.nanmean(table)
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    figure.colorbar(image, label=_called(collection, "Test"))
    return figure


def step_costs(costs: Sequence[Cost], what: str) -> Figure:
    """A row a method: the time of a training step, and the memory that it holds over the frozen weights."""
    figure = Figure(figsize=(_WIDTH, 0.9 + _ROW * len(costs)), layout="constrained")
    time, memory = figure.subplots(1, 2, sharey=True)
    names = [cost.method for cost in costs]
    time.barh(names, [cost.milliseconds for cost in costs], color=_COLOURS[0])
    memory.barh(names, [cost.memory_mib for cost in costs], color=_COLOURS[1])
    time.set(xlabel="a training step, ms")
    memory.set(xlabel="memory over the frozen weights, MiB")
    time.invert_yaxis()
    for axes in (time, memory):
        axes.bar_label(axes.containers[0], fmt="%.0f", padding=2)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(what, fontsize=8)
    return figure


def _methods(collection: Collection) -> Mapping[str, list[Cell]]:
    """Cells that differ in their size alone, by what they share."""
    sizes = SIZES | {"adapter_budget"}
    grouped: dict[str, list[Cell]] = defaultdict(list)
    kept = [place for place, column in enumerate(collection.columns) if column not in sizes]
    for cell in collection.cells:
        shared = Collection(
            tuple(collection.columns[place] for place in kept), (), collection.metrics
        )
        part = Cell(tuple(cell.labels[place] for place in kept), cell.runs)
        grouped[shared.label(part) or "all"].append(cell)
    return grouped


def _numeric_pair(collection: Collection) -> tuple[str, str] | None:
    """Two settings that are numbers and take at least two values each, crossed."""
    numeric = []
    for place, column in enumerate(collection.columns):
        values = {cell.labels[place] for cell in collection.cells}
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if numbers and len(values) > 1:
            numeric.append(column)
    return (numeric[0], numeric[1]) if len(numeric) > 1 else None


def _peak_mib(peak: Mapping[str, float]) -> float:
    return peak.get("gpu", peak["resident"])


def _kib(size: int | None) -> float | None:
    return None if size is None else size / 1024


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _axes(collection: Collection, split: str = "Test") -> tuple[Figure, Axes]:
    """An empty picture."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set(ylabel=_called(collection, split))
    axes.grid(alpha=0.3)
    return figure, axes


def _called(collection: Collection, split: str) -> str:
    name = {
        "wer": "word error rate",
        "cer": "character error rate",
        "mAP": "mean average precision",
        "macro_f1": "macro-F1",
        "micro_f1": "micro-F1",
    }.get(collection.metric, "accuracy")
    return f"{split} {name}, %"


def _legend(figure: Figure) -> None:
    # Below the axes, where names may be long and cover no data.
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
