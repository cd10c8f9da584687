"""Train and test a classifier on an adapted encoder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from mambadapter.inference.calibration import Calibration
from mambadapter.inference.package import CLASSIFICATION
from mambadapter.metrics.classification import classification_metrics
from mambadapter.metrics.confusion import worst_confused, write_confusion
from mambadapter.training.calibration import calibrate
from mambadapter.training.clips import ClipBrain


class ClassificationBrain(ClipBrain):
    """Clips of one label: cross-entropy, and the best epoch by validation accuracy.

    What the test confuses is written to ``confusion.csv`` and ``confusion.png`` where the classes' names are
    given.

    Attributes
    ----------
    calibration : Calibration, optional
        What `calibrate` found.
    """

    calibration: Calibration | None = None

    @property
    def package(self) -> dict[str, Any]:
        """Its task, and how sure it is."""
        return {"task": CLASSIFICATION, "calibration": self.calibration}

    def loss(self, predictions: Tensor, batch: Any, stage: sb.Stage) -> Tensor:
        """Cross-entropy; outside training the predictions are kept for the metrics."""
        targets = torch.as_tensor(batch.label_index).to(self.device, non_blocking=True)
        if stage != sb.Stage.TRAIN:
            self._targets.append(targets)
            self._predictions.append(predictions.argmax(-1))
            self._names += batch.id
        weights = self._weights if stage == sb.Stage.TRAIN else None
        return F.cross_entropy(predictions.float(), targets, weights)

    def targets(self, batch: Any) -> list[int]:
        """Its clips' classes."""
        return [int(label) for label in batch.label_index]

    def start_metrics(self) -> None:
        """Begin to collect predictions."""
        self._targets: list[Tensor] = []
        self._predictions: list[Tensor] = []
        self._names: list[str] = []

    def stage_metrics(self) -> dict[str, float]:
        """Accuracy with its interval, and the rest of `classification_metrics`."""
        return classification_metrics(*self._found())

    def _found(self) -> tuple[list[int], list[int]]:
        """The classes of the stage's clips, and what was predicted."""
        return torch.cat(self._targets).tolist(), torch.cat(self._predictions).tolist()

    def calibrate(
        self, valid: Any, unknown: Any = None, loader: Mapping[str, Any] | None = None
    ) -> None:
        """Calibrate the weights as they are; what came out is among the `details`, too."""
        self._keep_frozen()
        others = None if unknown is None else self._logits(unknown, loader or {})[0]
        logits, targets = self._logits(valid, loader or {})
        self.calibration, self.details["calibration"] = calibrate(logits, targets, others)

    @torch.no_grad()
    def _logits(self, clips: Any, loader: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """(N, classes) logits of a dataset and the (N,) classes that it says."""
        self.modules.eval()
        found: list[Tensor] = []
        targets: list[int] = []
        batches = self.make_dataloader(clips, sb.Stage.VALID, None, **loader)
        for number, batch in enumerate(batches, 1):
            with self.evaluation_ctx:
                found.append(self.compute_forward(batch, sb.Stage.VALID).float().cpu())
            targets += batch.label_index
            if self.debug and number == self.debug_batches:
                break
        return torch.cat(found).numpy(), np.array(targets)

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """As every Brain; after the test also write what was confused."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage == sb.Stage.TEST and self._labels:
            found = self._found()
            self.details["worst_confused"] = worst_confused(*found, self._names, self._labels)
            if if_main_process():
                write_confusion(self.hparams.output_folder, *found, self._labels)
