"""The loss of a model that has learnt nothing, to tell runs that do not learn."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
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

    Attributes
    ----------
    weights : Sequence[float] or None
        (classes,), those of the loss.

    Example
    -------
    >>> prior = PriorLoss()
    >>> prior.add([0, 0, 0, 1])
    >>> prior.weights = [1, 3]
    >>> prior.loss == math.log(2)
    True
    """

    def __init__(self) -> None:
        self.weights: Sequence[float] | None = None
        self._counts: Counter = Counter()

    def add(self, targets: Iterable[Any]) -> None:
        """Count targets of training: classes, characters or tokens."""
        self._counts.update(targets)

    @property
    def loss(self) -> float | None:
        """In nats per target; None where nothing was counted."""
        counts = [
            n if self.weights is None else n * self.weights[target]
            for target, n in sorted(self._counts.items())
        ]
        total = sum(counts)
        if not total:
            return None
        return -sum(n / total * math.log(n / total) for n in counts if n)

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

    Its `weights` are those of clips that have a label.

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
        loss = 0.0
        for label in range((max(self._counts) + 2) // 2):
            weight = 1.0 if self.weights is None else self.weights[label]
            counts = [self._counts[2 * label], weight * self._counts[2 * label + 1]]
            loss -= sum(n * math.log(n / sum(counts)) for n in counts if n)
        return loss / total
