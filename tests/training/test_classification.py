"""Training that can be trusted: resumes, repeats, selects on validation, stops on nonsense."""

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
from speechbrain.utils.checkpoints import Checkpoint
from support import tiny_run, warm
from support.host_reads import no_host_reads
from support.tiny_run import build, dataset, fit, fit_and_be_killed, train
from torch import nn

from mambadapter.encoders.trained import load_trained, trained_tensors
from mambadapter.errors import UserError
from mambadapter.methods import MENU
from mambadapter.metrics.classification import classification_metrics
from mambadapter.training import brain as brains
from mambadapter.training.brain import seed_step
from mambadapter.training.selection import checkpoint_rank, validation_rank
from mambadapter.training.stopwatch import Stopwatch

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

SCRIPT = Path(tiny_run.__file__)


@pytest.fixture
def folder(encoder_folders):
    return encoder_folders["wav2vec2"]


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


def test_learns_and_reports(folder, tmp_path):
    metrics, _ = train(folder, tmp_path, number_of_epochs=8)
    assert metrics["test"]["accuracy"] > 0.6
    assert metrics["test"]["accuracy_low"] < metrics["test"]["accuracy"]
    assert metrics["test"]["clips"] == 12
    assert "valid accuracy" in (tmp_path / "train_log.txt").read_text()


AUGMENTED = {"waveform_augmentation": True, "spec_augment": True}


@pytest.mark.parametrize(("stop_at", "changes"), [(3, {}), (6, {}), (10, {}), (4, AUGMENTED)])
def test_a_killed_run_resumes_to_the_same_result(folder, tmp_path, monkeypatch, stop_at, changes):
    """Six steps an epoch: stopped in the first, between two, and in the second."""
    settings = {"run_opts": {"ckpt_interval_steps": 1}, **changes}
    whole_metrics, whole = train(folder, tmp_path / "whole", **settings)

    brain, counter, _ = build(folder, tmp_path / "killed", **settings)
    original = brain.on_fit_batch_start

    def stop(batch, should_step):
        if brain.optimizer_step == stop_at:
            raise KeyboardInterrupt
        original(batch, should_step)

    monkeypatch.setattr(brain, "on_fit_batch_start", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(brain, counter)
    torch.manual_seed(99)
    metrics, resumed = train(folder, tmp_path / "killed", **settings)
    assert metrics == whole_metrics
    assert_same(resumed, whole)
    lines = (tmp_path / "killed/train_log.txt").read_text().splitlines()
    assert sum(line.startswith("epoch:") for line in lines) == 3


def test_resumed_histories_have_every_epoch_once(folder, tmp_path):
    brain, counter, _ = build(folder, tmp_path, number_of_epochs=2)
    fit(brain, counter)
    brain, counter, _ = build(folder, tmp_path, number_of_epochs=4)
    fit(brain, counter)
    brain.evaluate(dataset(6, 2000), test_loader_kwargs={"batch_size": 4})
    assert [one["epoch"] for one in brain.history.epochs] == [1, 2, 3, 4]
    assert all(0 <= one["valid"]["accuracy"] <= 1 for one in brain.history.epochs)
    assert brain.history.epochs[brain.best_epoch - 1]["valid"] == brain.metrics["valid"]


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


@pytest.mark.parametrize("name", MENU)
def test_every_method_resumes_from_what_is_kept(folder, tmp_path, name):
    """Killed with frozen features half kept, resumed with them, and to the bit what a run without is."""
    options = {
        "method": MENU[name], "number_of_epochs": 1, "proof_of_life": False,
        "run_opts": {"ckpt_interval_steps": 1}, "cache_folder": str(tmp_path),
    }  # fmt: skip
    brain, counter, modules = build(folder, tmp_path / "whole", **options, cache_gb=0)
    fit(brain, counter, clips=16)
    whole = {name: t.clone() for name, t in trained_tensors(modules).items()}

    brain, counter, _ = build(folder, tmp_path / "killed", **options)
    fit_and_be_killed(brain, counter, 3, clips=16)
    brain, counter, modules = build(folder, tmp_path / "killed", **options)
    fit(brain, counter, clips=16)
    assert_same(dict(trained_tensors(modules)), whole)
    if brain.frozen_features:
        assert brain.frozen_features["read"] > 0


def test_gradient_accumulation_resumes_between_whole_steps_only(folder, tmp_path, monkeypatch):
    run_opts = {"ckpt_interval_steps": 1, "grad_accumulation_factor": 2}
    _, whole = train(folder, tmp_path / "whole", run_opts=run_opts)
    brain, counter, _ = build(folder, tmp_path / "killed", run_opts=run_opts)
    original = brain.on_fit_batch_start

    def stop(batch, should_step):
        if brain.optimizer_step == 4 and should_step:
            raise KeyboardInterrupt
        original(batch, should_step)

    monkeypatch.setattr(brain, "on_fit_batch_start", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(brain, counter)
    _, resumed = train(folder, tmp_path / "killed", run_opts=run_opts)
    assert_same(resumed, whole)


def test_killed_while_saving_it_still_resumes(folder, tmp_path):
    """From the checkpoint before."""
    run_opts = {"ckpt_interval_steps": 1}
    _, whole = train(folder, tmp_path / "whole", run_opts=run_opts)
    brain, counter, _ = build(folder, tmp_path / "killed", run_opts=run_opts)
    save = brain.optimizers_step

    class Killed(BaseException):
        pass

    def die(obj, path):
        Path(path).write_bytes(b"half")
        raise Killed

    def step():
        save()
        if brain.optimizer_step == 5:
            brain.checkpointer.custom_save_hooks["trained"] = die

    brain.optimizers_step = step
    with pytest.raises(Killed):
        fit(brain, counter)
    assert len(list((tmp_path / "killed/save").iterdir())) > len(
        brain.checkpointer.list_checkpoints()
    )
    _, resumed = train(folder, tmp_path / "killed", run_opts=run_opts)
    assert_same(resumed, whole)


def test_other_encoders_are_not_resumed(folder, encoder_folders, tmp_path):
    train(folder, tmp_path, number_of_epochs=1)
    with pytest.raises(UserError, match="trained on an encoder with other frozen weights"):
        train(encoder_folders["hubert"], tmp_path, number_of_epochs=1)


def test_time_goes_on_when_a_run_is_resumed(tmp_path):
    first = Stopwatch()
    first._started -= 100
    first.save(tmp_path / "latest")
    again = Stopwatch()
    again.load(tmp_path / "latest", end_of_epoch=True)
    assert 100 <= again.seconds < 110
    first.load(tmp_path / "latest", end_of_epoch=True)  # the best epoch, restored for testing
    assert 100 <= first.seconds < 110


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full, of Linux")
def test_a_full_disk_loses_nothing(folder, tmp_path, capsys):
    """And is told in one line."""

    def weights(name):
        return torch.load(tmp_path / name / "seed1/rank0.pt")["weights"]

    log = tmp_path / "full/seed1/train_log.txt"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    with pytest.raises(SystemExit, match="2"):
        tiny_run.main(folder, tmp_path / "full", "1")
    said = capsys.readouterr().err
    assert "error: The disk is full" in said
    assert "Traceback" not in said
    log.unlink()
    for name in ("full", "whole"):
        tiny_run.main(folder, tmp_path / name, "1")
    assert_same(weights("full"), weights("whole"))


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
