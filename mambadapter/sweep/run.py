"""Run what a sweep file plans: here, several at once, or by a cluster's scheduler."""

import os
import queue
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from statistics import median

import torch
from tqdm import tqdm

from mambadapter.errors import UserError
from mambadapter.knobs import one_of
from mambadapter.sweep.plan import Sweep
from mambadapter.sweep.trials import DONE, ELSEWHERE, FAILED, Outcome, Trial, execute

LAUNCHERS = ("here", "slurm", "local", "debug")


def run_sweep(
    sweep: Sweep,
    jobs: int | None = None,
    launcher: str = "here",
    dry_run: bool = False,
    options: dict[str, str | int] | None = None,
) -> Counter:
    """Run the trials of a sweep that are not done, and say how it went.

    Parameters
    ----------
    sweep : Sweep
        What `mambadapter.sweep.plan.read_sweep` returned.
    jobs : int, optional
        Trials at once; default one for each GPU, or one.
    launcher : str
        ``here``: processes of this machine. ``slurm``: jobs of a cluster, by submitit; ``local`` and
        ``debug`` are submitit's own stand-ins for one.
    dry_run : bool
        Only say what would run.
    options : dict, optional
        For submitit's executor, such as ``{"slurm_partition": "gpu", "timeout_min": 240}``.

    Returns
    -------
    Counter
        Trials by how they stand: ``done``, ``failed``, ``runs elsewhere``.

    Raises
    ------
    UserError
        If the launcher is unknown or submitit is not installed.
    """
    one_of("launcher", launcher, LAUNCHERS)
    trials = sweep.trials()
    missing = [trial for trial in trials if not trial.done]
    jobs = jobs or max(torch.cuda.device_count(), 1)
    print(
        f"{sweep.name}: {len(trials)} runs, {len(trials) - len(missing)} of them done, in {sweep.output}"
    )
    print(_estimate(trials, len(missing), jobs))
    if dry_run:
        for trial in missing:
            print(f"  {trial.name}")
        return Counter({DONE: len(trials) - len(missing)})
    outcomes = (
        _run_here(missing, jobs)
        if launcher == "here"
        else _submit(sweep, missing, launcher, jobs, options)
    )
    counts = Counter({DONE: len(trials) - len(missing)})
    for outcome in outcomes:
        counts[outcome.status] += 1
    for trial in missing:
        if (end := trial.failure) is not None:
            tqdm.write(f"{FAILED}: {trial.name} ({trial.output})\n    {_last_line(end)}")
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return counts


def _run_here(trials: Sequence[Trial], jobs: int) -> Iterator[Outcome]:
    gpus: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    available = torch.cuda.device_count()
    for index in range(jobs):
        gpus.put(str(index % available) if available else None)
    threads = max((os.cpu_count() or 1) // jobs, 1)

    def on_a_free_gpu(trial: Trial, wait: bool) -> Outcome:
        gpu = gpus.get()
        try:
            return execute(trial, threads, gpu, wait)
        finally:
            gpus.put(gpu)

    with ThreadPoolExecutor(jobs) as pool, _bar(len(trials)) as bar:
        futures = [pool.submit(on_a_free_gpu, trial, False) for trial in trials]
        elsewhere = []
        try:
            for future in as_completed(futures):
                outcome = future.result()
                if outcome.status == ELSEWHERE:
                    elsewhere.append(outcome.trial)
                else:
                    yield _shown(outcome, bar)
            # Another sweep's, or those of this one before it was killed; by now most are done.
            for trial in elsewhere:
                yield _shown(on_a_free_gpu(trial, True), bar)
        except BaseException:
            # What has not started does not start; what runs goes on when the sweep is started again.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _submit(
    sweep: Sweep,
    trials: Sequence[Trial],
    launcher: str,
    jobs: int,
    options: dict[str, str | int] | None,
) -> Iterator[Outcome]:
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            f"--launcher {launcher} needs the package submitit; install it: pip install submitit."
        ) from error
    executor = submitit.AutoExecutor(sweep.output / "jobs", cluster=launcher)
    settings = {"name": sweep.name, "timeout_min": 24 * 60, **(options or {})}
    if launcher == "slurm":
        settings["slurm_array_parallelism"] = jobs
    executor.update_parameters(**settings)
    submitted = executor.map_array(execute, list(trials)) if trials else []
    with _bar(len(submitted)) as bar:
        for trial, job in zip(trials, submitted, strict=True):
            try:
                yield _shown(job.result(), bar)
            except submitit.core.utils.UncompletedJobError as error:
                yield _shown(Outcome(trial, FAILED, str(error)), bar)


def _bar(total: int) -> tqdm:
    return tqdm(total=total, unit="run", dynamic_ncols=True)


def _shown(outcome: Outcome, bar: tqdm) -> Outcome:
    result = outcome.trial.read() if outcome.status == DONE else None
    test = (result or {}).get("metrics", {}).get("test", {})
    score = next(
        (f": {name} {100 * test[name]:.2f} %" for name in ("accuracy", "wer") if name in test), ""
    )
    tqdm.write(f"{outcome.status}: {outcome.trial.name}{score}")
    bar.update()
    return outcome


def _estimate(trials: Sequence[Trial], missing: int, jobs: int) -> str:
    if not missing:
        return "Nothing is left to run."
    times = [result["wall_time_s"] for trial in trials if (result := trial.read()) is not None]
    if not times:
        return f"{missing} to run, {jobs} at a time; how long one takes is known after the first."
    seconds = median(times) * missing / jobs
    return (
        f"{missing} to run, {jobs} at a time: about {timedelta(seconds=round(seconds))}, by the "
        f"{len(times)} that are done."
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
