"""A classifier made from a package."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mambadapter.data.decoding import SHORTEST_SECONDS
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.inference.calibration import Calibration, probabilities
from mambadapter.inference.package import check_held, load_weights
from mambadapter.inference.reading import Recording, padded
from mambadapter.inference.results import Prediction, Segment, Timeline
from mambadapter.inference.windows import Samples
from mambadapter.methods.base import Method

_TOGETHER = 8  # windows of a timeline in a batch


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
    calibration : Calibration or None
        Packages of before have none; their probabilities are the logits' softmax.
    """

    encoder: AdaptedEncoder
    head: PooledClassifier
    labels: tuple[str, ...]
    calibration: Calibration | None = None

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
        return cls(encoder, head, tuple(card["labels"]), Calibration.of(card))

    @property
    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The encoder and what stands on it."""
        return self.encoder, self.head

    @property
    def threshold(self) -> float | None:
        """The probability below which a clip is none of the classes."""
        return self.calibration.threshold if self.calibration else None

    def _probabilities(self, wavs: Tensor, lengths: Tensor | None) -> Tensor:
        return probabilities(self.head(*self.encoder(wavs, lengths)), self.calibration)

    def decoded(self, decoding: Mapping[str, Any]) -> "Classifier":
        """Itself: there is nothing to decode."""
        return self

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> list[Prediction]:
        """Classify a batch: (B, S) waveforms, (B,) lengths as fractions of S."""
        scores = self._probabilities(wavs, lengths).tolist()
        return [
            Prediction.of(one.name, dict(zip(self.labels, row, strict=True)), self.threshold)
            for one, row in zip(recordings, scores, strict=True)
        ]

    def read_long(self, recording: Recording) -> Prediction:
        """Refuse what is longer than `longest_seconds`."""
        raise UserError(
            f"{recording.name} is longer than the {self.longest_seconds:g} s that are classified in one "
            "piece; classify it window by window: --window 1."
        )


def timelines(
    classifiers: Mapping[str, Classifier],
    recording: Recording,
    window: float,
    hop: float,
    thresholds: Mapping[str, float],
) -> dict[str, Timeline]:
    """Classify a recording window by window, each by all classifiers, which are over one encoder.

    See `mambadapter.inference.model.TrainedModel.timeline`. What is below a threshold is left out.
    """
    first = next(iter(classifiers.values())).encoder
    rate, device = first.sample_rate, next(first.backbone.parameters()).device
    step, per = round(hop * rate), round(window / hop)
    sums: dict[str, list[Tensor]] = {  # of each hop, over the windows that cover it
        name: [] for name in classifiers
    }
    count, total = 0, 0
    for batch in _batches(recording.blocks(), step, per * step, round(SHORTEST_SECONDS * rate)):
        wavs, lengths = padded(batch)
        wavs = wavs.to(device)
        for name, one in classifiers.items():
            scores, found = one._probabilities(wavs, lengths), sums[name]
            for place, row in enumerate(scores, start=count):
                found += [torch.zeros_like(row) for _ in range(place + per - len(found))]
                for cell in found[place : place + per]:
                    cell += row
        count += len(batch)
        total = (count - 1) * step + len(batch[-1])
    return {
        name: Timeline(
            recording.name,
            tuple(
                Segment(
                    start * step / rate, min(stop * step, total) / rate, one.labels[label], sure
                )
                for start, stop, label, sure in _runs(
                    sums[name][: math.ceil(total / step)], thresholds.get(name, 0.0)
                )
            ),
        )
        for name, one in classifiers.items()
    }


def _runs(sums: Sequence[Tensor], threshold: float) -> Iterator[tuple[int, int, int, float]]:
    """Of neighbours with one best class: where they start and stop, the class, its mean probability."""
    means = [(one / one.sum()).tolist() for one in sums]
    best = [
        max(range(len(row)), key=row.__getitem__) if max(row) >= threshold else None
        for row in means
    ]
    place = 0
    for label, run in groupby(best):
        start, place = place, place + len(list(run))
        if label is not None:
            sure = sum(row[label] for row in means[start:place]) / (place - start)
            yield start, place, label, round(sure, 6)


def check_hop(window: float, hop: float | None) -> tuple[float, float]:
    """Seconds of a window and from one to the next, half of it by default."""
    hop = window / 2 if hop is None else hop
    if not SHORTEST_SECONDS <= window <= Classifier.longest_seconds:
        raise UserError(
            f"window={window:g} is impossible: give {SHORTEST_SECONDS:g} to {Classifier.longest_seconds:g} s."
        )
    if not 0.01 <= hop <= window or abs(window / hop - round(window / hop)) > 1e-6:
        raise UserError(
            f"hop={hop:g} is impossible: give a whole fraction of the window, {window:g} s, such as "
            f"{window / 2:g}."
        )
    return window, hop


def _batches(
    blocks: Iterable[Tensor], step: int, size: int, shortest: int
) -> Iterator[list[Tensor]]:
    """Windows of a recording, several at a time; the last may be shorter."""
    samples, batch, start = Samples(blocks), list[Tensor](), 0
    last = False
    while not last:
        last = samples.ends_by(start + size)
        wav = samples.span(start, start + size).clone()
        if len(wav) >= shortest or start == 0:
            batch.append(wav)
        start += step
        if batch and (last or len(batch) == _TOGETHER):
            yield batch
            batch = []
