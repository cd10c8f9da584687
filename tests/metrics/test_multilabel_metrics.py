"""Metrics and thresholds of several labels, against scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from mambadapter.metrics.multilabel import (
    DEFAULT_THRESHOLD,
    _weighted_precisions,
    best_thresholds,
    mean_average_precision_interval,
    multilabel_metrics,
    of_each_class,
)


@pytest.fixture(params=[0, 1, 2])
def found(request):
    """Targets and probabilities with ties; the last class has no clip."""
    generator = np.random.default_rng(request.param)
    targets = (generator.random((60, 5)) < [0.1, 0.3, 0.5, 0.9, 0.0]).astype(int)
    probabilities = (0.3 * targets + 0.7 * generator.random((60, 5))).round(1 + request.param)
    return targets, probabilities


def test_scores_are_scikit_learns(found):
    targets, probabilities = found
    thresholds = [0.2, 0.4, 0.5, 0.6, 0.7]
    metrics = multilabel_metrics(targets, probabilities, thresholds)
    given = probabilities >= thresholds
    there = [0, 1, 2, 3]
    assert metrics["mAP"] == pytest.approx(
        average_precision_score(targets[:, there], probabilities[:, there], average="macro")
    )
    assert metrics["macro_f1"] == pytest.approx(
        f1_score(targets[:, there], given[:, there], average="macro")
    )
    assert metrics["micro_f1"] == pytest.approx(f1_score(targets, given, average="micro"))
    assert metrics["clips"] == 60
    each = of_each_class(targets, probabilities, thresholds)
    assert [one["f1"] for one in each[:4]] == pytest.approx(
        f1_score(targets[:, there], given[:, there], average=None)
    )
    assert each[4] == {"clips": 0, "threshold": 0.7}


def harmonic(target, given):
    return 2 * (target * given).sum() / (target.sum() + given.sum())


def test_thresholds_are_those_of_brute_force(found):
    """No threshold at all does better, those found lie apart from every probability, and are the most central."""
    targets, probabilities = found
    thresholds = best_thresholds(targets, probabilities)
    assert thresholds[4] == DEFAULT_THRESHOLD
    for place in range(4):
        target, score = targets[:, place], probabilities[:, place]
        values = np.unique(score)
        midway = (values + np.append(0, values[:-1])) / 2
        f1 = np.array([harmonic(target, score >= one) for one in midway])
        best = midway[np.isclose(f1, f1.max(), rtol=1e-12)]
        assert thresholds[place] in best
        assert abs(thresholds[place] - 0.5) == pytest.approx(np.abs(best - 0.5).min())
        tried = max(harmonic(target, score >= one) for one in np.linspace(0, 1, 1001))
        assert harmonic(target, score >= thresholds[place]) >= tried - 1e-12


def test_weighted_precisions_are_scikit_learns(found):
    targets, probabilities = found
    weights = np.random.default_rng(0).integers(0, 4, (5, 60))
    ours = _weighted_precisions(targets[:, 1], probabilities[:, 1], weights)
    theirs = [
        average_precision_score(targets[:, 1], probabilities[:, 1], sample_weight=row)
        for row in weights
    ]
    np.testing.assert_allclose(ours, theirs)


def test_the_interval_holds_the_score_and_shrinks(found):
    targets, probabilities = found
    score = multilabel_metrics(targets, probabilities, [0.5] * 5)["mAP"]
    low, high = mean_average_precision_interval(targets, probabilities)
    assert low < score < high
    many = np.repeat(targets, 16, 0), np.repeat(probabilities, 16, 0)
    narrow = mean_average_precision_interval(*many)
    assert narrow[1] - narrow[0] < 0.5 * (high - low)
