"""Classes of unequal size, against scikit-learn."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from speechbrain.dataio.dataset import DynamicItemDataset

from mambadapter.data.balance import balanced_sampler, balanced_weights
from mambadapter.metrics.classification import classification_metrics
from mambadapter.metrics.confusion import worst_confused

LABELS = ["a"] * 60 + ["b"] * 12 + ["c"] * 3


@pytest.fixture
def dataset():
    return DynamicItemDataset({str(n): {"label": label} for n, label in enumerate(LABELS)})


def test_weights_are_scikit_learns(dataset):
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=LABELS)
    torch.testing.assert_close(balanced_weights(dataset, ["a", "b", "c"]).double(), torch.tensor(expected), atol=1e-6, rtol=0)  # fmt: skip


def test_the_sampler_draws_all_classes_alike_and_each_epoch_anew(dataset):
    sampler = balanced_sampler(dataset, seed=1)
    epochs = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        epochs.append([*sampler])
    drawn = Counter(LABELS[index] for epoch in epochs for index in epoch)
    assert {len(epoch) for epoch in epochs} == {len(LABELS)}
    assert all(abs(count / 1000 - 1) < 0.1 for count in drawn.values())
    assert epochs[0] != epochs[1]
    sampler.set_epoch(0)
    assert [*sampler] == epochs[0]


def test_balanced_accuracy_is_scikit_learns():
    targets, predictions = [0, 0, 0, 0, 1, 2], [0, 0, 1, 3, 1, 0]
    found = classification_metrics(targets, predictions)["balanced_accuracy"]
    assert found == pytest.approx(balanced_accuracy_score(targets, predictions))


def test_the_worst_pairs_come_first():
    targets, predictions = [0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 1, 2]
    worst = worst_confused(targets, predictions, list("fedcba"), ["x", "y", "z"])
    assert worst == [
        {"class": "x", "taken_for": "y", "clips": 2, "of": 3, "names": ["e", "f"]},
        {"class": "y", "taken_for": "x", "clips": 1, "of": 2, "names": ["c"]},
    ]
