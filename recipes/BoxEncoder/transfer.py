"""Measure how well the encoder in the box transfers: recipes x methods x seeds, and a table.

python transfer.py --corpora /data            # trains what is not in saved_runs/ yet, then prints the table
python transfer.py                            # the table alone

The folder holds speech_commands_v0.02, ESC-50-master and fluent_speech_commands_dataset, or those of them
that are to be measured.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t as student

from mambadapter.encoders.box import write_random_twin

HERE = Path(__file__).resolve().parent
SAVED, SCRATCH = HERE / "saved_runs", HERE / "results/transfer"
SEEDS = range(1, 6)

# Recipe, folder of the corpus, and settings that all of its runs share.
CORPORA = {
    "digits": ("GoogleSpeechCommands", "speech_commands_v0.02", {"number_of_epochs": 6}),
    "intents": ("FluentSpeechCommands", "fluent_speech_commands_dataset", {"number_of_epochs": 12}),
    "esc10": ("ESC50", "ESC-50-master", {"number_of_epochs": 8}),
}
RANDOM = "random"

# About 5 % of the encoder's parameters where a method has a size. The learning rates did best on the
# validation clips of the intents, seed 1, on the encoder after its first epoch (of 0.005 and 0.02 for the
# probe; 0.002, 0.005, 0.01 for MambAdapter; 0.005, 0.01 for the ablation; 0.0005, 0.001 for full
# fine-tuning).
SETTINGS = {
    "random-linear_probe": {"encoder": RANDOM, "adapter": "linear_probe", "adapter.lr": 0.02},
    "box-linear_probe": {"encoder": "box", "adapter": "linear_probe", "adapter.lr": 0.02},
    "box-identity_bottleneck": {
        "encoder": "box", "adapter": "identity_bottleneck", "adapter.rank": 48, "adapter.lr": 0.01,
    },
    "box-identity_bottleneck-unshared": {  # as many parameters as MambAdapter, without its blocks
        "encoder": "box", "adapter": "identity_bottleneck", "adapter.rank": 59, "adapter.shared": False,
        "adapter.lr": 0.01,
    },
    "box-mambadapter": {
        "encoder": "box", "adapter": "mambadapter", "adapter.rank": 48, "adapter.lr": 0.01,
    },
    "box-mambadapter-unshared": {  # as many parameters again, the projections not shared either
        "encoder": "box", "adapter": "mambadapter", "adapter.rank": 32, "adapter.shared": False,
        "adapter.lr": 0.01,
    },
    "box-full_finetuning": {"encoder": "box", "adapter": "full_finetuning", "adapter.lr": 0.001},
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training run."""

    corpus: str
    setting: str
    seed: int

    @property
    def result(self) -> Path:
        """Where its result is kept."""
        return SAVED / self.corpus / f"{self.setting}-seed{self.seed}.json"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, help="the folder of the corpora")
    parser.add_argument("--only", nargs="+", default=[""], help="corpus/setting, or a part of it")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, the cores shared out")
    arguments = parser.parse_args()
    if arguments.corpora:
        corpora = arguments.corpora.expanduser().resolve()
        missing = [run for run in _planned(arguments.only) if not run.result.is_file()]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for run in pool.map(lambda run: _train(run, corpora, arguments.jobs), missing):
                print(f"done: {run.corpus}, {run.setting}, seed {run.seed}", flush=True)
    print(table())


def _planned(wanted: list[str]) -> Iterator[Run]:
    for corpus in CORPORA:
        for setting in SETTINGS:
            if any(part in f"{corpus}/{setting}" for part in wanted):
                yield from (Run(corpus, setting, seed) for seed in SEEDS)


def _train(run: Run, corpora: Path, jobs: int) -> Run:
    recipe, folder, shared = CORPORA[run.corpus]
    output = SCRATCH / run.corpus / f"{run.setting}-seed{run.seed}"
    settings = {"batch_size": 16, "num_workers": 0, **shared, **SETTINGS[run.setting]}
    if settings["encoder"] == RANDOM:
        write_random_twin(SCRATCH / f"random-{run.seed}", run.seed)
        settings["encoder"] = f"../BoxEncoder/results/transfer/random-{run.seed}"
    if run.corpus == "esc10":
        settings["test_fold"] = run.seed
    settings |= {"data_folder": corpora / folder, "output_folder": output, "seed": run.seed}
    options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    done = subprocess.run(
        [sys.executable, "train.py", "hparams/train.yaml", *options, "--noprogressbar"],
        cwd=HERE.parent / recipe,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{run} failed:\n{done.stderr[-2000:]}")
    run.result.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(output / "result.json", run.result)
    return run


def table() -> str:
    """Mean test accuracy and its 95 % interval over seeds (ESC-10: folds), as Markdown."""
    rows = [
        "| corpus | setting | trained without head | runs | test accuracy, % |",
        "| --- " * 5 + "|",
    ]
    for corpus in CORPORA:
        for setting in SETTINGS:
            runs = [Run(corpus, setting, seed) for seed in SEEDS]
            results = [json.loads(r.result.read_text()) for r in runs if r.result.is_file()]
            if len(results) > 1:
                scores = [100 * result["metrics"]["test"]["accuracy"] for result in results]
                half = student.ppf(0.975, len(scores) - 1) * stdev(scores) / len(scores) ** 0.5
                count = results[0]["parameters"]["adapted"]
                cells = (
                    corpus,
                    setting,
                    f"{count:,}",
                    len(scores),
                    f"{mean(scores):.1f} ± {half:.1f}",
                )
                rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
