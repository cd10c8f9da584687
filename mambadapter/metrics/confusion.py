"""Which classes are taken for which others: a table, a picture, and the worst pairs with their clips."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_WORST, _CLIPS = 10, 5  # pairs, and clips of each
_LEGIBLE = 60  # classes with their names at the axes
_WITH_COUNTS = 12  # and with a number in each cell


def worst_confused(
    targets: Sequence[int],
    predictions: Sequence[int],
    names: Sequence[str],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """The pairs of a class and another that it was most often taken for.

    Returns
    -------
    list[dict[str, Any]]
        Of each pair the ``class``, what it was ``taken_for``, in how many ``clips`` ``of`` all of that class,
        and some of their ``names``.

    Example
    -------
    >>> worst_confused([0, 0, 1], [0, 1, 1], ["a", "b", "c"], ["dog", "fox"])
    [{'class': 'dog', 'taken_for': 'fox', 'clips': 1, 'of': 2, 'names': ['b']}]
    """
    wrong: dict[tuple[int, int], list[str]] = defaultdict(list)
    for target, prediction, name in zip(targets, predictions, names, strict=True):
        if target != prediction:
            wrong[target, prediction].append(name)
    ranked = sorted(wrong.items(), key=lambda item: (-len(item[1]), item[0]))[:_WORST]
    return [
        {
            "class": labels[target],
            "taken_for": labels[prediction],
            "clips": len(clips),
            "of": list(targets).count(target),
            "names": sorted(clips)[:_CLIPS],
        }
        for (target, prediction), clips in ranked
    ]


def pooled(runs: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The worst pairs over several runs, of which each names its own.

    Returns
    -------
    list[dict[str, Any]]
        As of `worst_confused`; ``clips`` and ``of`` are sums over the ``runs`` that name the pair, so that in
        others it may have been confused, too, if less.

    Example
    -------
    >>> first = worst_confused([0, 0, 1], [0, 1, 1], ["a", "b", "c"], ["dog", "fox"])
    >>> pooled([first, first, []])
    [{'class': 'dog', 'taken_for': 'fox', 'clips': 2, 'of': 4, 'names': ['b'], 'runs': 2}]
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for pairs in runs:
        for pair in pairs:
            found[pair["class"], pair["taken_for"]].append(pair)
    merged: list[dict[str, Any]] = [
        {
            "class": target,
            "taken_for": prediction,
            "clips": sum(pair["clips"] for pair in pairs),
            "of": sum(pair["of"] for pair in pairs),
            "names": sorted({name for pair in pairs for name in pair["names"]})[:_CLIPS],
            "runs": sum(pair.get("runs", 1) for pair in pairs),
        }
        for (target, prediction), pairs in found.items()
    ]
    ranked = sorted(merged, key=lambda pair: (-pair["clips"], pair["class"], pair["taken_for"]))
    return ranked[:_WORST]


def write_confusion(
    folder: str | Path,
    targets: Sequence[int],
    predictions: Sequence[int],
    labels: Sequence[str],
) -> None:
    """Write ``confusion.csv`` and ``confusion.png``: a row a class, a column what it was taken for."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(targets, predictions, labels=range(len(labels)))
    with (Path(folder) / "confusion.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *labels])
        writer.writerows([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))
    _draw(counts, labels, Path(folder) / "confusion.png")


def _draw(counts: np.ndarray, labels: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(3 + 0.25 * len(labels), 14)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the class", shrink=0.8)
    axes.set(xlabel="taken for", ylabel="class")
    if len(labels) <= _LEGIBLE:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= _WITH_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=120)
