"""A run that was stopped goes on to the result that it would have had."""

from pathlib import Path

import pytest
import torch
from support import tiny_run
from support.tiny_run import assert_same, build, dataset, fit, fit_and_be_killed, train

from mambadapter.encoders.trained import trained_tensors
from mambadapter.errors import UserError
from mambadapter.methods import MENU
from mambadapter.training.stopwatch import Stopwatch

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

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
