"""The loss of a model that has learnt nothing, to tell runs that do not learn."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)


@register_checkpoint_hooks
class PriorLoss:
    """Cross-entropy of predicting every target by how often it occurs, whatever the input.

    A SpeechBrain recoverable: a run that was resumed within an epoch knows what it saw before.

    Example
    -------
    >>> prior = PriorLoss()
    >>> prior.add([0, 1, 1, 0])
    >>> prior.loss == math.log(2)
    True
    """

    def __init__(self) -> None:
        self._counts: Counter = Counter()

    def add(self, targets: Iterable[Any]) -> None:
        """Count targets of training: classes, characters or tokens."""
        self._counts.update(targets)

    @property
    def loss(self) -> float | None:
        """In nats per target; None where nothing was counted."""
        total = self._counts.total()
        if not total:
            return None
        return -sum(n / total * math.log(n / total) for _, n in sorted(self._counts.items()))

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write the counts."""
        Path(path).write_text(json.dumps(sorted(self._counts.items())), encoding="utf-8")

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read them back."""
        self._counts = Counter(dict(json.loads(Path(path).read_text(encoding="utf-8"))))


class BinaryPriorLoss(PriorLoss):
    """Binary cross-entropy of predicting every label by how often it occurs, a mean over labels.

    Example
    -------
    >>> prior = BinaryPriorLoss()
    >>> prior.add([[1, 0], [1, 1]])
    >>> prior.loss == math.log(2) / 2
    True
    """

    def add(self, targets: Iterable[Any]) -> None:
        """Count rows of training: for each label 1 or 0."""
        for row in targets:
            self._counts.update(2 * place + int(has) for place, has in enumerate(row))

    @property
    def loss(self) -> float | None:
        """In nats per label of a clip; None where nothing was counted."""
        total = self._counts.total()
        if not total:
            return None
        clips = self._counts[0] + self._counts[1]
        return -sum(n * math.log(n / clips) for _, n in sorted(self._counts.items()) if n) / total


def first_epochs(epochs: int) -> int:
    """After how many of a run's epochs it should do better than the prior: a fifth, and at least two.

    Example
    -------
    >>> first_epochs(3), first_epochs(50)
    (2, 10)
    """
    return max(2, math.ceil(epochs / 5))
