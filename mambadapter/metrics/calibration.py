"""How far a classifier's probabilities can be believed, and the mend: one temperature for all of them."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax
from scipy.stats import beta, binomtest

BINS = 15

# Between which a temperature is looked for.
LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Temperature:
    """By what logits are divided.

    Attributes
    ----------
    value : float
        The temperature; above 1 the classifier was too sure of itself.
    low, high : float or None
        Its 95 % interval, None where there is none: no clip is wrong, or the value is at a bound.
    """

    value: float
    low: float | None = None
    high: float | None = None


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> Temperature:
    """Find the temperature with the smallest cross-entropy (Guo et al. 2017, arXiv 1706.04599).

    In its inverse the loss is convex, so its slope has one zero. Where the highest logit is always right the
    loss falls without end as the temperature does, and nothing says where to stop: it stays 1.

    Parameters
    ----------
    logits : ndarray
        (N, classes).
    targets : ndarray
        (N,) indices of classes.

    Returns
    -------
    Temperature
        Its interval is of the M-estimator (White 1982), on the scale of its logarithm.

    Example
    -------
    >>> sure = np.array([[4.0, 0.0]] * 10)  # 98 % sure, and right in 8 of 10
    >>> fit = fit_temperature(sure, np.array([0] * 8 + [1] * 2))
    >>> round(fit.value, 2), round(float(softmax(sure[0] / fit.value)[0]), 2)
    (2.89, 0.8)
    """
    logits = np.asarray(logits, np.float64)
    of_target = logits[np.arange(len(logits)), targets]
    if np.all(of_target >= logits.max(1)):
        return Temperature(1.0)

    def slopes(inverse: float) -> np.ndarray:  # of each clip's loss
        return (softmax(inverse * logits, axis=1) * logits).sum(1) - of_target

    if slopes(1 / HIGHEST).mean() >= 0:
        return Temperature(HIGHEST)
    if slopes(1 / LOWEST).mean() <= 0:
        return Temperature(LOWEST)
    inverse = float(brentq(lambda one: slopes(one).mean(), 1 / HIGHEST, 1 / LOWEST, xtol=1e-12))
    shares = softmax(inverse * logits, axis=1)
    means = (shares * logits).sum(1, keepdims=True)
    curvature = (shares * (logits - means) ** 2).sum()
    error = np.sqrt((slopes(inverse) ** 2).sum()) / curvature / inverse
    value = 1 / inverse
    return Temperature(
        value, float(value * np.exp(-1.96 * error)), float(value * np.exp(1.96 * error))
    )


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood of (N,) targets under (N, classes) logits."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(logits)), targets].mean())


def expected_calibration_error(
    confidences: np.ndarray, hits: np.ndarray, bins: int = BINS
) -> float:
    """How far confidence and accuracy are apart, a mean over bins of equal width by their clips (Guo et al.).

    Parameters
    ----------
    confidences : ndarray
        (N,) highest probabilities.
    hits : ndarray
        (N,) whether that class was right.
    bins : int
        How many.

    Example
    -------
    >>> round(expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])), 3)
    0.4
    """
    confidences, hits = np.asarray(confidences, np.float64), np.asarray(hits, np.float64)
    place = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(place, confidences - hits, bins)
    return float(np.abs(gaps).sum() / len(confidences))


def choose_threshold(right: np.ndarray, percent: int = 5) -> float:
    """The highest threshold that rejects at most so many of the clips that are classified right.

    Parameters
    ----------
    right : ndarray
        (N,) their confidences, of at least one.
    percent : int
        Below 100.

    Example
    -------
    >>> round(choose_threshold(np.linspace(0.01, 1, 100)), 2)
    0.06
    """
    return float(np.sort(right)[percent * len(right) // 100])


def share_interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's score."""
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def rejected_interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of the share below a threshold that is the next after the `count` lowest of so many.

    Whatever their distribution, of all the share below the (k+1)th lowest of n is Beta(k+1, n-k) (Wilks
    1941).

    Example
    -------
    >>> [round(end, 3) for end in rejected_interval(0, 5)]
    [0.005, 0.522]
    """
    return tuple(float(end) for end in beta.ppf([0.025, 0.975], count + 1, of - count))  # type: ignore[return-value]
