"""Runs of recipes as a user would start them, each in a process of its own."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError
from mambadapter.experiments import forks
from mambadapter.utils.files import read_json, write_json

DONE, FAILED, ELSEWHERE = "done", "failed", "runs elsewhere"

VALIDATE_ONLY = "--validate_only"  # a flag of every recipe: train, and test nothing

SWEEP_LOG, _FAILURE, _LOCK = "sweep_log.txt", "failed.json", ".lock"
_SHOWN = 2000  # characters of a log


@dataclass(frozen=True)
class Trial:
    """One run of a recipe.

    Attributes
    ----------
    name : str
        For messages.
    recipe : Path
        Its folder.
    settings : Mapping[str, Any]
        What the command line changes in the YAML.
    output : Path
        Where it writes; a trial whose ``result.json`` there can be read is done.
    hparams : str
        The YAML, from the recipe's folder.
    script : str
        The program, from there too.
    flags : tuple[str, ...]
        What its command line says besides.
    processes : int
        That train it together, started by ``torchrun``.
    """

    name: str
    recipe: Path
    settings: Mapping[str, Any]
    output: Path
    hparams: str = "hparams/train.yaml"
    script: str = "train.py"
    flags: tuple[str, ...] = ()
    processes: int = 1

    @property
    def arguments(self) -> list[str]:
        """The command line after ``python``."""
        settings = {**self.settings, "output_folder": self.output.resolve()}
        options = [
            part for key, value in settings.items() for part in (f"--{key}", _written(value))
        ]
        together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        launch = [*together, str(self.processes)] if self.processes > 1 else []
        return [*launch, self.script, self.hparams, *self.flags, *options]

    @property
    def result(self) -> Path:
        """What it writes when it is done."""
        return self.output / "result.json"

    @property
    def done(self) -> bool:
        """Whether its result is there, whole."""
        return self.read() is not None

    @property
    def failure(self) -> str | None:
        """The end of the log of its last try, if that failed and none has succeeded since."""
        path = self.output / _FAILURE
        return str(read_json(path, "delete it").get("log", "")) if path.is_file() else None

    def read(self) -> dict[str, Any] | None:
        """Its result; None if there is none, or only half of one."""
        if not self.result.is_file():
            return None
        with contextlib.suppress(UserError):
            return read_json(self.result, "delete it")
        return None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: `DONE`, `FAILED` with the end of its log, or `ELSEWHERE`."""

    trial: Trial
    status: str
    log: str = ""


def execute(
    trial: Trial,
    threads: int = 1,
    gpus: str | None = None,
    wait: bool = False,
    fork: bool = True,
) -> Outcome:
    """Run a trial in a process of its own, unless it is done or another process runs it.

    A trial that was killed goes on from its checkpoints, as its recipe does. With `fork` only the first
    trial waits for the libraries' imports; where there is no second, that saves nothing.
    """
    with _lock(trial.output, wait) as lock:
        if lock is None:
            return Outcome(trial, ELSEWHERE)
        if trial.done:
            return Outcome(trial, DONE)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpus
        log = trial.output / SWEEP_LOG
        log.write_text("")
        arguments = [*trial.arguments, "--noprogressbar"]
        # It holds the lock too: were this process killed, it would go on by itself.
        if fork and trial.processes == 1:
            status = forks.wait(forks.start(arguments, log, None, trial.recipe, environment, lock))
        else:
            with log.open("w", encoding="utf-8") as file:
                status = subprocess.run(
                    [sys.executable, *arguments],
                    cwd=trial.recipe,
                    env=environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    check=False,
                    pass_fds=[lock],
                ).returncode
        if status or not trial.result.is_file():
            end = log.read_text(encoding="utf-8", errors="replace")[-_SHOWN:]
            write_json(trial.output / _FAILURE, {"status": status, "log": end})
            return Outcome(trial, FAILED, end)
        (trial.output / _FAILURE).unlink(missing_ok=True)
        return Outcome(trial, DONE)


def threads_of_each(processes: int) -> int:
    """How many threads each of so many processes has, of the cores that this one may use.

    A scheduler's or a container's share counts, not the machine's cores: threads that outnumber theirs wait
    for one another, and a run takes many times as long. `OMP_NUM_THREADS`, where it is set, is the most.
    """
    import joblib  # with numpy, a quarter of a second that reading a sweep need not wait for

    share = max(joblib.cpu_count() // processes, 1)
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(share, max(int(outermost), 1)) if outermost.isdecimal() else share


def run_trials(trials: Iterable[Trial], jobs: int = 1) -> Iterator[Trial]:
    """Run the trials that are not done, and yield each once it is."""
    missing = [trial for trial in trials if not trial.done]
    threads = threads_of_each(jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(lambda trial: execute(trial, threads), missing):
            if outcome.status == FAILED:
                raise UserError(f"{outcome.trial.name} failed:\n{outcome.log}")
            yield outcome.trial


@contextlib.contextmanager
def _lock(folder: Path, wait: bool) -> Iterator[int | None]:
    """Hold a folder, by a file descriptor, or learn that another process does (None)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _written(value: Any) -> str:
    """A value as YAML reads it."""
    return (
        {True: "true", False: "false"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )
