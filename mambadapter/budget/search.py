"""From a parameter budget to the rank, or other width, of a method that comes closest to it."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mambadapter.budget.count import Counter, counter
from mambadapter.budget.memory import check_memory
from mambadapter.encoders.loading import split_source
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
    """Size a method for a budget, the head never counts; and refuse one that no memory holds.

    Parameters
    ----------
    method : Method
        One of `mambadapter.methods`; all its settings but the size stay.
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
        If no size comes within 10 % of the budget, it names the nearest; or what is trained would not fit
        into the machine's memory.

    Example
    -------
    >>> from mambadapter.methods import LoRA
    >>> fit_to_budget(LoRA(), "wav2vec2-base", 300_000).rank
    8
    """
    count = counter(split_source(source)[0], parts)
    if adapter_budget is None:
        check_memory(method, count)
        return method
    nearest = closest(method, count, adapter_budget, count_norms)
    if abs(nearest.gap) > TOLERANCE:
        options = "; or ".join(map(str, neighbours(method, count, adapter_budget, count_norms)))
        raise UserError(
            f"adapter_budget: {type(method).__name__} on this encoder cannot train about "
            f"{adapter_budget:,} parameters. The nearest: {options}. Give one of these counts, or another "
            "method or placement."
        )
    check_memory(nearest.method, count)
    logger.info("adapter_budget %s: %s", f"{adapter_budget:,}", nearest)
    return nearest.method


def closest(method: Method, count: Counter, budget: int, count_norms: bool = True) -> Fit:
    """Find the size that trains the count closest to a budget, the smaller of two as close.

    Parameters
    ----------
    method : Method
        One of `mambadapter.methods`.
    count : callable
        What `mambadapter.budget.count.counter` makes.
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
    >>> closest(MambAdapters(), counter("wav2vec2-base"), 100_000, count_norms=False).method.rank
    22
    """
    options = neighbours(method, count, budget, count_norms)
    return min(options, key=lambda fit: abs(fit.count - budget))


def neighbours(method: Method, count: Counter, budget: int, count_norms: bool = True) -> list[Fit]:
    """The sizes on both sides of a budget, or the one that there is; arguments as for `closest`."""

    def fit(**size: int) -> Fit:
        sized = replace(method, **size)
        return Fit(sized, count(sized).budgeted(count_norms), budget)

    setting = method.size
    if setting is None:
        return [fit()]
    # Counts grow about evenly with the size: go where the line through the last two leads.
    below, above, size, last = 0, None, 1, (0, 0)
    while above is None or above - below > 1:
        trained = fit(**{setting: size}).count
        if trained >= budget:
            above = size
        else:
            below = size
        slope = (trained - last[1]) / (size - last[0])
        last = size, trained
        size += math.ceil((budget - trained) / max(slope, 1))
        size = max(size, below + 1) if above is None else min(max(size, below + 1), above - 1)
    return [fit(**{setting: size}) for size in (below, above) if size >= 1]
