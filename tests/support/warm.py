"""Scripts in processes of their own that need not import torch again: forked from one that has."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from mambadapter.experiments import forks

TRACED = Path(__file__).with_name("traced.py")

# Before a script: launch it as two processes.
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def start(arguments, output, errors=None, cwd=None, **environment):
    """Start ``python ARGUMENTS``; what it prints goes to files. Returns a `multiprocessing.Process`."""
    tracer = [TRACED] if "TRACED" in os.environ else []
    given = [*map(str, [*tracer, *arguments])]
    return forks.start(given, output, errors, cwd, {**os.environ, **environment})


def run(arguments, cwd=None, timeout=300, processes=1, **environment):
    """As `subprocess.run` of ``python ARGUMENTS`` would, with what it printed; or in processes as torchrun's."""
    arguments = [*map(str, arguments)]
    if arguments[0] == "-m":  # a launcher starts processes of its own
        return subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env={**os.environ, **environment},
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        started = [
            start(arguments, output, errors, cwd, **environment, **place)
            for place in (places(processes) if processes > 1 else [{}])
        ]
        statuses = [forks.wait(process, timeout) for process in started]
        if None in statuses:
            for process in started:
                process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout)
        printed = output.read_text(), errors.read_text()
        return subprocess.CompletedProcess(arguments, max(statuses, key=abs), *printed)


def places(processes):
    """What torchrun tells each of its processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    size = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    return [{"RANK": f"{n}", "LOCAL_RANK": f"{n}", **size, **meeting} for n in range(processes)]
