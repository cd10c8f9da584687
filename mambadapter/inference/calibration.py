"""How sure a package's classifier is: its temperature, and when a clip is none of the classes."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from mambadapter.errors import UserError

# Whose clips a false accept is counted on: those of none of the classes, or those of another class.
UNKNOWN, WRONG = "unknown", "wrong"


@dataclass(frozen=True)
class Calibration:
    """How the logits of a classifier become probabilities, and which are too low.

    Attributes
    ----------
    temperature : float
        Divides the logits.
    clips : int
        Of validation, on which it was found.
    threshold : float or None
        Of the highest probability; a clip below it is none of the classes. None: none could be chosen.
    false_reject : float or None
        Share below the threshold of the validation clips that are classified right.
    false_reject_clips : int
        How many those are.
    false_accept : float or None
        Share at or above it of the clips that `false_accept_of` names.
    false_accept_clips : int
        How many those are.
    false_accept_of : str
        ``unknown``: clips of none of the classes; ``wrong``: validation clips that are classified wrong.

    Example
    -------
    >>> one = Calibration(2.0, 40, 0.5, 0.04, 25, 0.2, 15)
    >>> Calibration.fits(one.to_dict()), Calibration.fits({**one.to_dict(), "temperature": 0})
    (True, False)
    """

    temperature: float
    clips: int
    threshold: float | None
    false_reject: float | None
    false_reject_clips: int
    false_accept: float | None
    false_accept_clips: int
    false_accept_of: str = WRONG

    def to_dict(self) -> dict[str, Any]:
        """As a package's card holds it."""
        return asdict(self)

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Calibration | None":
        """That of a card; packages of before have none."""
        kept = card.get("calibration")
        return None if kept is None else cls(**kept)

    @classmethod
    def fits(cls, value: Any) -> bool:
        """Whether a value can be what `to_dict` gives."""
        if not isinstance(value, dict) or value.keys() != {field.name for field in fields(cls)}:
            return False
        counts = [value[name] for name in ("clips", "false_reject_clips", "false_accept_clips")]
        shares = [value[name] for name in ("threshold", "false_reject", "false_accept")]
        return (
            _is_number(value["temperature"], 0.001, 1000)
            and all(isinstance(one, int) and _is_number(one, 0, 10**12) for one in counts)
            and all(one is None or _is_number(one, 0, 1) for one in shares)
            and value["false_accept_of"] in (UNKNOWN, WRONG)
        )


def probabilities(logits: Tensor, calibration: Calibration | None) -> Tensor:
    """(B, classes) float64 probabilities, on the CPU; the order of the classes is that of the logits."""
    scaled = logits.float().cpu().double()
    return (scaled / calibration.temperature if calibration else scaled).softmax(-1)


def rates(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a threshold does, in words, of what a run's ``result.json`` has under ``calibration``."""
    whose = {
        "false_reject": "validation clips that are classified right",
        "false_accept": "clips of none of the classes"
        if told["false_accept_of"] == UNKNOWN
        else "validation clips that are classified wrong",
    }
    for name, clips in whose.items():
        if count := told[f"{name}_clips"]:
            low, high = (100 * told[f"{name}_{end}"] for end in ("low", "high"))
            said = f"{100 * told[name]:.1f} %, 95 % interval {low:.1f} to {high:.1f}, of {count} {clips}"
            yield name.replace("_", " "), said


def check_threshold(threshold: float) -> float:
    """Refuse what is no probability."""
    if not _is_number(threshold, 0, 1):
        raise UserError(f"threshold={threshold!r} is impossible: give a probability, 0 to 1.")
    return float(threshold)


def _is_number(value: Any, least: float, most: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and least <= value <= most
