"""Classes of unequal size: weights of the loss, and an order that draws all alike."""

from collections import Counter
from collections.abc import Sequence

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import ReproducibleWeightedRandomSampler
from torch import Tensor


def balanced_weights(dataset: DynamicItemDataset, labels: Sequence[str]) -> Tensor:
    """(classes,) weights by which all classes count alike, 1 on the average over clips.

    As scikit-learn's ``class_weight="balanced"``.
    """
    counts = Counter(entry["label"] for entry in dataset.data.values())
    return torch.tensor([counts.total() / (len(labels) * counts[label]) for label in labels])


def balanced_sampler(dataset: DynamicItemDataset, seed: int) -> ReproducibleWeightedRandomSampler:
    """Draws as many clips as there are, each class as often as the next, with replacement."""
    labels = [dataset.data[name]["label"] for name in dataset.data_ids]
    counts = Counter(labels)
    weights = [1 / counts[label] for label in labels]
    return ReproducibleWeightedRandomSampler(weights, len(labels), replacement=True, seed=seed)
