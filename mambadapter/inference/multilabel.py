"""A classifier of clips with several labels, made from a package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.errors import UserError
from mambadapter.inference.classifier import Classifier
from mambadapter.inference.reading import Recording
from mambadapter.inference.results import MultilabelPrediction, Prediction, Timeline
from mambadapter.methods.base import Method


@dataclass(frozen=True)
class MultilabelClassifier(Classifier):
    """A trained classifier whose clips have the labels that reach their thresholds.

    Attributes
    ----------
    thresholds : tuple[float, ...]
        Probabilities, in the order of the labels.
    """

    thresholds: tuple[float, ...] = ()

    @classmethod
    def from_package(
        cls, folder: Path, card: Mapping[str, Any], method: Method, checkpoint: SharedCheckpoint
    ) -> "MultilabelClassifier":
        """Rebuild a classifier from what `open_package` gave."""
        if len(card["thresholds"]) != len(card["labels"]):
            raise UserError(
                f"{folder} has {len(card['labels'])} labels and {len(card['thresholds'])} thresholds; copy "
                "the whole `adapter` folder again."
            )
        one = Classifier.from_package(folder, card, method, checkpoint)
        return cls(one.encoder, one.head, one.labels, thresholds=tuple(card["thresholds"]))

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> list[Prediction]:
        """Classify a batch: (B, S) waveforms, (B,) lengths as fractions of S."""
        probabilities = self.head(*self.encoder(wavs, lengths)).float().sigmoid().tolist()
        thresholds = dict(zip(self.labels, self.thresholds, strict=True))
        return [
            MultilabelPrediction.reached(
                one.name, dict(zip(self.labels, row, strict=True)), thresholds
            )
            for one, row in zip(recordings, probabilities, strict=True)
        ]

    def read_long(self, recording: Recording) -> Prediction:
        """Refuse what is longer than `longest_seconds`."""
        raise UserError(
            f"{recording.name} is longer than the {self.longest_seconds:g} s that are classified in one "
            "piece; cut it."
        )

    def timeline(
        self, recording: Recording, window: float, hop: float, threshold: float = 0.0
    ) -> Timeline:
        """Refuse: a timeline has one class at a time."""
        raise UserError(NO_TIMELINE)


NO_TIMELINE = (
    "A timeline has one class at a time, and this adapter gives a clip several labels; cut the recording, "
    "and leave --window out."
)
