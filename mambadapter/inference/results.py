"""What a trained adapter says of a recording."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# What a text says in place of a class; no label is None, so that a class may have any name.
NONE_OF_THESE = "(none of these)"


@dataclass(frozen=True)
class Prediction:
    """The class of a clip.

    Attributes
    ----------
    source : str
        The file, or which array it was.
    label : str or None
        The likeliest class; None where unknown clips were asked for and it is one: none of the classes.
    probability : float
        Of the likeliest class.
    scores : dict[str, float]
        The probability of every class, the likeliest first; calibrated if the package is.
    below_threshold : bool or None
        Whether `probability` is too low for a clip of one of the classes; None without a threshold.

    Example
    -------
    >>> one = Prediction.of("a.wav", {"no": 0.25, "yes": 0.75})
    >>> print(one)
    a.wav: yes 0.750, no 0.250
    >>> one.to_dict()["label"]
    'yes'
    >>> print(one.or_unknown(0.8))
    a.wav: (none of these), at most yes 0.750, no 0.250
    >>> one.or_unknown(0.8).label is None
    True
    """

    source: str
    label: str | None
    probability: float
    scores: dict[str, float]
    below_threshold: bool | None = None

    @classmethod
    def of(
        cls, source: str, scores: dict[str, float], threshold: float | None = None
    ) -> "Prediction":
        """Make one of the probabilities of all classes, in any order."""
        ordered = dict(sorted(scores.items(), key=lambda item: -item[1]))
        label = next(iter(ordered))
        below = None if threshold is None else ordered[label] < threshold
        return cls(source, label, ordered[label], ordered, below)

    def or_unknown(self, threshold: float) -> "Prediction":
        """The same, without a class if its probability is below a threshold."""
        below = self.probability < threshold
        return replace(self, label=None if below else self.label, below_threshold=below)

    def __str__(self) -> str:
        return f"{self.source}: {self.said()}"

    def said(self, top: int = 3) -> str:
        """The likeliest classes, on one line."""
        best = list(self.scores.items())[:top]
        said = ", ".join(f"{label} {value:.3f}" for label, value in best)
        return f"{NONE_OF_THESE}, at most {said}" if self.label is None else said

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "file": self.source,
            "label": self.label,
            "probability": self.probability,
            "below_threshold": self.below_threshold,
            "scores": self.scores,
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of a table: one."""
        yield {"file": self.source, "label": self.label, "probability": f"{self.probability:.6f}"}


@dataclass(frozen=True)
class MultilabelPrediction(Prediction):
    """The labels of a clip that may have several, or none.

    `label` and `probability` are those of the likeliest, be it above its threshold or not.

    Attributes
    ----------
    labels : dict[str, float]
        The probability of each label that reaches its threshold, the likeliest first.

    Example
    -------
    >>> scores = {"dog": 0.7, "rain": 0.9, "wind": 0.4}
    >>> one = MultilabelPrediction.reached("a.wav", scores, {"dog": 0.5, "rain": 0.5, "wind": 0.5})
    >>> print(one)
    a.wav: rain 0.900, dog 0.700
    >>> list(one.rows())[1]
    {'file': 'a.wav', 'label': 'dog', 'probability': '0.700000'}
    """

    labels: dict[str, float] = field(default_factory=dict)

    @classmethod
    def reached(
        cls, source: str, scores: Mapping[str, float], thresholds: Mapping[str, float]
    ) -> "MultilabelPrediction":
        """Make one of the probabilities of all labels, in any order, and their thresholds."""
        one = Prediction.of(source, dict(scores))
        labels = {name: value for name, value in one.scores.items() if value >= thresholds[name]}
        return cls(one.source, one.label, one.probability, one.scores, labels=labels)

    def said(self, top: int = 0) -> str:
        """The labels, on one line."""
        return ", ".join(f"{name} {value:.3f}" for name, value in self.labels.items()) or "no label"

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"file": self.source, "labels": self.labels, "scores": self.scores}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of a table: one a label, and one of empty cells where there is none."""
        for name, value in self.labels.items():
            yield {"file": self.source, "label": name, "probability": f"{value:.6f}"}
        if not self.labels:
            yield {"file": self.source, "label": "", "probability": ""}


@dataclass(frozen=True)
class Segment:
    """A part of a recording, and what is said in it or which class it is.

    Attributes
    ----------
    start, end : float
        Seconds.
    text : str
        What is said, or the class.
    probability : float or None
        Of the class; None of a text.
    """

    start: float
    end: float
    text: str
    probability: float | None = None

    def __str__(self) -> str:
        sure = "" if self.probability is None else f" {self.probability:.3f}"
        return f"[{self.start:.2f} - {self.end:.2f}] {self.text}{sure}"


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording.

    Attributes
    ----------
    source : str
        The file, or which array it was.
    text : str
        By the rules of the language that the adapter was trained on.
    segments : tuple[Segment, ...]
        Its parts, with their times.

    Example
    -------
    >>> one = Transcript("a.wav", "yella sin", (Segment(0.1, 0.6, "yella"), Segment(1.2, 1.5, "sin")))
    >>> print(one)
    a.wav: yella sin
    >>> print(one.segments[0])
    [0.10 - 0.60] yella
    """

    source: str
    text: str
    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"

    def said(self, top: int = 0) -> str:
        """The text."""
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        parts = [{"start": s.start, "end": s.end, "text": s.text} for s in self.segments]
        return {"file": self.source, "text": self.text, "segments": parts}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of a table: one."""
        yield {"file": self.source, "text": self.text}


@dataclass(frozen=True)
class Timeline:
    """Which class each part of a recording is.

    Attributes
    ----------
    source : str
        The file, or which array it was.
    segments : tuple[Segment, ...]
        Parts in their order, whose `text` is a class; where unknown parts were asked for, those are gaps.

    Example
    -------
    >>> print(Timeline("a.wav", (Segment(0.0, 1.5, "rain", 0.9), Segment(1.5, 2.0, "dog", 0.75))))
    a.wav: [0.00 - 1.50] rain 0.900, [1.50 - 2.00] dog 0.750
    """

    source: str
    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return f"{self.source}: {self.said()}"

    def said(self, top: int = 0) -> str:
        """The parts, on one line."""
        return ", ".join(map(str, self.segments)) or NONE_OF_THESE

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"file": self.source, "segments": [_labelled(one) for one in self.segments]}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of a table: one a segment."""
        for one in self.segments:
            yield {"file": self.source, **_labelled(one)}


def _labelled(one: Segment) -> dict[str, Any]:
    return {
        "start": one.start,
        "end": one.end,
        "label": one.text,
        "probability": one.probability,
    }


Result = Prediction | Transcript | Timeline
