"""Runs of recipes as a user would start them, each in a process of its own, its result kept."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError


@dataclass(frozen=True)
class Trial:
    """One run of a recipe.

    Attributes
    ----------
    name : str
        For messages.
    recipe : Path
        Folder of ``train.py``.
    settings : Mapping[str, Any]
        What the command line changes in the YAML.
    output : Path
        Where it writes.
    result : Path
        Where its ``result.json`` is kept; a trial whose file is there is done.
    hparams : str
        The YAML, from the recipe's folder.
    """

    name: str
    recipe: Path
    settings: Mapping[str, Any]
    output: Path
    result: Path
    hparams: str = "hparams/train.yaml"

    @property
    def arguments(self) -> list[str]:
        """The command line after ``python``."""
        settings = {**self.settings, "output_folder": self.output.resolve()}
        options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
        return ["train.py", self.hparams, *options]

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return self.result.is_file()

    def read(self) -> dict[str, Any]:
        """Its result."""
        return json.loads(self.result.read_text(encoding="utf-8"))


def run_trials(trials: Iterable[Trial], jobs: int = 1) -> Iterator[Trial]:
    """Run the trials that are not done, and yield each once it is.

    Parameters
    ----------
    trials : Iterable[Trial]
        In the order in which they start.
    jobs : int
        How many at once; the cores are shared out among them.

    Raises
    ------
    UserError
        If a trial fails, with the end of what it wrote; those that run are finished first.
    """
    missing = [trial for trial in trials if not trial.done]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda trial: _run(trial, threads), missing)


def _run(trial: Trial, threads: int) -> Trial:
    done = subprocess.run(
        [sys.executable, *trial.arguments, "--noprogressbar"],
        cwd=trial.recipe,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{trial.name} failed:\n{done.stderr[-2000:]}")
    trial.result.parent.mkdir(parents=True, exist_ok=True)
    if trial.result != trial.output / "result.json":
        shutil.copy(trial.output / "result.json", trial.result)
    return trial
