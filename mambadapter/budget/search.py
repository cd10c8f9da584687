"""From a parameter budget to the rank, or other width, of a method that comes closest to it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mambadapter.budget.count import stack_shape
from mambadapter.encoders.loading import split_source
from mambadapter.encoders.shape import EncoderShape
from mambadapter.errors import UserError
from mambadapter.methods.base import Method

logger = logging.getLogger(__name__)

# A run this far from its budget is at another budget.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Fit:
    """A method at the size closest to a budget.

    Attributes
    ----------
    method : Method
        The method, of that size.
    count : int
        What it trains, head left out.
    budget : int
        What was asked for.
    """

    method: Method
    count: int
    budget: int

    @property
    def gap(self) -> float:
        """Relative distance from the budget; positive where more is trained."""
        return self.count / self.budget - 1

    @property
    def size(self) -> str:
        """Such as ``rank=12``; empty for a method without a size."""
        name = self.method.size
        return f"{name}={getattr(self.method, name)}" if name else ""

    def __str__(self) -> str:
        return f"{self.size or 'its only size'} trains {self.count:,} ({100 * self.gap:+.1f} %)"


def fit_to_budget(
    method: Method,
    source: str | Mapping[str, Any],
    adapter_budget: int | None,
    count_norms: bool = True,
    parts: Sequence[str] = ("encoder",),
) -> Method:
    """Size a method for a budget; the head never counts.

    Parameters
    ----------
    method : Method
        One of `mambadapter.methods`; all its knobs but the size stay.
    source : str or Mapping[str, Any]
        The encoder: hub name, folder, or a name in `mambadapter.budget.count.ARCHITECTURES`; or a mapping
        with one of these as its ``source``.
    adapter_budget : int or None
        Trained parameters wanted. None leaves the method as it is.
    count_norms : bool
        Whether the LayerNorms that the method trains count, as in the paper.
    parts : Sequence[str]
        What it adapts, of ``encoder`` and ``decoder``; the budget is for both together.

    Returns
    -------
    Method

    Raises
    ------
    UserError
        If no size comes within 10 % of the budget; it names the nearest.

    Example
    -------
    >>> from mambadapter.methods import LoRA
    >>> fit_to_budget(LoRA(), "wav2vec2-base", 300_000).rank
    8
    """
    if adapter_budget is None:
        return method
    shapes = [stack_shape(split_source(source)[0], part) for part in parts]
    nearest = closest(method, shapes, adapter_budget, count_norms)
    if abs(nearest.gap) > TOLERANCE:
        options = "; or ".join(map(str, neighbours(method, shapes, adapter_budget, count_norms)))
        raise UserError(
            f"adapter_budget: {type(method).__name__} on this encoder cannot train about "
            f"{adapter_budget:,} parameters. The nearest: {options}. Give one of these counts, or another "
            "method or placement."
        )
    logger.info("adapter_budget %s: %s", f"{adapter_budget:,}", nearest)
    return nearest.method


def closest(
    method: Method, shapes: Sequence[EncoderShape], budget: int, count_norms: bool = True
) -> Fit:
    """Find the size that trains the count closest to a budget, the smaller of two as close.

    Parameters
    ----------
    method : Method
        One of `mambadapter.methods`.
    shapes : Sequence[EncoderShape]
        What it adapts: usually one encoder.
    budget : int
        Trained parameters wanted.
    count_norms : bool
        Whether the LayerNorms count.

    Returns
    -------
    Fit

    Example
    -------
    >>> from mambadapter.methods import MambAdapters
    >>> closest(MambAdapters(), [EncoderShape(768, 12, 3072)], 100_000, count_norms=False).method.rank
    22
    """
    options = neighbours(method, shapes, budget, count_norms)
    return min(options, key=lambda fit: abs(fit.count - budget))


def neighbours(
    method: Method, shapes: Sequence[EncoderShape], budget: int, count_norms: bool = True
) -> list[Fit]:
    """The sizes on both sides of a budget, or the one that there is; arguments as for `closest`."""
    knob = method.size
    if knob is None:
        return [Fit(method, _count(method, shapes, count_norms), budget)]

    def fit(size: int) -> Fit:
        sized = replace(method, **{knob: size})
        return Fit(sized, _count(sized, shapes, count_norms), budget)

    # Counts grow with the size: double until above the budget, then halve the interval.
    above = next(size for size in _doubling() if fit(size).count >= budget)
    below = above // 2
    while above - below > 1:
        middle = (above + below) // 2
        if fit(middle).count >= budget:
            above = middle
        else:
            below = middle
    return [fit(size) for size in (below, above) if size >= 1]


def _count(method: Method, shapes: Sequence[EncoderShape], count_norms: bool) -> int:
    return sum(method.count(shape).total(count_norms) for shape in shapes)


def _doubling() -> Iterator[int]:
    size = 1
    while True:
        yield size
        size *= 2
