"""Which methods really differ: paired tests on the same seeds and folds, corrected for their number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import ttest_rel

from mambadapter.errors import UserError, did_you_mean
from mambadapter.report.collect import Cell, Collection


@dataclass(frozen=True)
class Comparison:
    """Two cells on the runs that both have."""

    one: Cell
    other: Cell
    pairs: int  # seeds and folds that both have
    difference: float  # mean of the first less that of the second
    # Of a paired t-test; nan where every pair differs by the same, of which the test says nothing.
    p: float
    # By Holm's method over all comparisons of the report that have a p (Holm 1979).
    p_corrected: float


def compare(collection: Collection, against: str | None = None) -> list[Comparison]:
    """Compare every two cells of one task that share at least two repetitions.

    With `against`, the name of a method, its cells alone are compared, each with the other methods' at its
    budget. That is far fewer comparisons to correct for; name it before the scores are seen.
    """
    metric, found = collection.metric, []
    for one, other in _pairs(collection, against):
        scores = [{run.repetition: run.score(metric) for run in cell.runs} for cell in (one, other)]
        shared = [key for key in scores[0] if key in scores[1]]
        if len(shared) < 2:
            continue
        first, second = ([of[key] for key in shared] for of in scores)
        difference = sum(first) / len(first) - sum(second) / len(second)
        spread = {round(a - b, 12) for a, b in zip(first, second, strict=True)}
        p = float(ttest_rel(first, second).pvalue) if len(spread) > 1 else float("nan")
        found.append((one, other, len(shared), difference, p))
    tested = [row for row in found if row[-1] == row[-1]]
    corrected = holm([p for *_, p in tested])
    comparisons = [Comparison(*row, p) for row, p in zip(tested, corrected, strict=True)]
    untested = [Comparison(*row, float("nan")) for row in found if row[-1] != row[-1]]
    return sorted(comparisons, key=lambda comparison: comparison.p) + untested


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
