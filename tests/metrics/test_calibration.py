"""One temperature and one threshold: against grids, loops and simulations in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import cases

from mambadapter.inference.calibration import Calibration, probabilities
from mambadapter.metrics.calibration import (
    HIGHEST,
    LOWEST,
    choose_threshold,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
    rejected_interval,
    share_interval,
)
from mambadapter.training.calibration import calibrate


def drawn(clips, classes, temperature, seed=0):
    """Logits whose softmax at a temperature is the truth that the targets are drawn from."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (clips, classes))
    shares = F.softmax(torch.from_numpy(logits / temperature), -1).numpy()
    return logits, np.array([generator.choice(classes, p=row) for row in shares])


@pytest.mark.parametrize(("classes", "temperature"), [(2, 3.0), (5, 0.4), (30, 1.0), (8, 1.7)])
def test_the_temperature_is_that_of_a_grid(classes, temperature):
    logits, targets = drawn(300, classes, temperature)
    grid = np.exp(np.linspace(np.log(LOWEST), np.log(HIGHEST), 2000))
    tensor, wanted = torch.from_numpy(logits), torch.from_numpy(targets)
    losses = [F.cross_entropy(tensor / one, wanted).item() for one in grid]
    fit = fit_temperature(logits, targets)
    assert fit.value == pytest.approx(grid[np.argmin(losses)], rel=4e-3)
    assert cross_entropy(logits / fit.value, targets) <= min(losses)
    assert fit.low < temperature < fit.high


def test_its_interval_is_as_wide_as_the_bootstrap_says():
    logits, targets = drawn(250, 4, 2.0, seed=1)
    generator = np.random.default_rng(0)
    again = []
    for _ in range(300):
        rows = generator.integers(250, size=250)
        again.append(np.log(fit_temperature(logits[rows], targets[rows]).value))
    fit = fit_temperature(logits, targets)
    assert np.log(fit.high / fit.value) == pytest.approx(1.96 * np.std(again), rel=0.15)
    assert fit.value / fit.low == pytest.approx(fit.high / fit.value)


def test_nothing_is_learnt_where_there_is_nothing_to_learn_from():
    """All right: the loss falls for ever. Worse than chance: it has its least at no certainty at all."""
    logits, _ = drawn(20, 3, 1.0)
    right = fit_temperature(logits, logits.argmax(1))
    assert (right.value, right.low, right.high) == (1.0, None, None)
    wrong = fit_temperature(logits, logits.argmin(1))
    assert (wrong.value, wrong.low) == (HIGHEST, None)
    slips = 1e-3 * logits
    targets = slips.argmax(1)
    slips[0] = [0, 0, 1e-3]
    targets[0] = 0
    assert fit_temperature(slips, targets).value == LOWEST


def test_calibration_error_is_the_sum_over_bins():
    generator = np.random.default_rng(0)
    confidences = np.append(generator.uniform(0.1, 1, 500), [1.0, 1.0])
    hits = generator.uniform(size=502) < confidences**2
    total = 0.0
    for place in range(15):
        inside = [
            (confidence, hit)
            for confidence, hit in zip(confidences, hits, strict=True)
            if place / 15 <= confidence < (place + 1) / 15 or (place == 14 and confidence == 1)
        ]
        if inside:
            sure = sum(confidence for confidence, _ in inside) / len(inside)
            right = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / 502 * abs(sure - right)
    assert expected_calibration_error(confidences, hits) == pytest.approx(total, abs=1e-12)


CONFIDENCES = st.lists(st.integers(1, 1000).map(lambda one: one / 1000), min_size=1, max_size=80)


@cases(100)
@given(CONFIDENCES)
def test_no_higher_threshold_rejects_as_few(confidences):
    right = np.array(confidences)
    threshold = choose_threshold(right)
    assert np.mean(right < threshold) <= 0.05
    higher = right[right > threshold]
    assert not len(higher) or np.mean(right < higher.min()) > 0.05


@cases(50)
@given(CONFIDENCES, CONFIDENCES)
def test_a_higher_threshold_accepts_and_keeps_less(right, raised):
    """More confident clips have a threshold that is no lower."""
    right = np.array(right)
    more = np.maximum(right, np.resize(raised, len(right)))
    assert choose_threshold(more) >= choose_threshold(right)


def test_intervals_hold_what_they_say():
    """Of clips drawn again and again, 95 % have the true share below their threshold in the interval."""
    generator = np.random.default_rng(0)
    held = []
    for _ in range(1000):
        threshold = choose_threshold(generator.uniform(size=67))  # which is the share below it
        low, high = rejected_interval(3, 67)
        held.append(low <= threshold <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    assert share_interval(0, 20) == pytest.approx((0, 0.161), abs=1e-3)


def test_rates_are_counted_on_the_clips_that_they_name():
    logits, targets = drawn(400, 4, 2.0)
    hits = logits.argmax(1) == targets
    kept, told = calibrate(logits, targets)
    sure = F.softmax(torch.from_numpy(logits / kept.temperature), -1).amax(-1).numpy()
    assert kept.false_reject == np.mean(sure[hits] < kept.threshold) <= 0.05
    assert kept.false_accept == np.mean(sure[~hits] >= kept.threshold)
    assert (kept.false_reject_clips, kept.false_accept_clips) == (hits.sum(), (~hits).sum())
    assert kept.false_accept_of == "wrong"
    assert told["calibration_error"] < told["calibration_error_before"]
    assert told["cross_entropy"] < told["cross_entropy_before"]
    assert told["false_accept_low"] < kept.false_accept < told["false_accept_high"]
    assert Calibration.fits(kept.to_dict())
    each = told["thresholds"]
    for name, reverse in (("threshold", False), ("false_reject", False), ("false_accept", True)):
        values = [one[name] for one in each]
        assert values == sorted(values, reverse=reverse)
    assert {name: getattr(kept, name) for name in each[0]} == each[2]

    others = np.random.default_rng(2).normal(0, 1, (50, 4))
    unknown, _ = calibrate(logits, targets, others)
    sure = F.softmax(torch.from_numpy(others / kept.temperature), -1).amax(-1).numpy()
    assert unknown.threshold == kept.threshold  # they measure it and do not choose it
    assert unknown.false_accept == np.mean(sure >= kept.threshold)
    assert (unknown.false_accept_clips, unknown.false_accept_of) == (50, "unknown")


def test_a_classifier_that_is_never_right_has_no_threshold(caplog):
    logits, _ = drawn(6, 3, 1.0)
    kept, told = calibrate(logits, logits.argmin(1))
    assert (kept.threshold, kept.false_reject, kept.false_accept) == (None, None, None)
    assert Calibration.fits(kept.to_dict())
    assert "false_reject_low" not in told
    assert told["thresholds"] == []
    assert "No validation clip is classified right" in caplog.text


@pytest.mark.parametrize("temperature", [LOWEST, 0.7, 3.0, HIGHEST])
def test_the_likeliest_class_stays(temperature):
    """Also of logits that float32 would make alike."""
    logits = torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 40
    kept = Calibration(temperature, 9, 0.5, 0.0, 9, None, 0)
    found = probabilities(logits, kept)
    assert torch.equal(found.argmax(-1), logits.argmax(-1))
    assert torch.equal(found.argsort(-1)[:, -1], logits.argsort(-1)[:, -1])
    torch.testing.assert_close(found, F.softmax(logits.double() / temperature, -1))
