"""A mean over runs and how far to trust it."""

from collections.abc import Sequence
from statistics import mean, stdev

from scipy.stats import t as student


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % confidence interval by Student's t.

    Parameters
    ----------
    values : Sequence[float]
        One a run; of a single run nothing is known of the width.

    Returns
    -------
    mean, half : float
        `half` is nan for one value.

    Example
    -------
    >>> centre, half = mean_and_half_width([0.5, 0.6, 0.7])
    >>> round(centre, 3), round(half, 3)
    (0.6, 0.248)
    """
    if len(values) < 2:
        return mean(values), float("nan")
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean(values), float(half)
