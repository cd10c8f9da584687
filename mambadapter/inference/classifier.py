"""A classifier made from a package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.inference.package import check_held, load_weights
from mambadapter.inference.reading import Recording
from mambadapter.inference.results import Prediction
from mambadapter.methods.base import Method


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes
    ----------
    encoder : AdaptedEncoder
        The encoder.
    head : PooledClassifier
        The head.
    labels : tuple[str, ...]
        Class names.
    """

    encoder: AdaptedEncoder
    head: PooledClassifier
    labels: tuple[str, ...]

    # In one piece; attention takes memory by the square of it.
    longest_seconds: ClassVar[float] = 60.0

    @classmethod
    def from_package(
        cls, folder: Path, card: Mapping[str, Any], method: Method, checkpoint: SharedCheckpoint
    ) -> "Classifier":
        """Rebuild a classifier from what `open_package` gave."""
        encoder = checkpoint.encoder(method, card.get("encoder_settings") or {})

        def make_head() -> PooledClassifier:
            return PooledClassifier(encoder.width, len(card["labels"]))

        check_held(folder, make_head)
        head = make_head()
        load_weights(folder, card, checkpoint.source, {"encoder": encoder, "head": head})
        return cls(encoder, head, tuple(card["labels"]))

    @property
    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The encoder and what stands on it."""
        return self.encoder, self.head

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> list[Prediction]:
        """Classify a batch: (B, S) waveforms, (B,) lengths as fractions of S."""
        probabilities = self.head(*self.encoder(wavs, lengths)).float().softmax(-1).tolist()
        return [
            Prediction.of(one.name, dict(zip(self.labels, row, strict=True)))
            for one, row in zip(recordings, probabilities, strict=True)
        ]

    def read_long(self, recording: Recording) -> Prediction:
        """Refuse what is longer than `longest_seconds`."""
        raise UserError(
            f"{recording.name} is longer than the {self.longest_seconds:g} s that are classified in one "
            "piece; cut it."
        )
