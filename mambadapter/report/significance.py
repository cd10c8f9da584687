"""Which methods really differ: paired tests on the same seeds and folds, corrected for their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import ttest_rel

from mambadapter.report.collect import Cell


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


def compare(cells: Sequence[Cell], metric: str) -> list[Comparison]:
    """Compare every two cells that share at least two repetitions."""
    found = []
    for one, other in combinations(cells, 2):
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


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, by Holm's step-down method."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = largest
    return corrected
