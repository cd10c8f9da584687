"""Run what a sweep file plans: here, several at once, or by a cluster's scheduler."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from statistics import median

from tqdm import tqdm

from mambadapter.experiments.launchers import LAUNCHERS, Here, Launcher, Submitit
from mambadapter.experiments.search import Group, run_search
from mambadapter.experiments.sweep_file import Sweep
from mambadapter.experiments.trials import DONE, FAILED, Outcome, Trial
from mambadapter.metrics.names import headline
from mambadapter.validators import one_of


def run_sweep(
    sweep: Sweep,
    jobs: int | None = None,
    launcher: str = "here",
    dry_run: bool = False,
    options: dict[str, str | int] | None = None,
) -> Counter:
    """Run the trials of a sweep that are not done, and say how it went."""
    one_of("launcher", launcher, LAUNCHERS)
    trials = sweep.trials()
    missing = [trial for trial in trials if not trial.done]
    if jobs is None:
        import torch

        jobs = max(torch.cuda.device_count() // sweep.processes, 1)
    print(
        f"{sweep.name}: {len(trials)} runs, {len(trials) - len(missing)} of them done, in {sweep.output}"
    )
    searching = [group for group in sweep.groups() if not group.found]
    if searching:
        tries = searching[0].search.tries
        print(f"First {tries} tries on validation data for each of {len(searching)} searches.")
    print(_estimate(trials, len(missing), jobs))
    if dry_run:
        for trial in missing:
            print(f"  {trial.name}")
        return Counter({DONE: len(trials) - len(missing)})
    runner = (
        Here(jobs, sweep.processes)
        if launcher == "here"
        else Submitit(launcher, sweep.output / "jobs", jobs, options or {})
    )
    if searching:
        _search(searching, runner, jobs)
    ready = sweep.ready()
    missing = [trial for trial in ready if not trial.done]
    counts = Counter({DONE: len(ready) - len(missing)})
    for outcome in runner.all(missing):
        _say(outcome)
        counts[outcome.status] += 1
    for trial in missing:
        if (end := trial.failure) is not None:
            tqdm.write(f"{FAILED}: {trial.name} ({trial.output})\n    {_last_line(end)}")
    counts[FAILED] += len(trials) - len(ready)  # those whose search found nothing
    print(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    return counts


def _search(groups: Sequence[Group], launcher: Launcher, jobs: int) -> None:
    """Search for every group, several at once, and name those for which nothing was found."""
    with ThreadPoolExecutor(jobs) as pool:
        failures = pool.map(lambda group: run_search(group, launcher.one, tqdm.write), groups)
        for group, why in zip(groups, failures, strict=True):
            if why:
                last = _last_line(why)
                tqdm.write(f"{FAILED}: every try of {group.name} ({group.folder})\n    {last}")


def _say(outcome: Outcome) -> None:
    result = outcome.trial.read() if outcome.status == DONE else None
    test = (result or {}).get("metrics", {}).get("test", {})
    name = headline(test)
    score = f": {name} {100 * test[name]:.2f} %" if name else ""
    tqdm.write(f"{outcome.status}: {outcome.trial.name}{score}")


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
