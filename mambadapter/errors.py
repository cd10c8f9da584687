"""The one error type that reaches a user, and the did-you-mean that goes with it."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user gave is wrong; the message names the thing and the mend."""


class DivergedError(UserError):
    """The loss is not finite any more."""


# When the disk fills up, torch.save names only this source file of its own: the error carries no errno.
_DISK_FULL = ("No space left on device", "inline_container.cc")

# What torch says when memory runs out, of a CPU and of a GPU.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
    "Storage size calculation overflowed",
)

# What is wrong with a path, rather than with the code.
_BAD_PATH = {
    errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM,
    errno.EROFS, errno.EEXIST,
}  # fmt: skip


def user_error(error: BaseException) -> UserError | None:
    """What to tell a user of an error, if it can be mended without a look at the code.

    Parameters
    ----------
    error : BaseException
        Whatever ended a command.

    Returns
    -------
    UserError or None
        The error itself where it is one; for a full disk, for no more memory and for a path that cannot be
        used, one that says so.

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
        number, where = getattr(cause, "errno", None), getattr(cause, "filename", None)
        if isinstance(cause, MemoryError) or any(sign in said for sign in _NO_MEMORY):
            why = next(iter(said.strip().splitlines()), type(cause).__name__)
            return UserError(
                f"Memory ran out ({why}). Lower "
                "batch_size or batch_seconds, the adapter's rank or its budget, or take a smaller encoder."
            )
        if number in _BAD_PATH and where is not None:
            why = getattr(cause, "strerror", None) or said
            return UserError(f"{where} cannot be used ({why}); give another path.")
        if number in (errno.ENOSPC, errno.EDQUOT) or any(sign in said for sign in _DISK_FULL):
            return UserError(
                f"The disk is full{f' ({where})' if where else ''}. Free some space and start the same "
                "command again: what is done stays done, and training goes on from the last whole checkpoint."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__).strip()


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
    known = sorted(map(str, known))
    close = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(known)}"
