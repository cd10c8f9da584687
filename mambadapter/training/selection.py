"""Which of two epochs, or of two learning rates, did better on validation data."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mambadapter.metrics.names import headline

if TYPE_CHECKING:
    from speechbrain.utils.checkpoints import Checkpoint


def validation_rank(metrics: Mapping[str, float]) -> tuple[float, ...]:
    """Order by validation metrics; greater is better.

    Classification: accuracy, of several labels mean average precision; ties by loss. Recognition: word error
    rate, where those above 100 % are all alike; ties, so too while it saturates, by character error rate,
    then loss. What has no metrics, such as a checkpoint within an epoch, comes last.
    """
    loss = metrics.get("loss", float("inf"))
    if "wer" in metrics:
        return -min(metrics["wer"], 1.0), -metrics["cer"], -loss
    name = headline(metrics)
    return float("-inf") if name is None else metrics[name], -loss


def is_ranked(checkpoint: "Checkpoint") -> bool:
    """Whether a checkpoint has validation metrics: it ends an epoch."""
    return headline(checkpoint.meta) is not None


def checkpoint_rank(checkpoint: "Checkpoint") -> tuple[float, ...]:
    """`validation_rank` of a checkpoint."""
    return validation_rank(checkpoint.meta)
