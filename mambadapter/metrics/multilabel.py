"""Metrics of clips with several labels, and the thresholds that turn probabilities into labels.

Targets and probabilities are arrays (clips, classes); targets are 0 or 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Of a class that no validation clip has.
DEFAULT_THRESHOLD = 0.5

_RESAMPLES, _AT_ONCE = 1000, 100


def multilabel_metrics(
    targets: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float]
) -> dict[str, float]:
    """Mean average precision, which no threshold enters, and F1 at the thresholds.

    mAP and macro-F1 are means over the classes that some clip has; micro-F1 counts each label of each clip
    alike, those of other classes too.

    Example
    -------
    >>> found = multilabel_metrics(
    ...     np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.2], [0.4, 0.8]]), [0.5, 0.5]
    ... )
    >>> found["mAP"], round(found["micro_f1"], 3)
    (1.0, 0.8)
    """
    from sklearn.metrics import f1_score

    found = of_each_class(targets, probabilities, thresholds)
    there = [one for one in found if one["clips"]]
    given = probabilities >= np.asarray(thresholds)
    return {
        "mAP": sum(one["average_precision"] for one in there) / len(there),
        "macro_f1": sum(one["f1"] for one in there) / len(there),
        "micro_f1": float(f1_score(targets.ravel(), given.ravel(), zero_division=0)),
        "clips": len(targets),
    }


def of_each_class(
    targets: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    """For each class its clips, threshold, average precision and F1; no scores where it has no clip."""
    from sklearn.metrics import average_precision_score, f1_score

    found: list[dict[str, Any]] = []
    for target, score, threshold in zip(targets.T, probabilities.T, thresholds, strict=True):
        one = {"clips": int(target.sum()), "threshold": threshold}
        if one["clips"]:
            one["average_precision"] = float(average_precision_score(target, score))
            one["f1"] = float(f1_score(target, score >= threshold, zero_division=0))
        found.append(one)
    return found


def mean_average_precision_interval(
    targets: np.ndarray, probabilities: np.ndarray
) -> tuple[float, float]:
    """The 95 % interval of mAP by the basic bootstrap over clips.

    The score of a draw with replacement is the weighted one of all clips, here of many draws at once. Draws
    score too high on the average, as clips that come twice share a rank; the basic bootstrap turns it round.
    """
    generator = np.random.default_rng(0)
    clips = len(targets)

    def scores(weights: np.ndarray) -> np.ndarray:
        of_classes = [
            _weighted_precisions(targets[:, one], probabilities[:, one], weights)
            for one in np.flatnonzero(targets.any(0))
        ]
        return np.nanmean(of_classes, axis=0)

    (score,) = scores(np.ones((1, clips)))
    draws = [
        scores(generator.multinomial(clips, np.full(clips, 1 / clips), size=_AT_ONCE))
        for _ in range(_RESAMPLES // _AT_ONCE)
    ]
    low, high = 2 * score - np.quantile(np.concatenate(draws), [0.975, 0.025])
    return float(max(low, 0)), float(min(high, 1))


def _weighted_precisions(
    targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(R,) average precisions of a class for (R, clips) weights; NaN where those leave no clip of it."""
    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)
    weights = weights[:, order]
    hits = np.cumsum(weights * targets[order], axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return (gained * hits / np.maximum(taken, 1)).sum(1) / hits[:, -1]


def best_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> list[float]:
    """For each class the threshold with the best F1; `DEFAULT_THRESHOLD` of a class that no clip has.

    A clip has the labels whose probabilities are at or above their thresholds. A threshold is midway between
    two probabilities that occur, or between 0 and the lowest; of equally good ones the nearest to 0.5.

    Example
    -------
    >>> best_thresholds(np.array([[1], [0], [1]]), np.array([[0.8], [0.3], [0.5]]))
    [0.4]
    """
    from sklearn.metrics import precision_recall_curve

    thresholds = []
    for target, probability in zip(targets.T, probabilities.T, strict=True):
        if not target.any():
            thresholds.append(DEFAULT_THRESHOLD)
            continue
        precision, recall, taken = precision_recall_curve(target, probability.astype(float))
        precision, recall = precision[:-1], recall[:-1]  # the last is of no clip
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        midway = (taken + np.append(0.0, taken[:-1])) / 2
        best = midway[f1 >= f1.max() - 1e-12]
        thresholds.append(float(min(best, key=lambda one: (abs(one - 0.5), one))))
    return thresholds
