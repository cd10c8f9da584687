"""Classes of unequal size: weights of the loss, and an order that draws all alike."""

from collections import Counter
from collections.abc import Sequence

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import ReproducibleWeightedRandomSampler
from torch import Tensor

from mambadapter.data.manifests import has_several_labels
from mambadapter.errors import UserError


def balanced_weights(dataset: DynamicItemDataset, labels: Sequence[str]) -> Tensor:
    """(classes,) weights by which all classes count alike, 1 on the average over clips.

    As scikit-learn's ``class_weight="balanced"``.
    """
    counts = Counter(entry["label"] for entry in dataset.data.values())
    return torch.tensor([counts.total() / (len(labels) * counts[label]) for label in labels])


def positive_weights(dataset: DynamicItemDataset, labels: Sequence[str]) -> Tensor:
    """(classes,) clips without a label for each clip with it, so that both count alike.

    It is the ``pos_weight`` of PyTorch's ``BCEWithLogitsLoss``.
    """
    counts = Counter(label for entry in dataset.data.values() for label in entry["labels"])
    return torch.tensor([(len(dataset.data) - counts[one]) / counts[one] for one in labels])


def balanced_sampler(dataset: DynamicItemDataset, seed: int) -> ReproducibleWeightedRandomSampler:
    """Draws as many clips as there are, each class as often as the next, with replacement.

    Raises
    ------
    UserError
        If clips have several labels.
    """
    if has_several_labels(dataset):
        raise UserError(
            "sampler: balanced is for clips of one label each; take class_weights: balanced."
        )
    labels = [entry["label"] for entry in dataset.data.values()]
    counts = Counter(labels)
    weights = [1 / counts[label] for label in labels]
    return ReproducibleWeightedRandomSampler(weights, len(labels), replacement=True, seed=seed)
