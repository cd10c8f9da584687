"""Checkpoints of several processes."""

import json
import os
import time
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from mambadapter.training.checkpoints import WholeCheckpointer


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
