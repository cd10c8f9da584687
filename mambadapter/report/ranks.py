"""Ranks of methods over tasks, and how far apart they must be (Demšar 2006, JMLR 7)."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, rankdata, studentized_range

from mambadapter.metrics.names import HEADLINES
from mambadapter.report.collect import Collection

_ALPHA = 0.05

# Fewer methods, or tasks, than this make no ranking.
_FEWEST = 3


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of methods over tasks.

    Attributes
    ----------
    ranks : Mapping[str, float]
        By method; 1 is the best.
    tasks : int
        Over how many.
    left_out : tuple[str, ...]
        Methods that some task lacks.
    """

    ranks: Mapping[str, float]
    tasks: int
    left_out: tuple[str, ...] = ()

    @property
    def p(self) -> float:
        """Friedman's: how often methods that do not differ would have ranks as far apart."""
        methods = len(self.ranks)
        spread = sum((rank - (methods + 1) / 2) ** 2 for rank in self.ranks.values())
        statistic = 12 * self.tasks / (methods * (methods + 1)) * spread
        return float(chi2.sf(statistic, methods - 1))

    @property
    def caption(self) -> str:
        """How its picture is read."""
        names = ", ".join(self.left_out)
        lacking = f" Without a rank, as not run on every task: {names}." if names else ""
        return (
            "Mean ranks over tasks, of each the mean over its budgets; 1 is the best. Methods that a red bar "
            "joins are not significantly apart (Nemenyi's critical difference at 0.05; Demšar 2006). Tasks "
            f"that share recordings are not independent, and make that difference too small.{lacking}"
        )

    @property
    def critical_difference(self) -> float:
        """Mean ranks that differ by less are not significantly apart (Nemenyi 1963)."""
        methods = len(self.ranks)
        quantile = studentized_range.ppf(1 - _ALPHA, methods, math.inf) / math.sqrt(2)
        return float(quantile * math.sqrt(methods * (methods + 1) / (6 * self.tasks)))

    def groups(self) -> list[list[str]]:
        """The largest sets of neighbours that are not significantly apart, the best first.

        All, where Friedman's test finds no difference among them: then none is looked for between two.
        """
        names = sorted(self.ranks, key=self.ranks.__getitem__)
        if self.p >= _ALPHA:
            return [names]
        groups: list[list[str]] = []
        for start, name in enumerate(names):
            reach = self.ranks[name] + self.critical_difference
            group = [other for other in names[start:] if self.ranks[other] <= reach]
            if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
                groups.append(group)
        return groups


def rank(*collections: Collection) -> Ranking | None:
    """Rank the methods that all tasks of these collections have; None where there are too few of either.

    A task of fewer than three methods has no say. A method is ranked by its mean over seeds and folds, and
    where a task was run at several budgets, by its mean rank over those at which it has all these methods:
    budgets are not independent of one another, as the test wants tasks to be. Where methods have budgets,
    those without one have no place in the comparison.
    """
    tasks = [
        budgets
        for collection in collections
        for budgets in _scores(collection).values()
        if len(_methods(budgets)) >= _FEWEST
    ]
    if len(tasks) < _FEWEST:
        return None
    methods = sorted(set.intersection(*map(_methods, tasks)))
    whole = [
        [
            [each[name] for name in methods]
            for each in budgets.values()
            if each.keys() >= set(methods)
        ]
        for budgets in tasks
    ]
    places = [rankdata(task, axis=1).mean(0) for task in whole if task]
    if len(methods) < _FEWEST or len(places) < _FEWEST:
        return None
    means = map(float, np.mean(places, axis=0))
    return Ranking(
        dict(zip(methods, means, strict=True)),
        len(places),
        tuple(sorted(set().union(*map(_methods, tasks)) - set(methods))),
    )


def _methods(budgets: Mapping[int | None, Mapping[str, float]]) -> set[str]:
    """Of a task, those that it was run with at some budget."""
    return set().union(*budgets.values())


def _scores(collection: Collection) -> dict[tuple, dict[int | None, dict[str, float]]]:
    """Less is better; by task, budget and method."""
    budgets = "adapter_budget" in collection.columns
    sign = -1 if HEADLINES.get(collection.metric, True) else 1
    scores: dict[tuple, dict[int | None, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in collection.cells:
        budget = collection.budget_of(cell)
        if budget is not None or not budgets:
            score = sign * cell.summary(collection.metric)[0]
            scores[collection.task_of(cell)][budget][collection.method_of(cell)] = score
    return scores
