"""Whether a run learns: its training loss beside that of a model that knows nothing of its input."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Of the prior's loss: what rises above the first has fallen, and has come back below the second. Of the runs
# saved in this repository those that came back end below a hundredth; destroyed ones, which tell a handful
# of classes apart, at 0.77 and 0.86.
_FALLEN, _RECOVERED = 1.02, 0.75


def first_epochs(epochs: int) -> int:
    """After how many of a run's epochs it should do better than the prior: a fifth, and two if it has them.

    Example
    -------
    >>> first_epochs(1), first_epochs(3), first_epochs(50)
    (1, 2, 10)
    """
    return min(epochs, max(2, math.ceil(epochs / 5)))


def learns(epoch: Mapping[str, Any], share: float = 1.0) -> bool:
    """Whether an epoch's training loss is below a share of that of a model that ignores its input."""
    train = epoch.get("train", {})
    return train.get("loss", 0.0) < share * train.get("prior_loss", math.inf)


def learned(epochs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run's last epoch learns; by a quarter at least, if its loss had risen above the prior's.

    That is, in an epoch after the first ones, or after one that did learn.

    Example
    -------
    >>> losses = [3.3, 3.4, 4.0, 4.0, 3.4, 3.1]  # at too high a rate
    >>> epochs = [{"train": {"loss": loss, "prior_loss": 3.43}} for loss in losses]
    >>> learned(epochs), learned(epochs[:2])
    (False, True)
    """
    if not epochs:
        return True
    begun = next((place for place, epoch in enumerate(epochs) if learns(epoch)), len(epochs))
    # From where a run is warned of, too: one that was above the prior there was destroyed before it began.
    since = min(begun, first_epochs(len(epochs)) - 1)
    fell = any(not learns(epoch, _FALLEN) for epoch in epochs[since:])
    return learns(epochs[-1], _RECOVERED if fell else 1.0)
