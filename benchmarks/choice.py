"""The command line of the benchmarks that train through the recipes."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mambadapter.experiments.trials import Trial, run_trials


@dataclass(frozen=True)
class Choice:
    """What is to be trained.

    Attributes
    ----------
    corpora : Path or None
        Where the recordings are; None to train nothing.
    only : tuple[str, ...]
        Parts of the names of the runs that are wanted; () for all.
    jobs : int
        Runs at once, the cores shared out among them.
    """

    corpora: Path | None
    only: tuple[str, ...]
    jobs: int

    @classmethod
    def of_command_line(cls, description: str, corpora: str) -> "Choice":
        """Read ``--corpora``, which `corpora` explains, ``--only`` and ``--jobs``."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument(
            "--corpora", type=Path, help=f"{corpora}; without it, nothing is trained"
        )
        parser.add_argument("--only", nargs="+", default=[], help="names of runs, or parts of them")
        parser.add_argument(
            "--jobs", type=int, default=1, help="runs at once, the cores shared out"
        )
        read = parser.parse_args()
        folder = read.corpora.expanduser().resolve() if read.corpora else None
        return cls(folder, tuple(read.only), read.jobs)

    def run(self, trials: Iterable[Trial]) -> None:
        """Run those that are wanted and not saved yet."""
        wanted = (t for t in trials if not self.only or any(part in t.name for part in self.only))
        for trial in run_trials(wanted, self.jobs):
            print(f"done: {trial.name}", flush=True)
