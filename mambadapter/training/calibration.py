"""Calibrate a trained classifier on validation data, and choose when a clip is none of its classes."""

import logging
from typing import Any

import numpy as np
from scipy.special import softmax

from mambadapter.inference.calibration import UNKNOWN, WRONG, Calibration, rates
from mambadapter.metrics.calibration import (
    BINS,
    choose_threshold,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
    rejected_interval,
    share_interval,
)

logger = logging.getLogger(__name__)

# Shares that others may want to reject of the clips that are classified right, in per cent.
_PERCENT = (1, 2, 5, 10, 20, 40)


def calibrate(
    logits: np.ndarray, targets: np.ndarray, unknown: np.ndarray | None = None
) -> tuple[Calibration, dict[str, Any]]:
    """Find the temperature and the threshold of a classifier.

    The threshold is the highest that rejects at most 5 % of the validation clips that are classified right.
    Such clips every corpus has; errors, which an equal error rate would need as well, few or none, and never
    all that will come from elsewhere. So the threshold depends on neither, and `unknown` clips measure it
    without having chosen it.

    Parameters
    ----------
    logits : ndarray
        (N, classes), of validation clips.
    targets : ndarray
        (N,) their classes.
    unknown : ndarray, optional
        (M, classes), of clips of none of the classes.

    Returns
    -------
    Calibration
        What a package keeps.
    dict[str, Any]
        That, with 95 % intervals, the rates at further thresholds, and calibration error and cross-entropy
        before and after; for ``result.json``.
    """
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
    temperature = fit_temperature(logits, targets)
    hits = logits.argmax(1) == targets
    before, after = softmax(logits, axis=1).max(1), _confidences(logits, temperature.value)
    right, wrong = after[hits], after[~hits]
    others = wrong if unknown is None else _confidences(unknown, temperature.value)
    threshold = choose_threshold(right) if len(right) else None
    rejected = None if threshold is None else int((right < threshold).sum())
    accepted = None if threshold is None else int((others >= threshold).sum())
    kept = Calibration(
        temperature=temperature.value,
        clips=len(targets),
        threshold=threshold,
        false_reject=_share(rejected, len(right)),
        false_reject_clips=len(right),
        false_accept=_share(accepted, len(others)),
        false_accept_clips=len(others),
        false_accept_of=WRONG if unknown is None else UNKNOWN,
    )
    told: dict[str, Any] = {
        **kept.to_dict(),
        "temperature_low": temperature.low,
        "temperature_high": temperature.high,
        "calibration_error_before": expected_calibration_error(before, hits),
        "calibration_error": expected_calibration_error(after, hits),
        "calibration_error_bins": BINS,
        "cross_entropy_before": cross_entropy(logits, targets),
        "cross_entropy": cross_entropy(logits / temperature.value, targets),
    }
    if rejected is not None:
        told |= _ends("false_reject", rejected_interval(rejected, kept.false_reject_clips))
    if accepted is not None and len(others):
        told |= _ends("false_accept", share_interval(accepted, len(others)))
    told["thresholds"] = _alternatives(right, others)
    _say(told)
    return kept, told


def _alternatives(right: np.ndarray, others: np.ndarray) -> list[dict[str, float | None]]:
    """What further thresholds would do."""
    found = dict.fromkeys(choose_threshold(right, one) for one in _PERCENT if len(right))
    return [
        {
            "threshold": one,
            "false_reject": _share(int((right < one).sum()), len(right)),
            "false_accept": _share(int((others >= one).sum()), len(others)),
        }
        for one in found
    ]


def _confidences(logits: np.ndarray, temperature: float) -> np.ndarray:
    return softmax(np.asarray(logits, np.float64) / temperature, axis=1).max(1)


def _share(count: int | None, of: int) -> float | None:
    return None if count is None or not of else count / of


def _ends(name: str, interval: tuple[float, float]) -> dict[str, float]:
    return dict(zip((f"{name}_low", f"{name}_high"), interval, strict=True))


def _say(told: dict[str, Any]) -> None:
    low, high = told["temperature_low"], told["temperature_high"]
    between = "no interval" if low is None else f"95 % interval {low:.2f} to {high:.2f}"
    logger.info(
        "Calibrated on %d validation clips: temperature %.2f (%s), calibration error %.1f %% to %.1f %%.",
        told["clips"], told["temperature"], between,
        100 * told["calibration_error_before"], 100 * told["calibration_error"],
    )  # fmt: skip
    if told["threshold"] is None:
        logger.warning(
            "No validation clip is classified right, so no threshold tells what is none of the classes."
        )
        return
    said = "; ".join(f"{name} {value}" for name, value in rates(told))
    more = (
        ""
        if told["false_accept_of"] == UNKNOWN
        else "; --unknown_folder measures it on clips of no class"
    )
    logger.info("None of these below %.3f: %s%s.", told["threshold"], said, more)
