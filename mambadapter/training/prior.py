"""The loss of a model that has learnt nothing, to tell runs that do not learn."""

import math
from collections import Counter
from collections.abc import Iterable


class PriorLoss:
    """Cross-entropy of predicting every target by how often it occurs, whatever the input.

    Example
    -------
    >>> prior = PriorLoss()
    >>> prior.add(["yes", "no", "no", "yes"])
    >>> prior.loss == math.log(2)
    True
    """

    def __init__(self) -> None:
        self._counts: Counter = Counter()

    def add(self, targets: Iterable) -> None:
        """Count targets of training: classes, characters or tokens."""
        self._counts.update(targets)

    @property
    def loss(self) -> float | None:
        """In nats per target; None where nothing was counted."""
        total = self._counts.total()
        if not total:
            return None
        return -sum(n / total * math.log(n / total) for n in self._counts.values())


def first_epochs(epochs: int) -> int:
    """After how many of a run's epochs it should do better than the prior: a fifth, and at least two.

    Example
    -------
    >>> first_epochs(3), first_epochs(50)
    (2, 10)
    """
    return max(2, math.ceil(epochs / 5))
