"""Whether a machine can hold what a method trains; asked before any of it is allocated."""

import os

from mambadapter.budget.count import Counter, ParameterCount
from mambadapter.errors import UserError
from mambadapter.methods.base import Method

# Bytes of a trained parameter in single precision: itself, its gradient and two moments of AdamW.
_TRAINED, _FROZEN = 16, 4


def check_memory(method: Method, count: Counter) -> None:
    """Refuse a method that takes more memory than the machine has.

    A process that asks for too much may be killed without a word.
    """
    name = type(method).__name__
    try:
        counted = count(method)
    except (
        RuntimeError,
        OverflowError,
        TypeError,
    ) as error:  # of sizes beyond what a tensor can have
        why = str(error).partition("\n")[0]
        raise UserError(f"{name} cannot be of that size ({why}); lower its rank.") from error
    wanted, there = needed_bytes(counted), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > there:
        raise UserError(
            f"{name} trains {counted.adapted:,} parameters on this encoder; with gradients and AdamW's "
            f"moments they take {wanted / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f}. Lower "
            "its rank, or adapter_budget."
        )


def needed_bytes(count: ParameterCount) -> int:
    """What training holds at the least, whatever the batch.

    Example
    -------
    >>> needed_bytes(ParameterCount(frozen=100, encoder=0, layer_norm=2, adapter=8, head=0))
    560
    """
    return _TRAINED * count.adapted + _FROZEN * count.frozen
