"""Pictures of a collection of results: score against parameters, learning curves, cost, grids."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mambadapter.report.collect import Cell, Collection

# Ten colours; each comes again only with another marker, so that no two styles are alike.
_STYLES = [(f"C{number}", marker) for marker in "os^D" for number in range(10)]
_LINES = ("-", "--", "-.", ":")
_SIZE = (8.0, 4.8)


def draw_all(collection: Collection) -> dict[str, Figure]:
    """Every picture that the collection has the numbers for, by name."""
    figures = {"parameters": score_against_parameters(collection)}
    if any(run.result.get("history") for cell in collection.cells for run in cell.runs):
        figures["curves"] = learning_curves(collection)
    figures["cost"] = cost(collection)
    if (grid := _numeric_pair(collection)) is not None:
        figures["grid"] = heat_map(collection, *grid)
    return figures


def score_against_parameters(collection: Collection) -> Figure:
    """A line a method, with 95 % intervals, over trained parameters on a logarithmic axis."""
    methods = _methods(collection)
    figure, axes = _axes(collection, len(methods))
    most = 100.0 if collection.metric == "accuracy" else np.inf
    for (name, cells), (colour, marker) in zip(methods.items(), _STYLES, strict=False):
        points = sorted(cells, key=lambda cell: cell.adapted)
        sums = [cell.summary(collection.metric) for cell in points]
        means, halves = (100 * np.nan_to_num(np.array(each)) for each in zip(*sums, strict=True))
        axes.errorbar(
            [cell.adapted for cell in points],
            means,
            # With two runs an interval may reach below 0 or above the maximum: it is cut off there.
            [np.minimum(halves, means), np.minimum(halves, most - means)],
            fmt=f"{marker}-",
            color=colour,
            capsize=3,
            label=name,
        )
    axes.set(xscale="log", xlabel="Trained parameters, the head left out")
    _legend(figure)
    return figure


def learning_curves(collection: Collection) -> Figure:
    """Validation score after every epoch, a mean over the runs of each setting.

    A colour a method, as against parameters; its sizes from the largest, drawn through, to the smallest.
    """
    figure, axes = _axes(collection, len(collection.cells), split="Validation")
    for cells, (colour, marker) in zip(_methods(collection).values(), _STYLES, strict=False):
        by_size = sorted(cells, key=lambda cell: -cell.adapted)
        for cell, line in zip(by_size, itertools.cycle(_LINES)):
            means = _validation_means(collection, cell)
            if means:
                axes.plot(
                    list(means),
                    list(means.values()),
                    marker=marker,
                    linestyle=line,
                    color=colour,
                    markersize=3,
                    label=label_of(collection, cell),
                )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="Epoch")
    _legend(figure)
    return figure


def _validation_means(collection: Collection, cell: Cell) -> dict[int, float]:
    """By epoch, in their order."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for run in cell.runs:
        for epoch in run.result.get("history", []):
            if collection.metric in epoch["valid"]:
                by_epoch[epoch["epoch"]].append(100 * epoch["valid"][collection.metric])
    return {epoch: float(np.mean(by_epoch[epoch])) for epoch in sorted(by_epoch)}


# What a run costs: a title, and where a result says it.
_COSTS = (
    ("Time of a run, s", lambda result: result.get("wall_time_s")),
    ("Peak memory, MiB", lambda result: _peak_mib(result["peak_memory_mib"])),
    ("Saved adapter, KiB", lambda result: _kib(result.get("package_bytes"))),
)


def cost(collection: Collection) -> Figure:
    """Time of a run, peak memory and size of the saved adapter of each setting, means over its runs."""
    shown = {
        title: [_mean(read(run.result) for run in cell.runs) for cell in collection.cells]
        for title, read in _COSTS
    }
    shown = {title: values for title, values in shown.items() if not np.isnan(values).all()}
    figure = Figure(figsize=(_SIZE[0], 1.2 + 0.28 * len(collection.cells)), layout="constrained")
    names = [label_of(collection, cell) for cell in collection.cells]
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for number, (axes, (title, values)) in enumerate(zip(panels, shown.items(), strict=True)):
        axes.barh(names, values, color=f"C{number}")
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
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, aspect="auto", cmap="viridis")
    axes.set(
        xticks=range(len(columns)), xticklabels=[f"{column:,}" for column in columns],
        yticks=range(len(rows)), yticklabels=[f"{row:,}" for row in rows],
        xlabel=across.removeprefix("method."), ylabel=down.removeprefix("method."),
    )  # fmt: skip
    middle = np.nanmean(table)
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    figure.colorbar(image, label=_called(collection, "Test"))
    return figure


def label_of(collection: Collection, cell: Cell) -> str:
    """A setting in a few words."""
    parts = []
    for column, label in zip(collection.columns, cell.labels, strict=True):
        if label is not None:
            name = column.removeprefix("method.")
            shown = (
                f"{label:,}"
                if isinstance(label, int) and not isinstance(label, bool)
                else f"{label}"
            )
            parts.append(shown if isinstance(label, str) else f"{name} {shown}")
    return ", ".join(parts)


def _methods(collection: Collection) -> Mapping[str, list[Cell]]:
    """Cells that differ in their size alone, by what they share."""
    sizes = {"adapter_budget", "method.rank", "method.prompts", "method.length"}
    grouped: dict[str, list[Cell]] = defaultdict(list)
    kept = [place for place, column in enumerate(collection.columns) if column not in sizes]
    for cell in collection.cells:
        shared = Collection(
            tuple(collection.columns[place] for place in kept), (), collection.metrics
        )
        part = Cell(tuple(cell.labels[place] for place in kept), cell.runs)
        grouped[label_of(shared, part) or "all"].append(cell)
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


def _axes(collection: Collection, names: int, split: str = "Test") -> tuple[Figure, Axes]:
    """An empty picture, tall enough for so many names beside it."""
    height = max(_SIZE[1], 0.4 + 0.19 * min(names, len(_STYLES)))
    figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
    axes = figure.subplots()
    axes.set(ylabel=_called(collection, split))
    axes.grid(alpha=0.3)
    return figure, axes


def _called(collection: Collection, split: str) -> str:
    name = {"wer": "word error rate", "cer": "character error rate"}.get(
        collection.metric, "accuracy"
    )
    return f"{split} {name}, %"


def _legend(figure: Figure) -> None:
    # Outside of the axes, where any number of names covers no data.
    figure.legend(loc="outside right upper", fontsize="small")
