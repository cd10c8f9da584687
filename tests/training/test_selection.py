"""Which epoch is kept and tested, and what its checkpoint holds."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from speechbrain.utils.checkpoints import Checkpoint
from support.tiny_run import assert_same, build, dataset, fit
from torch import nn

from mambadapter.encoders.trained import load_trained, trained_tensors
from mambadapter.errors import UserError
from mambadapter.training.selection import checkpoint_rank, validation_rank

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive


def test_checkpoints_hold_what_was_trained_and_nothing_else(folder, tmp_path):
    brain, counter, modules = build(folder, tmp_path, number_of_epochs=1)
    fit(brain, counter)
    (saved,) = tmp_path.glob("save/*/trained.ckpt")
    tensors = load_file(str(saved))
    expected = {n for n, p in nn.ModuleDict(modules).named_parameters() if p.requires_grad}
    assert tensors.keys() == expected
    assert not any("q_proj" in name for name in tensors)


def test_batch_norm_statistics_survive_a_reload(tmp_path):
    def make():
        torch.manual_seed(0)
        return {"branch": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))}

    trained = make()
    trained["branch"](torch.randn(50, 4) * 3 + 1)
    fresh = make()
    load_trained(fresh, {n: t.clone() for n, t in trained_tensors(trained).items()}, "a test")
    assert_same(dict(fresh["branch"].state_dict()), dict(trained["branch"].state_dict()))


def test_loading_is_strict():
    module = {"head": nn.Linear(2, 2)}
    saved = {n: t.clone() for n, t in trained_tensors(module).items()}
    with pytest.raises(UserError, match=r"1 tensors missing \(such as head.bias\)"):
        load_trained(module, {"head.weight": saved["head.weight"]}, "a.ckpt")
    with pytest.raises(UserError, match=r"1 unknown tensors \(such as x\)"):
        load_trained(module, {**saved, "x": torch.zeros(1)}, "a.ckpt")
    with pytest.raises(UserError, match="another shape"):
        load_trained(module, {**saved, "head.bias": torch.zeros(3)}, "a.ckpt")


def test_the_best_validation_epoch_is_restored_before_testing(folder, tmp_path, monkeypatch):
    brain, counter, modules = build(folder, tmp_path, lr=0.01)
    accuracies = iter([0.5, 0.9, 0.7])
    kept = []

    def metrics(targets, predictions):
        kept.append({n: t.clone() for n, t in trained_tensors(modules).items()})
        return {"accuracy": next(accuracies, 0.0)}

    monkeypatch.setattr("mambadapter.training.classification.classification_metrics", metrics)
    fit(brain, counter)
    brain.evaluate(dataset(6, 2000), test_loader_kwargs={"batch_size": 3})
    assert brain.best_epoch == 2
    assert_same(kept[3], kept[1])
    assert not torch.equal(kept[2]["head.linear.weight"], kept[1]["head.linear.weight"])


def test_ties_go_to_lower_validation_loss():
    """Unfinished epochs come last."""

    def checkpoint(**meta):
        return Checkpoint(Path("x"), meta, {})

    ranked = sorted(
        [
            checkpoint(accuracy=0.9, loss=0.5),
            checkpoint(),
            checkpoint(accuracy=0.9, loss=0.4),
            checkpoint(accuracy=0.8, loss=0.1),
        ],
        key=checkpoint_rank,
    )
    assert [c.meta.get("loss") for c in ranked] == [None, 0.1, 0.5, 0.4]


def test_saturated_word_errors_are_chosen_by_characters():
    ranked = sorted(
        [
            {"wer": 0.4, "cer": 0.3, "loss": 1.0},
            {"wer": 1.3, "cer": 0.6, "loss": 1.0},
            {"wer": 1.0, "cer": 0.7, "loss": 1.0},
            {"wer": 0.4, "cer": 0.2, "loss": 2.0},
            {"wer": 0.3, "cer": 0.9, "loss": 9.0},
        ],
        key=validation_rank,
    )
    assert [one["cer"] for one in ranked] == [0.7, 0.6, 0.3, 0.2, 0.9]


def test_testing_without_training_is_refused(folder, tmp_path):
    brain, _, _ = build(folder, tmp_path)
    with pytest.raises(UserError, match="No finished epoch to test"):
        brain.evaluate(dataset(3, 0), test_loader_kwargs={"batch_size": 3})
