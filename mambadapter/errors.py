"""The one error type that reaches a user, and the did-you-mean that goes with it."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user gave is wrong; the message names the thing and the mend."""


class DivergedError(UserError):
    """The loss is not finite any more."""


# When the disk fills up, torch.save names only this source file of its own: the error carries no errno.
_TORCH_WRITE_FAILED = "inline_container.cc"


def user_error(error: BaseException) -> UserError | None:
    """What to tell a user of an error, if it can be mended without a look at the code.

    Parameters
    ----------
    error : BaseException
        Whatever ended a command.

    Returns
    -------
    UserError or None
        The error itself where it is one; for a full disk, one that says so.

    Example
    -------
    >>> str(user_error(OSError(28, "No space left on device", "a/result.json"))).partition(".")[0]
    'The disk is full (a/result'
    >>> user_error(KeyError("a bug"))
    """
    if isinstance(error, UserError):
        return error
    cause: BaseException | None = error
    while cause is not None:
        said = str(cause)
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
            sign in said for sign in ("No space left on device", _TORCH_WRITE_FAILED)
        ):
            where = getattr(cause, "filename", None)
            return UserError(
                f"The disk is full{f' ({where})' if where else ''}. Free some space and start the same "
                "command again: what is done stays done, and training goes on from the last whole checkpoint."
            )
        cause = cause.__cause__ or cause.__context__
    return None


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
