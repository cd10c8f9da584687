"""Ranks of methods over tasks, and how far apart they must be (Demšar 2006, JMLR 7)."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import rankdata, studentized_range

from mambadapter.report.collect import METRICS, Collection

_ALPHA = 0.05

# Fewer methods, or blocks, than this make no ranking.
_FEWEST = 3


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of methods over blocks.

    Attributes
    ----------
    ranks : Mapping[str, float]
        By method; 1 is the best.
    blocks : int
        Over how many: the tasks, each at each budget, that all methods were run on.
    """

    ranks: Mapping[str, float]
    blocks: int

    @property
    def critical_difference(self) -> float:
        """Mean ranks that differ by less are not significantly apart (Nemenyi 1963)."""
        methods = len(self.ranks)
        quantile = studentized_range.ppf(1 - _ALPHA, methods, math.inf) / math.sqrt(2)
        return float(quantile * math.sqrt(methods * (methods + 1) / (6 * self.blocks)))

    def groups(self) -> list[list[str]]:
        """The largest sets of neighbours that are not significantly apart, the best first."""
        names = sorted(self.ranks, key=self.ranks.__getitem__)
        groups: list[list[str]] = []
        for start, name in enumerate(names):
            reach = self.ranks[name] + self.critical_difference
            group = [other for other in names[start:] if self.ranks[other] <= reach]
            if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
                groups.append(group)
        return groups


def rank(collection: Collection) -> Ranking | None:
    """Rank the methods of a collection; None where there are too few, or too few blocks that all were run on.

    What counts in a block is the mean over seeds and folds, for these are not independent of one another.
    """
    scores: dict[tuple, dict[str, float]] = defaultdict(dict)
    for cell in collection.cells:
        block, method = collection.block_of(cell), collection.method_of(cell)
        scores[block][method] = cell.summary(collection.metric)[0]
    methods = sorted({name for block in scores.values() for name in block})
    whole = [block for block in scores.values() if len(block) == len(methods)]
    if len(methods) < _FEWEST or len(whole) < _FEWEST:
        return None
    sign = -1 if METRICS.get(collection.metric, True) else 1
    places = [rankdata([sign * block[name] for name in methods]) for block in whole]
    means = [float(sum(ranks)) / len(whole) for ranks in zip(*places, strict=True)]
    return Ranking(dict(zip(methods, means, strict=True)), len(whole))
