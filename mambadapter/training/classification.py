"""Train and test a classifier on an adapted encoder."""

from typing import Any

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from mambadapter.inference.package import CLASSIFICATION
from mambadapter.metrics.classification import classification_metrics
from mambadapter.metrics.confusion import worst_confused, write_confusion
from mambadapter.training.clips import ClipBrain


class ClassificationBrain(ClipBrain):
    """Clips of one label: cross-entropy, and the best epoch by validation accuracy.

    What the test confuses is written to ``confusion.csv`` and ``confusion.png`` where the classes' names are
    given.
    """

    @property
    def package(self) -> dict[str, Any]:
        """Its task."""
        return {"task": CLASSIFICATION}

    def loss(self, predictions: Tensor, batch: Any, stage: sb.Stage) -> Tensor:
        """Cross-entropy; outside training the predictions are kept for the metrics."""
        targets = torch.as_tensor(batch.label_index, device=self.device)
        if stage != sb.Stage.TRAIN:
            self._targets += targets.tolist()
            self._predictions += predictions.argmax(-1).tolist()
            self._names += batch.id
        weights = self._weights if stage == sb.Stage.TRAIN else None
        return F.cross_entropy(predictions.float(), targets, weights)

    def targets(self, batch: Any) -> list[int]:
        """Its clips' classes; none where they are weighted, of which chance is another."""
        if self._weights is not None:
            return []
        return [int(label) for label in batch.label_index]

    def start_metrics(self) -> None:
        """Begin to collect predictions."""
        self._targets: list[int] = []
        self._predictions: list[int] = []
        self._names: list[str] = []

    def stage_metrics(self) -> dict[str, float]:
        """Accuracy with its interval, and the rest of `classification_metrics`."""
        return classification_metrics(self._targets, self._predictions)

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """As every Brain; after the test also write what was confused."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage == sb.Stage.TEST and self._labels:
            found = (self._targets, self._predictions)
            self.details["worst_confused"] = worst_confused(*found, self._names, self._labels)
            if if_main_process():
                write_confusion(self.hparams.output_folder, *found, self._labels)
