"""Batches of about one length, each with as many seconds of audio as the next, and shares of them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import DistributedSamplerWrapper, DynamicBatchSampler
from torch.utils.data import DistributedSampler

# A quarter of a second wide up to the longest clips.
_STEP, _SHORTEST = 0.25, 0.5


def batches_by_length(
    datasets: Mapping[str, DynamicItemDataset],
    seconds: float,
    longest: float,
    options: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Arguments of a loader for each split, by SpeechBrain's dynamic batching."""
    steps = max(math.ceil((longest - _SHORTEST) / _STEP), 0)
    boundaries = [_SHORTEST + _STEP * step for step in range(steps + 1)]
    return {
        split: {
            "batch_sampler": DynamicBatchSampler(
                dataset,
                seconds,
                bucket_boundaries=boundaries,
                shuffle=split == "train",
                lengths_list=[entry["duration"] for entry in dataset.data.values()],
            ),
            "collate_fn": PaddedBatch,
            **options,
        }
        for split, dataset in datasets.items()
    }


class ProcessShare(DistributedSamplerWrapper):
    """SpeechBrain's share of a process, whose only batch would be taken for as many as it has clips."""

    @classmethod
    def of(cls, given: DistributedSamplerWrapper) -> "ProcessShare":
        """The same share."""
        same = ("num_replicas", "rank", "shuffle", "seed", "drop_last")
        return cls(given.sampler, **{name: getattr(given, name) for name in same})

    def __iter__(self) -> Iterator[Any]:
        everything: list[Any] = [*self.sampler]
        places: Iterator[int] = DistributedSampler.__iter__(self)
        return iter([everything[place] for place in places])
