"""Where the runs of a sweep happen: processes of this machine, or jobs of a cluster."""

import contextlib
import os
import queue
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from mambadapter.errors import UserError
from mambadapter.experiments.trials import (
    ELSEWHERE,
    FAILED,
    Outcome,
    Trial,
    execute,
    threads_of_each,
)

LAUNCHERS = ("here", "slurm", "local", "debug")

_REFRESH = 1.0  # seconds between looks at what runs
_EPOCH = re.compile(r"epoch: (\d+)")


class Launcher(Protocol):
    """Runs trials; those that another process runs too are waited for, not run twice."""

    def one(self, trial: Trial) -> Outcome:
        """Run a trial and wait for it; several threads may."""

    def all(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Run many, and yield how each ended, in whatever order they do."""


class Here:
    """Processes of this machine, one GPU each where there are enough."""

    def __init__(self, jobs: int, processes: int = 1) -> None:
        self.jobs = jobs
        self.threads = threads_of_each(jobs * processes)
        self.running: dict[str, Trial] = {}
        self.gpus: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        import torch  # where a job of a cluster does not wait for it

        available = torch.cuda.device_count()
        shares = available // processes
        for index in range(jobs):
            first = index % shares * processes if shares else 0
            own = ",".join(map(str, range(first, first + processes)))
            self.gpus.put(own if shares else None)

    def one(self, trial: Trial, wait: bool = True) -> Outcome:
        """Run a trial on the next GPUs that are free."""
        gpus = self.gpus.get()
        self.running[trial.name] = trial
        try:
            return execute(trial, self.threads, gpus, wait)
        finally:
            del self.running[trial.name]
            self.gpus.put(gpus)

    def all(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Run many, `jobs` at a time, and show those that run with the epoch they have finished."""
        with ThreadPoolExecutor(self.jobs) as pool, _bar(len(trials)) as bar, self._shown_on(bar):
            futures = [pool.submit(self.one, trial, False) for trial in trials]
            elsewhere = []
            try:
                for future in as_completed(futures):
                    outcome = future.result()
                    if outcome.status == ELSEWHERE:
                        elsewhere.append(outcome.trial)
                        continue
                    bar.update()
                    yield outcome
                # Processes of another sweep, or of this one before it was killed, ran these; most have
                # finished by now. Each is waited for, and run here if its process died.
                for trial in elsewhere:
                    outcome = self.one(trial)
                    bar.update()
                    yield outcome
            except BaseException:
                # Cancel the runs that wait. Those that run are resumed when the sweep is started again.
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @contextlib.contextmanager
    def _shown_on(self, bar: tqdm) -> Iterator[None]:
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_REFRESH):
                shown = ", ".join(map(progress, list(self.running.values())))
                # In a log file every refresh adds a line, so there the bar waits for the next finished run.
                bar.set_postfix_str(shown, refresh=sys.stderr.isatty())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class Submitit:
    """Jobs of a cluster, by submitit."""

    def __init__(
        self, cluster: str, folder: Path, jobs: int, options: dict[str, str | int]
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                f"--launcher {cluster} needs the package submitit; install it: pip install submitit."
            ) from error
        settings = {"name": folder.parent.name, "timeout_min": 24 * 60, **options}
        if cluster == "slurm":
            settings = {"slurm_array_parallelism": jobs, **settings}
        try:
            self.executor = submitit.AutoExecutor(folder, cluster=cluster)
            self.executor.update_parameters(**settings)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise UserError(f"--launcher {cluster}: {error}") from error
        self.lost = submitit.core.utils.UncompletedJobError
        self.submitting = threading.Lock()

    def one(self, trial: Trial) -> Outcome:
        """Submit a trial and wait for it."""
        with self.submitting:
            job = self.executor.submit(_execute_and_wait, trial)
        return self._outcome(trial, job)

    def all(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Submit many as one array."""
        jobs = self.executor.map_array(_execute_and_wait, list(trials)) if trials else []
        for trial, job in zip(trials, tqdm(jobs, unit="run", dynamic_ncols=True), strict=True):
            yield self._outcome(trial, job)

    def _outcome(self, trial: Trial, job: Any) -> Outcome:
        try:
            return job.result()
        except self.lost as error:
            return Outcome(trial, FAILED, str(error))


def progress(trial: Trial) -> str:
    """What a trial that runs has done: its name and its last finished epoch."""
    epochs: list[str] = []
    with contextlib.suppress(OSError):  # the run may replace its logs meanwhile
        logs = sorted(trial.output.rglob("train_log.txt"), key=lambda path: path.stat().st_mtime)
        epochs = _EPOCH.findall(logs[-1].read_text(encoding="utf-8")) if logs else []
    return f"{trial.name}: " + (f"epoch {epochs[-1]} done" if epochs else "first epoch")


def _execute_and_wait(trial: Trial) -> Outcome:
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))  # set where the job asked for some
    return execute(trial, max(cores // trial.processes, 1), wait=True, fork=False)


def _bar(total: int) -> tqdm:
    return tqdm(total=total, unit="run", dynamic_ncols=True)
