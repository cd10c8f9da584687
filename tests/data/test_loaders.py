"""No clip is lost or doubled in an epoch, whatever the loader: as every recipe's Brain makes it."""

from collections import Counter
from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch

from mambadapter.data.balance import balanced_sampler
from mambadapter.data.batching import batches_by_length
from mambadapter.data.clips import ClipDataset, Clips
from mambadapter.training.brain import EncoderBrain

SIZES = (1, 2, 3, 7, 31)


def clips(size):
    entries = (
        (f"c{n}", {"wav": f"/{n}.wav", "duration": 0.5 + n * 37 % 17 / 4, "label": str(n % 2)})
        for n in range(size)
    )
    return ClipDataset(Clips(entries), [], ["id", "label"])


def brain_of(rank, processes):
    """As much of it as makes loaders."""
    brain = object.__new__(EncoderBrain)
    vars(brain).update(
        rank=rank, distributed_launch=processes > 1, checkpointer=None, device="cpu",
        train_sampler=None, hparams=SimpleNamespace(), _plan=lambda loader: None,
    )  # fmt: skip
    return brain


def options_of(how, dataset, split, workers=0):
    loader = {"num_workers": workers}
    if how == "seconds":
        return batches_by_length({split: dataset}, 8.0, 6.0, loader)[split]
    order = {"shuffle": True} if split == "train" else {}
    return {"batch_size": int(how), **order, **loader}


def epochs(rank, processes, size, how, split, workers=0, count=2):
    """What a process hears in each epoch."""
    brain, dataset = brain_of(rank, processes), clips(size)
    stage = sb.Stage.TRAIN if split == "train" else sb.Stage.VALID
    loader = brain.make_dataloader(dataset, stage, None, **options_of(how, dataset, split, workers))
    heard = []
    for epoch in range(1, count + 1):
        if brain.train_sampler is not None:
            brain.train_sampler.set_epoch(epoch)
        heard.append([batch.id for batch in loader])
        assert len(heard[-1]) == len(loader)
    return heard


@pytest.mark.parametrize("how", ["1", "4", "seconds"])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_an_epoch_has_every_clip(monkeypatch, processes, how):
    """Of training some again, so that all processes have as many steps; of other sets each once in each."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group=None: processes)
    for size in SIZES:
        everything = {f"c{n}" for n in range(size)}
        shares = [epochs(rank, processes, size, how, "train") for rank in range(processes)]
        for of_epoch in zip(*shares, strict=True):
            assert len({len(batches) for batches in of_epoch}) == 1
            together = Counter(name for batches in of_epoch for batch in batches for name in batch)
            assert together.keys() == everything
            repeated = together.total() - size
            longest = max(len(batch) for batches in of_epoch for batch in batches)
            assert repeated <= (processes - 1) * (longest if how == "seconds" else 1)
        for rank in range(processes):
            for batches in epochs(rank, processes, size, how, "valid"):
                assert sorted(name for batch in batches for name in batch) == sorted(everything)


@pytest.mark.parametrize(("workers", "how", "split"), [(1, "4", "train"), (2, "seconds", "train"), (2, "4", "valid")])  # fmt: skip
def test_processes_that_load_change_nothing(workers, how, split):
    """Not even the order."""
    assert epochs(0, 1, 31, how, split, workers) == epochs(0, 1, 31, how, split)


def test_a_balanced_epoch_is_shared_out(monkeypatch):
    """Clips are drawn with replacement; the processes have what one alone would, each a part."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group=None: 2)
    dataset = clips(8)
    alone = [*balanced_sampler(dataset, 0)]
    heard = []
    for rank in (0, 1):
        brain = brain_of(rank, 2)
        options = {"batch_size": 2, "sampler": balanced_sampler(dataset, 0)}
        loader = brain.make_dataloader(dataset, sb.Stage.TRAIN, None, **options)
        heard += [name for batch in loader for name in batch.id]
    assert sorted(heard) == sorted(f"c{n}" for n in alone)
