"""Scripts in processes of their own that need not import torch again: forked from one that has."""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[2]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "torch",
        "speechbrain.core",
        "sklearn.metrics",
        "numba",
        "transformers.models.wav2vec2.modeling_wav2vec2",
        "transformers.models.wavlm.modeling_wavlm",
        "transformers.models.whisper.modeling_whisper",
    ]
)


def start(arguments, output, errors=None, cwd=None, **environment):
    """Start ``python ARGUMENTS``; what it prints goes to files. Returns a `multiprocessing.Process`."""
    inherited = {**os.environ, **environment}
    files = str(output), str(errors or output)
    process = _FORKS.Process(
        target=_run, args=([*map(str, arguments)], *files, str(cwd or Path.cwd()), inherited)
    )
    process.start()
    return process


# Before a script: launch it as two processes.
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def run(arguments, cwd=None, timeout=300, **environment):
    """As `subprocess.run` of ``python ARGUMENTS`` would, with what it printed."""
    arguments = [*map(str, arguments)]
    if arguments[0] == "-m":  # a launcher starts processes of its own
        return subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env={**os.environ, **environment},
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = start(arguments, output, errors, cwd, **environment)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout)
        printed = output.read_text(), errors.read_text()
        return subprocess.CompletedProcess(arguments, process.exitcode, *printed)


def _run(arguments, output, errors, cwd, environment):
    multiprocessing.set_start_method(None, force=True)  # the system's, as in a process of its own
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
    try:
        with _traced() if "TRACED" in environment else contextlib.nullcontext():
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which multiprocessing would leave out


@contextlib.contextmanager
def _traced():
    tracer = coverage.Coverage(
        config_file=str(ROOT / "pyproject.toml"),
        data_file=str(ROOT / ".coverage"),
        data_suffix=True,
        source=[str(ROOT / "mambadapter"), str(ROOT / "recipes")],
    )
    tracer.start()
    try:
        yield
    finally:
        tracer.stop()
        tracer.save()
