"""Train and test a classifier of clips with several labels on an adapted encoder."""

import json
import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch import Tensor

from mambadapter.inference.package import MULTILABEL
from mambadapter.metrics.multilabel import (
    best_thresholds,
    mean_average_precision_interval,
    multilabel_metrics,
    of_each_class,
)
from mambadapter.training.clips import ClipBrain
from mambadapter.training.prior import BinaryPriorLoss, PriorLoss

logger = logging.getLogger(__name__)


@register_checkpoint_hooks
class Thresholds:
    """A SpeechBrain recoverable: from which probability on a clip has a label, for each label.

    Attributes
    ----------
    values : list[float]
        In the order of the labels.
    """

    def __init__(self) -> None:
        self.values: list[float] = []

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write them."""
        Path(path).write_text(json.dumps(self.values), encoding="utf-8")

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read them back."""
        self.values = json.loads(Path(path).read_text(encoding="utf-8"))


class MultilabelBrain(ClipBrain):
    """Clips of several labels: binary cross-entropy, and the best epoch by validation mAP.

    After every validation each label's threshold is the one with the best F1 there; those of the best epoch
    go with it. `class_weights` are the loss's weights of clips that have a label.

    Attributes
    ----------
    thresholds : Thresholds
        Of the last validation, and after testing of the best one.
    """

    prior: ClassVar[type[PriorLoss]] = BinaryPriorLoss

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.thresholds = Thresholds()
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("thresholds", self.thresholds)

    @property
    def package(self) -> dict[str, Any]:
        """Its task, and the thresholds."""
        return {"task": MULTILABEL, "thresholds": self.thresholds.values}

    def loss(self, predictions: Tensor, batch: Any, stage: sb.Stage) -> Tensor:
        """Binary cross-entropy; outside training the probabilities are kept for the metrics."""
        targets = batch.label_row.data.to(self.device)
        predictions = predictions.float()
        if stage != sb.Stage.TRAIN:
            self._targets.append(targets)
            self._probabilities.append(predictions.detach().sigmoid())
        weights = self._weights if stage == sb.Stage.TRAIN else None
        return F.binary_cross_entropy_with_logits(predictions, targets, pos_weight=weights)

    def targets(self, batch: Any) -> list[list[float]]:
        """Its clips' rows."""
        return batch.label_row.data.tolist()

    def start_metrics(self) -> None:
        """Begin to collect probabilities."""
        self._targets: list[Tensor] = []
        self._probabilities: list[Tensor] = []

    def stage_metrics(self) -> dict[str, float]:
        """`multilabel_metrics` at the thresholds that there are."""
        return multilabel_metrics(*self._found(), self.thresholds.values)

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """As every Brain; validation first chooses thresholds, the test then says more of each label."""
        # First, as thresholds cannot be chosen by what is no number.
        stage_loss = self._read_losses(stage_loss)
        if stage == sb.Stage.VALID:
            self._choose_thresholds()
        super().on_stage_end(stage, stage_loss, epoch)
        if stage == sb.Stage.TEST:
            found = self._found()
            low, high = mean_average_precision_interval(*found)
            self.metrics["test"] |= {"mAP_low": low, "mAP_high": high}
            of_each = of_each_class(*found, self.thresholds.values)
            self.details["labels"] = dict(zip(self._labels, of_each, strict=True))

    def _choose_thresholds(self) -> None:
        targets, probabilities = self._found()
        absent = [self._labels[place] for place in np.flatnonzero(~targets.any(0)).tolist()]
        if absent and not self.thresholds.values:
            logger.warning(
                "No validation clip has %s: its threshold stays 0.5.", ", or ".join(absent)
            )
        self.thresholds.values = best_thresholds(targets, probabilities)

    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        """(clips, classes) targets and probabilities of the stage."""
        targets, probabilities = torch.cat(self._targets), torch.cat(self._probabilities)
        return targets.cpu().numpy().astype(int), probabilities.cpu().numpy()
