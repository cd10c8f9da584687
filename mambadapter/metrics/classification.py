"""Classification metrics with their uncertainty."""

from collections.abc import Sequence

from scipy.stats import binomtest


def classification_metrics(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy with a 95 % confidence interval, and macro-F1."""
    from sklearn.metrics import f1_score  # half a second that no recipe's start should wait for

    hits = sum(t == p for t, p in zip(targets, predictions, strict=True))
    interval = binomtest(hits, len(targets)).proportion_ci(method="wilson")
    return {
        "accuracy": hits / len(targets),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "macro_f1": float(f1_score(targets, predictions, average="macro", zero_division=0)),
        "clips": len(targets),
    }
