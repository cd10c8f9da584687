"""Several labels a clip: chance, thresholds that go with the best epoch, weights, augmentation."""

import json
import math

import numpy as np
import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from support import tiny_run

from mambadapter.errors import UserError
from mambadapter.metrics.multilabel import best_thresholds
from mambadapter.training import brain as brains
from mambadapter.training.multilabel import MultilabelBrain
from mambadapter.training.prior import BinaryPriorLoss
from mambadapter.training.selection import checkpoint_rank

LABELS = ["even", "falling", "rising"]


def test_chance_is_the_mean_entropy_of_labels(tmp_path):
    generator = np.random.default_rng(0)
    rows = (generator.random((50, 3)) < [0.1, 0.5, 1.0]).astype(float)
    prior, other = BinaryPriorLoss(), BinaryPriorLoss()
    assert prior.loss is None
    prior.add(rows[:20].tolist())
    prior.save(tmp_path / "prior")
    other.load(tmp_path / "prior", end_of_epoch=False)
    for one in (prior, other):
        one.add(rows[20:].tolist())
    shares = torch.tensor(rows.mean(0)).expand(50, 3)
    wanted = torch.nn.functional.binary_cross_entropy(shares, torch.tensor(rows))
    assert prior.loss == other.loss == pytest.approx(wanted.item())


def test_chance_of_weighted_labels_is_the_least_that_a_constant_reaches():
    rows = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]])
    weights = torch.tensor([3.0, 1.0, 0.5])
    prior = BinaryPriorLoss()
    prior.weights = weights.tolist()
    prior.add(rows.tolist())
    # The best for the second label is 0, and for the third far above.
    least = min(
        torch.nn.functional.binary_cross_entropy_with_logits(
            torch.tensor([logit, 0.0, 12.0]).expand(4, 3), rows, pos_weight=weights
        ).item()
        for logit in np.linspace(-3, 3, 601)
    )
    assert prior.loss == pytest.approx(least, abs=1e-4)


@sb.utils.data_pipeline.takes("label_index", "seed")
@sb.utils.data_pipeline.provides("label_row")
def label_row(tone, seed):
    """Rising is no label of clips that fall; every second clip is even."""
    return torch.tensor([float(seed % 2 == 0), float(tone == 1), float(tone == 0)])


def dataset(clips, offset, without=()):
    data = {
        str(n): {"label_index": n % 3, "seed": n, "labels": []}
        for n in range(offset, offset + clips)
        if n % 3 not in without
    }
    return DynamicItemDataset(data, [tiny_run.tone, label_row], ["id", "signal", "label_row"])


@pytest.fixture(scope="module")
def trained(encoder_folders, tmp_path_factory):
    """A run with weights and augmentation; validation has no rising tone."""
    settings = {"waveform_augmentation": True, "spec_augment": True}
    output = tmp_path_factory.mktemp("multilabel")
    brain, counter, _ = tiny_run.build(
        encoder_folders["wav2vec2"], output, number_of_epochs=2, brain=MultilabelBrain,
        labels=LABELS, class_weights=torch.tensor([1.0, 2.0, 2.0]), **settings,
    )  # fmt: skip
    loaders = {"train_loader_kwargs": {"batch_size": 4}, "valid_loader_kwargs": {"batch_size": 4}}
    brain.fit(counter, dataset(18, 0), dataset(9, 1000, without=(0,)), **loaders)
    brain.evaluate(dataset(12, 2000), test_loader_kwargs={"batch_size": 4})
    return brain, output


def test_the_best_epochs_thresholds_are_those_of_its_validation(trained):
    brain, _ = trained
    best = max(brain.checkpointer.list_checkpoints(), key=checkpoint_rank)
    assert {"mAP", "macro_f1", "micro_f1", "clips"} < best.meta.keys()
    assert json.loads(best.paramfiles["thresholds"].read_text()) == brain.thresholds.values
    assert brain.thresholds.values[2] == 0.5  # no rising tone in validation
    assert brain.package == {"task": "multilabel", "thresholds": brain.thresholds.values}
    brain.modules.eval()
    found = []
    valid = dataset(9, 1000, without=(0,))
    for batch in brain.make_dataloader(valid, sb.Stage.VALID, batch_size=4):
        with torch.no_grad():
            logits = brain.compute_forward(batch, sb.Stage.VALID)
        found.append((batch.label_row.data.numpy(), logits.sigmoid().numpy()))
    targets, probabilities = (np.concatenate(part) for part in zip(*found, strict=True))
    assert brain.thresholds.values == pytest.approx(best_thresholds(targets, probabilities), abs=1e-4)  # fmt: skip


def test_no_number_in_validation_is_said_though_read_late(encoder_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(brains, "_UNREAD", {"cpu": 20})
    brain, counter, modules = tiny_run.build(
        encoder_folders["wav2vec2"], tmp_path, brain=MultilabelBrain, labels=LABELS
    )
    begin = brain.on_stage_start

    def spoil(stage, epoch=None):
        begin(stage, epoch)
        if stage == sb.Stage.VALID:
            modules["head"].linear.bias.data.fill_(math.nan)

    brain.on_stage_start = spoil
    with pytest.raises(UserError, match="The valid loss is nan"):
        brain.fit(counter, dataset(6, 0), dataset(6, 1000), train_loader_kwargs={"batch_size": 3})


def test_the_test_says_more_of_each_label(trained):
    brain, _ = trained
    test = brain.metrics["test"]
    assert test["mAP_low"] <= test["mAP"] <= test["mAP_high"]
    of = brain.details["labels"]
    assert [*of] == LABELS
    assert [one["clips"] for one in of.values()] == [6, 4, 4]
    assert test["mAP"] == pytest.approx(np.mean([one["average_precision"] for one in of.values()]))


def test_training_is_weighted_and_validation_is_not(trained):
    brain, _ = trained
    (batch,) = brain.make_dataloader(dataset(3, 0), sb.Stage.VALID, batch_size=3)
    logits = torch.zeros(3, 3)
    brain.start_metrics()
    assert brain.loss(logits, batch, sb.Stage.VALID).item() == pytest.approx(math.log(2))
    positive = batch.label_row.data.sum(0)
    wanted = ((9 - positive.sum()) + (positive * torch.tensor([1.0, 2.0, 2.0])).sum()) / 9
    assert brain.loss(logits, batch, sb.Stage.TRAIN).item() == pytest.approx(math.log(2) * wanted.item())  # fmt: skip
    assert brain._prior.weights == [1.0, 2.0, 2.0]
