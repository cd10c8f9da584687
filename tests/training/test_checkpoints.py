"""Checkpoints of several processes, and such as were damaged."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from speechbrain.utils.epoch_loop import EpochCounter
from support.fuzz import cases, damaged
from torch import distributed, multiprocessing, nn

from mambadapter.errors import UserError
from mambadapter.training.checkpoints import TrainedTensors, WholeCheckpointer
from mambadapter.training.history import History
from mambadapter.training.stopwatch import Stopwatch


def save_three(rank, folder):
    """Save three times and keep the latest, where the main process is slow to mark a checkpoint."""
    os.environ["RANK"] = str(rank)  # by which SpeechBrain knows the main process
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    rename = Path.rename
    Path.rename = lambda *args: (time.sleep(0.3), rename(*args))[1]
    checkpointer = WholeCheckpointer(folder / "save", {"layer": nn.Linear(2, 2)})
    seen = []
    for epoch in (1, 2, 3):
        checkpointer.save_and_keep_only({"epoch": epoch}, importance_keys=[])
        seen.append([checkpoint.meta["epoch"] for checkpoint in checkpointer.list_checkpoints()])
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    distributed.destroy_process_group()


def test_every_process_sees_a_saved_checkpoint(tmp_path):
    context = multiprocessing.spawn(save_three, (tmp_path,), nprocs=2, join=False)
    deadline = time.monotonic() + 90
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, "the processes wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [
        [[1], [2], [3]]
    ] * 2


def test_every_save_reads_as_little_as_the_first(tmp_path, monkeypatch):
    """SpeechBrain's default list of keys grows at every call, and all checkpoints are read for each."""
    checkpointer = WholeCheckpointer(tmp_path, recoverables={"model": nn.Linear(1, 1)})
    looks = []
    find = checkpointer.find_checkpoints
    monkeypatch.setattr(
        checkpointer, "find_checkpoints", lambda **options: looks.append(1) or find(**options)
    )
    counts = []
    for _ in range(4):
        checkpointer.save_and_keep_only(end_of_epoch=False)
        counts.append(len(looks))
        looks.clear()
    assert len(set(counts)) == 1


def checkpointer(folder):
    layer = nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    recoverables = {
        "trained": TrainedTensors({"head": layer}),
        "optimizer": optimizer,
        "counter": EpochCounter(limit=3),
        "history": History(),
        "stopwatch": Stopwatch(),
    }
    return WholeCheckpointer(folder, recoverables)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("save")
    checkpointer(folder).save_checkpoint(meta={"epoch": 1})
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Files that are whole, and of something else."""
    folder = tmp_path_factory.mktemp("foreign")
    torch.save([1, 2], folder / "list")
    torch.save({"state": {}, "param_groups": []}, folder / "state")
    (folder / "json").write_text('{"a": 1}')
    save_file({"other": torch.ones(2)}, folder / "safetensors")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


FILES = ["trained", "optimizer", "counter", "history", "stopwatch", "CKPT.yaml"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "absent", "binary", 0, 1, 2, 3])
def test_a_damaged_checkpoint_is_named(saved, foreign, tmp_path, name, damage):
    """With what to delete, so that training goes on from the one before."""
    folder = Path(shutil.copytree(saved, tmp_path / "save"))
    (checkpoint,) = folder.iterdir()
    path = next(path for path in checkpoint.iterdir() if path.name.startswith(name))
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        changed = {"cut": content[: len(content) // 2], "empty": b"", "binary": b"\xff\x00" * 50}
        path.write_bytes(changed[damage] if damage in changed else foreign[damage])
    try:
        found = checkpointer(folder).recover_if_possible()
    except UserError as error:
        assert str(checkpoint) in str(error)
        assert "elete" in str(error) or "give another --output_folder" in str(error)
        assert "\n" not in str(error)
    else:  # what is not marked as a checkpoint is none; a number cut in half is a number
        assert found is None or name in ("stopwatch", "counter")


@cases(150)
@given(st.data(), st.sampled_from(FILES))
def test_any_checkpoint_is_read_or_refused(saved, tmp_path_factory, data, name):
    folder = tmp_path_factory.getbasetemp() / "any"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    (path,) = (path for path in folder.glob("*/*") if path.name.startswith(name))
    path.write_bytes(data.draw(damaged([path.read_bytes()])))
    with contextlib.suppress(UserError):
        checkpointer(folder).recover_if_possible()
