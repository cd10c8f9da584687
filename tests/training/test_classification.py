"""Training that can be trusted: repeats, agrees over processes, stops on nonsense."""

import contextlib
import functools
import math
import re
from pathlib import Path

import pytest
import speechbrain as sb
import torch
from safetensors.torch import load_file
from speechbrain.dataio.batch import PaddedBatch, PaddedData
from speechbrain.dataio.dataloader import SaveableDataLoader
from support import tiny_run, warm
from support.host_reads import no_host_reads
from support.tiny_run import assert_same, build, dataset, fit, train

from mambadapter.encoders.trained import trained_tensors
from mambadapter.errors import UserError
from mambadapter.methods import MENU
from mambadapter.metrics.classification import classification_metrics
from mambadapter.training import brain as brains
from mambadapter.training.brain import seed_step

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

SCRIPT = Path(tiny_run.__file__)


def test_learns_and_reports(folder, tmp_path):
    metrics, _ = train(folder, tmp_path, number_of_epochs=8)
    assert metrics["test"]["accuracy"] > 0.6
    assert metrics["test"]["accuracy_low"] < metrics["test"]["accuracy"]
    assert metrics["test"]["clips"] == 12
    assert "valid accuracy" in (tmp_path / "train_log.txt").read_text()


AUGMENTED = {"waveform_augmentation": True, "spec_augment": True}


def test_augmentation_changes_training_and_nothing_else(folder, tmp_path):
    seen = {}

    class Clips(dict):
        id = ("one", "two")
        signal = PaddedData(torch.randn(2, 16000), torch.tensor([1.0, 0.5]))

        def to(self, device, non_blocking):
            return self

    for name, changes in (
        ("plain", {}),
        ("waveform", {"waveform_augmentation": True}),
        ("frames", {"spec_augment": True}),
    ):
        brain, *_ = build(folder, tmp_path / name, **changes)
        for stage in sb.Stage:
            brain.modules.train(stage == sb.Stage.TRAIN)
            seed_step(1, 0, 5, 0)
            seen[name, stage] = brain.compute_forward(Clips(), stage).detach()
            seed_step(1, 0, 5, 0)
            assert torch.equal(seen[name, stage], brain.compute_forward(Clips(), stage))
    for name in ("waveform", "frames"):
        assert not torch.allclose(
            seen[name, sb.Stage.TRAIN], seen["plain", sb.Stage.TRAIN], atol=1e-4
        )
        for stage in (sb.Stage.VALID, sb.Stage.TEST):
            assert torch.equal(seen[name, stage], seen["plain", stage])


@pytest.mark.parametrize("change", ["waveform_augmentation", "spec_augment"])
def test_augmented_runs_keep_what_they_validate_on(folder, tmp_path, change):
    """And train on changed clips all the same, to the bit as without a cache."""
    found = {}
    for gigabytes in (0, 1):
        settings = {change: True, "cache_gb": gigabytes, "cache_folder": str(tmp_path)}
        brain, counter, modules = build(folder, tmp_path / str(gigabytes), **settings)
        fit(brain, counter)
        found[gigabytes] = dict(trained_tensors(modules)), brain.history.epochs[-1]["valid"]
        computed, read = 9 if gigabytes else 27, 18 if gigabytes else 0
        kept = brain.frozen_features
        assert (kept["computed"], kept["read"]) == (computed, read)
    assert found[0][1] == found[1][1]
    assert_same(found[0][0], found[1][0])
    _, plain = train(folder, tmp_path / "plain")
    assert not all(torch.equal(found[0][0][name], tensor) for name, tensor in plain.items())


def test_without_a_home_no_features_are_kept(folder, tmp_path, monkeypatch, caplog):
    """They are still computed once for each clip, which gives the same numbers."""

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.chdir(tmp_path)
    brain, _, modules = build(folder, tmp_path)
    brain._keep_frozen()
    modules["encoder"](torch.randn(2, 4000))
    assert modules["encoder"].features.computed == 2
    assert "give --cache_folder" in caplog.text
    assert not (tmp_path / "frozen_features").exists()


def test_a_fold_carries_nothing_into_the_next(folder, tmp_path):
    """The peers' trap: class-level projections carry one fold's weights into the next."""
    for seeds in (["1", "2"], ["2", "1"]):
        done = warm.run([SCRIPT, folder, tmp_path / "-".join(seeds), *seeds])
        assert done.returncode == 0, done.stderr

    def weights(run, seed):
        return torch.load(tmp_path / run / f"seed{seed}" / "rank0.pt")["weights"]

    for seed in "12":
        assert_same(weights("1-2", seed), weights("2-1", seed))
    head = "head.linear.weight"
    assert not torch.equal(weights("1-2", "1")[head], weights("1-2", "2")[head])


def test_two_gloo_processes_train_and_agree(folder, tmp_path):
    """With each other; and with one process whose batches are those of both."""
    done = warm.run([SCRIPT, folder, tmp_path, "1", "sgd"], processes=2, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / "seed1" / f"rank{rank}.pt") for rank in (0, 1)]
    assert_same(ranks[0]["weights"], ranks[1]["weights"])
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    _, _, modules = build(folder, tmp_path / "fresh")
    moved = [
        not torch.equal(t, ranks[0]["weights"][n]) for n, t in trained_tensors(modules).items()
    ]
    assert all(moved)
    alone, _ = tiny_run.by_sgd(folder, tmp_path / "alone", 8)
    for rank in (0, 1):
        together = torch.load(tmp_path / "sgd" / f"rank{rank}.pt")
        assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        for name, tensor in alone["weights"].items():
            torch.testing.assert_close(together["weights"][name], tensor, rtol=1e-4, atol=1e-6)


def test_infinite_losses_keep_the_checkpoints(folder, tmp_path):
    """They stop the run."""
    brain, counter, modules = build(folder, tmp_path, run_opts={"ckpt_interval_steps": 1})
    original = brain.on_fit_batch_start

    def spoil(batch, should_step):
        original(batch, should_step)
        if brain.optimizer_step == 4:
            with torch.no_grad():
                modules["head"].linear.bias[0] = math.nan

    brain.on_fit_batch_start = spoil
    with pytest.raises(UserError, match=r"The loss is nan at optimiser step 4 .*Lower --lr"):
        fit(brain, counter)
    (saved,) = tmp_path.glob("save/*/trained.ckpt")
    assert all(t.isfinite().all() for t in load_file(str(saved)).values())


def test_a_step_reads_nothing_on_the_host(folder, tmp_path, monkeypatch):
    """From the batch as it left the loader to the optimiser; before that its lengths are looked at."""
    brain, _, _ = build(folder, tmp_path)
    brain._keep_frozen = lambda: None  # which is for CPUs
    brain.opt_class = functools.partial(torch.optim.AdamW, fused=True)
    loader = brain.make_dataloader(dataset(8, 0), sb.Stage.TRAIN, batch_size=4)
    brain.on_fit_start()
    brain.modules.train()
    for step, batch in enumerate(loader):
        brain.step = step + 1
        brain.on_fit_batch_start(batch, True)
        heard = brain.heard(batch, sb.Stage.TRAIN)
        monkeypatch.setattr(brain, "heard", lambda *_, heard=heard: heard)
        monkeypatch.setattr(brain, "on_fit_batch_start", lambda *_: None)
        with no_host_reads() if step else contextlib.nullcontext():
            brain.fit_batch(batch)
        brain.start_metrics()
        brain.modules.eval()
        with no_host_reads():
            assert not brain.evaluate_batch(batch, sb.Stage.VALID).requires_grad
        brain.modules.train()
        assert brain.stage_metrics()["clips"] == 4
        monkeypatch.undo()


def test_a_gpus_batches_come_from_pinned_memory(folder, tmp_path):
    brain, _, _ = build(folder, tmp_path)
    for device, pinned in (("cpu", False), ("cuda:0", True)):
        brain.device = device
        loader = brain.make_dataloader(dataset(4, 0), sb.Stage.VALID, None, batch_size=2)
        assert loader.pin_memory == pinned


def test_losses_read_late_are_the_same(folder, tmp_path, monkeypatch):
    at_once, weights = train(folder, tmp_path / "at_once")
    monkeypatch.setattr(brains, "_UNREAD", {"cpu": 4})
    late, others = train(folder, tmp_path / "late")
    assert late == at_once
    assert_same(weights, others)
    logs = [(tmp_path / name / "train_log.txt").read_text() for name in ("at_once", "late")]
    one, other = (re.sub("clips/s: .* - train", "- train", log) for log in logs)
    assert one == other
    brain, *_ = build(folder, tmp_path / "late")
    assert (
        brain.evaluate(dataset(12, 2000), test_loader_kwargs={"batch_size": 4})
        == (late["test"]["loss"])
    )


def test_all_processes_go_on_from_their_mean_loss(folder, tmp_path, monkeypatch):
    brain, counter, _ = build(folder, tmp_path, run_opts={"ckpt_interval_steps": 1}, number_of_epochs=1)  # fmt: skip
    monkeypatch.setattr(brains, "mean_over_processes", lambda loss: 5.0)
    saved = []
    monkeypatch.setattr(brain, "_save_intra_epoch_ckpt", lambda: saved.append(brain.avg_train_loss))
    fit(brain, counter)
    assert saved == [5.0] * 6


def test_what_is_left_is_counted_in_batches(folder, tmp_path, monkeypatch):
    brain, counter, _ = build(folder, tmp_path, run_opts={"grad_accumulation_factor": 100})
    said = []
    monkeypatch.setattr(brain.pace, "estimate", lambda left: said.append(left) or "")
    fit(brain, counter)
    assert said[0] == 2 * 6
    assert brain.optimizer_step == 3


def test_debugging_makes_a_step_as_well(folder, tmp_path):
    options = {"grad_accumulation_factor": 4, "debug": True, "debug_batches": 2, "debug_epochs": 1}
    brain, counter, _ = build(folder, tmp_path, run_opts=options)
    fit(brain, counter)
    assert brain.optimizer_step == 1


def test_infinite_validation_losses_stop_the_run(folder, tmp_path):
    brain, counter, modules = build(folder, tmp_path)
    original = brain.on_stage_start

    def spoil(stage, epoch=None):
        original(stage, epoch)
        if stage.name == "VALID":
            with torch.no_grad():
                modules["head"].linear.bias[0] = math.inf

    brain.on_stage_start = spoil
    with pytest.raises(UserError, match=r"The valid loss is (nan|inf) \(clips 1000, 1001"):
        fit(brain, counter)


def test_accumulated_batches_are_one_large_batch(folder, tmp_path):
    """Also the last of an epoch, which are fewer: 28 clips are a step of 16 and one of 12."""
    whole, steps = tiny_run.by_sgd(folder, tmp_path / "whole", 16)
    options = {"grad_accumulation_factor": 4}
    parts, others = tiny_run.by_sgd(folder, tmp_path / "parts", 4, options)
    assert steps == others == 2 * 3
    for name, tensor in whole["weights"].items():
        torch.testing.assert_close(parts["weights"][name], tensor, rtol=1e-4, atol=1e-6)


def test_a_ready_loader_is_planned_like_a_dataset(folder, tmp_path):
    brain, counter, _ = build(folder, tmp_path)
    loader = SaveableDataLoader(dataset(24, 0), batch_size=4, collate_fn=PaddedBatch)
    brain.fit(counter, loader, dataset(9, 1000), valid_loader_kwargs={"batch_size": 4})
    assert brain.lr_factor(18) == 0
    assert brain.lr_factor(17) > 0
    assert 0 < brain.optimizer.param_groups[0]["lr"] < 0.005 / 10


def test_every_parameter_group_is_clipped(folder, tmp_path):
    brain, _, _ = build(folder, tmp_path, max_grad_norm=1e-3)
    brain.init_optimizers()
    groups = brain.optimizer.param_groups
    assert len(groups) > 2
    parameters = [p for group in groups for p in group["params"]]
    norms = []
    brain.optimizer.step = lambda *a, **k: norms.append([p.grad.norm() for p in parameters])
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    brain.optimizers_step()
    assert torch.stack(norms[0]).norm() <= 1.001e-3


def test_bfloat16_autocast_trains(folder, tmp_path):
    metrics, weights = train(
        folder, tmp_path, run_opts={"precision": "bf16", "eval_precision": "bf16"}
    )
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in weights.values())
    assert metrics["test"]["clips"] == 12


def test_float16_on_a_cpu_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="fp16.*bf16"):
        build(folder, tmp_path, run_opts={"precision": "fp16"})


def test_tensorboard_by_choice(folder, tmp_path):
    train(folder, tmp_path, number_of_epochs=1, tensorboard=True)
    assert list(tmp_path.glob("tensorboard/**/events*"))


@pytest.mark.parametrize("name", MENU)
def test_every_method_on_the_menu_trains(folder, tmp_path, name):
    metrics, _ = train(folder, tmp_path, method=MENU[name], number_of_epochs=1, lr=1e-4)
    assert math.isfinite(metrics["test"]["loss"])


def test_metrics_against_known_values():
    # Wilson's interval of 9 in 10 is (0.5958, 0.9821) (Newcombe 1998, method 3).
    targets = [0] * 5 + [1] * 5
    metrics = classification_metrics(targets, [0] * 5 + [1] * 4 + [0])
    assert metrics["accuracy"] == pytest.approx(0.9)
    assert metrics["accuracy_low"] == pytest.approx(0.5958, abs=1e-3)
    assert metrics["accuracy_high"] == pytest.approx(0.9821, abs=1e-3)
    assert metrics["macro_f1"] == pytest.approx((10 / 11 + 8 / 9) / 2)
