"""Classification metrics with their uncertainty."""

from collections.abc import Sequence

from scipy.stats import binomtest


def classification_metrics(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy with a 95 % confidence interval; macro-F1 and balanced accuracy count classes alike."""
    from sklearn.metrics import (  # half a second that no recipe's start should wait for
        f1_score,
        recall_score,
    )

    hits = sum(t == p for t, p in zip(targets, predictions, strict=True))
    interval = binomtest(hits, len(targets)).proportion_ci(method="wilson")
    return {
        "accuracy": hits / len(targets),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "macro_f1": float(f1_score(targets, predictions, average="macro", zero_division=0)),
        "balanced_accuracy": float(
            # of the classes that are there, as scikit-learn's balanced_accuracy_score, which warns of others
            recall_score(targets, predictions, labels=sorted({*targets}), average="macro")
        ),
        "clips": len(targets),
    }
