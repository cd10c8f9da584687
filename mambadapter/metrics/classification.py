"""Classification metrics with their uncertainty."""

from collections.abc import Sequence

from scipy.stats import binomtest
from sklearn.metrics import f1_score


def classification_metrics(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy with a 95 % confidence interval, and macro-F1.

    Parameters
    ----------
    targets, predictions : Sequence[int]
        Class indices, one a clip.

    Returns
    -------
    dict[str, float]
        ``accuracy``, ``accuracy_low``, ``accuracy_high`` (Wilson's interval, which holds near 0 and
        1 too), ``macro_f1``, all in [0, 1], and ``clips``.

    Example
    -------
    >>> metrics = classification_metrics([0, 0, 1, 1], [0, 0, 1, 0])
    >>> metrics["accuracy"], round(metrics["accuracy_low"], 3), round(metrics["macro_f1"], 3)
    (0.75, 0.301, 0.733)
    """
    hits = sum(t == p for t, p in zip(targets, predictions, strict=True))
    interval = binomtest(hits, len(targets)).proportion_ci(method="wilson")
    return {
        "accuracy": hits / len(targets),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "macro_f1": float(f1_score(targets, predictions, average="macro", zero_division=0)),
        "clips": len(targets),
    }
