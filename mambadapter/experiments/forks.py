"""Scripts in processes of their own, forked from one that has the libraries: importing them takes seconds."""

import atexit
import multiprocessing
import multiprocessing.connection
import os
import runpy
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

# Only the libraries: this package's modules are read anew by each script.
_LIBRARIES = [
    "torch",
    "speechbrain.core",
    "sklearn.metrics",
    "numba",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.models.wavlm.modeling_wavlm",
    "transformers.models.whisper.modeling_whisper",
]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_LIBRARIES)

# Whoever starts a process asks all others whether they have ended, and an exit status can be read only once.
_ONE_AT_A_TIME = threading.Lock()


def start(
    arguments: Sequence[str],
    output: Path,
    errors: Path | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    keep: int | None = None,
) -> ForkServerProcess:
    """Start ``python ARGUMENTS``.

    Parameters
    ----------
    arguments : Sequence[str]
        A script, and what it is given.
    output : Path
        The file that gets what it prints.
    errors : Path, optional
        The one that gets its errors, if that is another.
    folder : Path, optional
        Where it runs; here, if not given.
    environment : Mapping[str, str], optional
        All of its environment; this one's, if not given.
    keep : int, optional
        A file descriptor that it holds open until it ends.
    """
    process = _FORKS.Process(
        target=_run,
        args=(
            list(arguments),
            Path(output).absolute(),
            Path(errors or output).absolute(),
            Path(folder or ".").absolute(),
            dict(os.environ if environment is None else environment),
            keep if keep is None else _Descriptor(keep),
        ),
    )
    with _ONE_AT_A_TIME:
        program = sys.modules["__main__"]
        # The process would import the program that starts it, and so run it again where that is not guarded.
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = program
    return process


def wait(process: ForkServerProcess, timeout: float | None = None) -> int | None:
    """The exit status of what `start` started; None if it still runs after `timeout` seconds."""
    if not multiprocessing.connection.wait([process.sentinel], timeout):
        return None
    with _ONE_AT_A_TIME:
        process.join()
        return process.exitcode


class _Descriptor:
    """A file descriptor that goes to another process, where it is a number again."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple:
        return _received, (reduction.DupFd(self.number),)


def _received(duplicate: Any) -> int:
    return duplicate.detach()


def _run(
    arguments: list[str],
    output: Path,
    errors: Path,
    folder: Path,
    environment: dict[str, str],
    keep: int | None,  # open as long as this process is, for nothing closes it
) -> None:
    multiprocessing.set_start_method(None, force=True)  # the system's, as in a process of its own
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if threads := environment.get("OMP_NUM_THREADS"):  # OpenMP read it before the fork
        import torch

        torch.set_num_threads(int(threads))
    for path, stream in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), stream)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which multiprocessing would leave out
