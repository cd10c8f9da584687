"""Which methods really differ: paired tests on the same seeds and folds, corrected for their number."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import ttest_1samp

from mambadapter.errors import UserError, did_you_mean
from mambadapter.metrics.intervals import mean_and_half_width
from mambadapter.report.collect import Cell, Collection


@dataclass(frozen=True)
class Comparison:
    """Two cells on the runs that both have."""

    one: Cell
    other: Cell
    pairs: int  # seeds that both have; of one seed, its folds
    difference: float  # mean of the first less that of the second
    half_width: float  # of its 95 % interval, by Student's t
    # Of a paired t-test; nan where every pair differs by the same, of which the test says nothing.
    p: float
    # By Holm's method over all comparisons of the report that have a p (Holm 1979).
    p_corrected: float


def compare(collection: Collection, against: str | None = None) -> list[Comparison]:
    """Compare every two cells of one task that share at least two seeds, or of one seed two folds.

    Of each seed it is the mean over the folds that both have: folds of a seed are no samples of their own.
    With `against`, the name of a method, its cells alone are compared, each with the other methods' at its
    budget. That is far fewer comparisons to correct for; name it before the scores are seen.
    """
    return compare_cells(_pairs(collection, against), collection.metric)


def compare_cells(pairs: Iterable[tuple[Cell, Cell]], metric: str) -> list[Comparison]:
    """The same of these pairs alone."""
    found = []
    for one, other in pairs:
        differences = _paired(one, other, metric)
        if len(differences) < 2:
            continue
        varied = len({round(value, 12) for value in differences}) > 1
        p = float(ttest_1samp(differences, 0).pvalue) if varied else float("nan")
        found.append((one, other, len(differences), *mean_and_half_width(differences), p))
    tested = [row for row in found if row[-1] == row[-1]]
    corrected = holm([p for *_, p in tested])
    comparisons = [Comparison(*row, p) for row, p in zip(tested, corrected, strict=True)]
    untested = [Comparison(*row, float("nan")) for row in found if row[-1] != row[-1]]
    return sorted(comparisons, key=lambda comparison: comparison.p) + untested


def _paired(one: Cell, other: Cell, metric: str) -> list[float]:
    """By how much the first is above the second, of each seed that both have; of one seed, of each fold."""
    shared = {run.repetition for run in one.runs} & {run.repetition for run in other.runs}
    first, second = (
        Cell(cell.labels, tuple(run for run in cell.runs if run.repetition in shared)).samples(
            metric
        )
        for cell in (one, other)
    )
    return [first[key] - second[key] for key in first]


def _pairs(collection: Collection, against: str | None) -> Iterator[tuple[Cell, Cell]]:
    methods = {collection.method_of(cell) for cell in collection.cells}
    if against is not None and against not in methods:
        raise UserError(f"No run is of '{against}'; {did_you_mean(against, methods)}.")
    for pair in combinations(collection.cells, 2):
        if len({collection.task_of(cell) for cell in pair}) > 1:
            continue
        if against is None:
            yield pair
        elif len({collection.budget_of(cell) for cell in pair}) == 1:
            of = [collection.method_of(cell) == against for cell in pair]
            if of == [True, False]:
                yield pair
            elif of == [False, True]:
                yield pair[::-1]


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, by Holm's step-down method."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = largest
    return corrected
