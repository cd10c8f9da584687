"""A mean over runs and how far to trust it."""

from collections.abc import Sequence
from statistics import mean, stdev

from scipy.stats import t as student


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % confidence interval by Student's t."""
    if len(values) < 2:
        return mean(values), float("nan")
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean(values), float(half)
