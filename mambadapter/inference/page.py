"""What the page in the browser says: packages to choose among, and what each hears in a recording."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mambadapter.data.audio import clip_seconds
from mambadapter.inference.model import TrainedModel
from mambadapter.inference.package import CLASSIFICATION, MULTILABEL, SEQ2SEQ, open_package
from mambadapter.inference.results import (
    NONE_OF_THESE,
    MultilabelPrediction,
    Prediction,
    Timeline,
    Transcript,
)

# Seconds of a recording; a longer one is classified window by window.
LONG = 10.0

_NAMED = 20  # classes


@dataclass(frozen=True)
class Heard:
    """What there is to show of a recording.

    Attributes
    ----------
    answer : str
        A line, or a transcript.
    scores : dict[str, float]
        The probability of each class, the likeliest first; empty of a transcript and a timeline.
    timeline : Timeline or None
        Of a long recording.
    """

    answer: str
    scores: dict[str, float] = field(default_factory=dict)
    timeline: Timeline | None = None


class Packages:
    """Trained adapters by name; those of one frozen encoder share it.

    Parameters
    ----------
    packages : sequence of str
        As `load_adapter` takes them.
    device, precision, encoder
        As of `load_adapter`.

    Raises
    ------
    UserError
        As of `load_adapter`.

    Example
    -------
    >>> Packages(["results/words", "results/speech"]).names  # doctest: +SKIP
    ('words', 'speech')
    """

    def __init__(
        self,
        packages: Sequence[str],
        device: str = "auto",
        precision: str = "fp32",
        encoder: str | None = None,
    ) -> None:
        opened = [open_package(one) for one in packages]
        tasks = [card["task"] for _, card in opened]
        self.names = _names(packages, [folder for folder, _ in opened])
        self._models: dict[str, TrainedModel] = {}
        by_encoder: dict[str, TrainedModel] = {}
        # A whole Whisper first: an encoder alone could not be given a decoder later.
        for place in sorted(range(len(opened)), key=lambda place: tasks[place] != SEQ2SEQ):
            mark = opened[place][1]["encoder_fingerprint"]
            model = by_encoder.setdefault(mark, TrainedModel(device, precision, encoder))
            model.add_adapter(self.names[place], packages[place])
            self._models[self.names[place]] = model

    @property
    def encoders(self) -> int:
        """How many frozen encoders are in memory."""
        return len({id(model) for model in self._models.values()})

    def about(self, name: str) -> str:
        """What an adapter can say, in a line."""
        labels = self._models[name].labels(name)
        if not self.classifies(name):
            return "Writes down what is said."
        more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
        return f"Tells apart {', '.join(labels[:_NAMED])}{more}."

    def classifies(self, name: str) -> bool:
        """Whether an adapter classifies; otherwise it transcribes."""
        return self._models[name].task(name) in (CLASSIFICATION, MULTILABEL)

    def rejects(self, name: str) -> bool:
        """Whether a threshold makes sense: of several labels each has its own."""
        return self._models[name].task(name) == CLASSIFICATION

    def threshold(self, name: str) -> float | None:
        """Below which a clip is none of the classes; None where the package has none."""
        return self._models[name].threshold(name)

    def hear(
        self, name: str, path: str | Path, threshold: float | None = None, window: float = 1.0
    ) -> Heard:
        """Answer a recording.

        Parameters
        ----------
        name : str
            The adapter.
        path : str or Path
            The recording.
        threshold : float, optional
            Of the highest probability; what is below it is none of the classes.
        window : float
            Seconds that are classified together, of a recording longer than `LONG`.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        model = self._models[name]
        if not self.classifies(name):
            return _of_transcript(model.transcribe(str(path), adapter=name))
        if self.rejects(name) and clip_seconds(path) > LONG:
            timeline = model.timeline(str(path), window, adapter=name, threshold=threshold)
            return _of_timeline(timeline)
        threshold = threshold if self.rejects(name) else None
        return _of_prediction(model.predict(str(path), adapter=name, threshold=threshold))


def _of_prediction(one: Prediction) -> Heard:
    if isinstance(one, MultilabelPrediction):
        return Heard(one.said(), one.scores)
    return Heard(NONE_OF_THESE if one.label is None else one.label, one.scores)


def _of_timeline(one: Timeline) -> Heard:
    seconds: dict[str, float] = {}
    for part in one.segments:
        seconds[part.text] = seconds.get(part.text, 0.0) + part.end - part.start
    longest = sorted(seconds.items(), key=lambda item: -item[1])
    said = ", ".join(f"{label} {length:.1f} s" for label, length in longest)
    return Heard(said or NONE_OF_THESE, timeline=one)


def _of_transcript(one: Transcript) -> Heard:
    parts = one.segments if len(one.segments) > 1 else ()
    return Heard("\n".join([one.text or "(no words)", *(["", *map(str, parts)] if parts else [])]))


def _names(packages: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Those of their runs; where two have one name, what was given."""
    short = [
        (folder.resolve().parent if folder.resolve().name == "adapter" else folder.resolve()).name
        if Path(given).expanduser().exists()
        else given
        for given, folder in zip(packages, folders, strict=True)
    ]
    return tuple(
        name if short.count(name) == 1 else given
        for name, given in zip(short, packages, strict=True)
    )
