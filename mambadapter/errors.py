"""The one error type that reaches a user, and the did-you-mean that goes with it."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user gave is wrong; the message names the thing and the mend."""


class DivergedError(UserError):
    """The loss is not finite any more."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which known name is closest, and list them all.

    Parameters
    ----------
    name : str
        What was written.
    known : Iterable[str]
        What may be written.

    Returns
    -------
    str
        Text to append to an error message.

    Example
    -------
    >>> did_you_mean("mambadaptor", ["linear_probe", "mambadapter"])
    "did you mean 'mambadapter'? Known: linear_probe, mambadapter"
    """
    known = sorted(known)
    close = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(known)}"
