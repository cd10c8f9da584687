"""Train and test a classifier on an adapted encoder."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.utils.distributed import if_main_process
from torch import Tensor, nn

from mambadapter.data.augmentation import WaveformAugmentation, add_spec_augment
from mambadapter.encoders import AdaptedEncoder
from mambadapter.metrics.classification import classification_metrics
from mambadapter.metrics.confusion import worst_confused, write_confusion
from mambadapter.training.brain import EncoderBrain


class ClassificationBrain(EncoderBrain):
    """Clips of one label: cross-entropy, and the best epoch by validation accuracy.

    The other arguments are `EncoderBrain`'s; `mambadapter.config.schema` names the keys of the YAML. What the
    test confuses is written to ``confusion.csv`` and ``confusion.png`` where the classes' names are given.

    Parameters
    ----------
    labels : Sequence[str]
        The names of the classes.
    class_weights : Tensor, optional
        (classes,), of the training loss.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *args: Any,
        labels: Sequence[str] = (),
        class_weights: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(modules, *args, **kwargs)
        self._labels = labels
        self._weights = None if class_weights is None else class_weights.to(self.device)
        encoder = cast(AdaptedEncoder, modules["encoder"])
        self._augmentation = None
        if self.hparams.waveform_augmentation:
            self._augmentation = WaveformAugmentation(encoder.sample_rate)
        if self.hparams.spec_augment:
            add_spec_augment(encoder)
        self.augments = self.hparams.waveform_augmentation or self.hparams.spec_augment

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Tensor:
        """(B, classes) logits of a batch, in training of an augmented one if the YAML says so."""
        wavs, lens = self.heard(batch)
        if stage == sb.Stage.TRAIN and self._augmentation is not None:
            wavs, lens = self._augmentation(wavs, batch.signal.lengths)
        return self.modules.head(*self.encode(wavs, lens))

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
