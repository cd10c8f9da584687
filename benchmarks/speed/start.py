"""Processor time from a recipe's command to its first step: Speech Commands, encoder in the box, warm caches.

python benchmarks/speed/start.py [--json]

Each run is a process of its own; the first, which warms the caches, is not counted. A quick start's settings,
on a small synthetic corpus.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from output import Output, add_json

from mambadapter.demo import write_corpus

RECIPE = Path(__file__).parents[2] / "recipes/GoogleSpeechCommands"
RUNS = 5

# Each stage prints the processor time of the process at its end; the last leaves the training.
TIMED = """
import os, sys, time
def stage(name):
    print("stage", name, time.process_time(), flush=True)
import torch; stage("torch")
import speechbrain.core; stage("speechbrain")
from transformers.models.wav2vec2 import modeling_wav2vec2; stage("transformers' wav2vec2")
from mambadapter.tasks.classification import main; stage("this package")
def fit(brain, *arguments, **options):
    stage("settings, corpus, encoder")
    whole_fit(brain, *arguments, **options)
def step(optimiser, *arguments, **options):
    whole_step(optimiser, *arguments, **options)
    stage("first step")
    os._exit(0)
whole_fit, speechbrain.core.Brain.fit = speechbrain.core.Brain.fit, fit
whole_step, torch.optim.AdamW.step = torch.optim.AdamW.step, step
main(sys.argv[1:])
"""


def timed_start(corpus: str, output_folder: str) -> dict[str, float]:
    """Seconds of processor time that each stage took."""
    arguments = ["--data_folder", corpus, "--output_folder", output_folder]
    done = subprocess.run(
        [sys.executable, "-c", TIMED, "hparams/quickstart.yaml", *arguments],
        cwd=RECIPE,
        env={**os.environ, "PYTHONPATH": str(RECIPE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if "stage" in line]
    ends = {name.removeprefix("stage "): float(end) for name, end in lines}
    starts = [0.0, *list(ends.values())[:-1]]
    return {name: end - start for (name, end), start in zip(ends.items(), starts, strict=True)}


def main() -> None:
    """Print the median of every stage, and their sum."""
    parser = argparse.ArgumentParser(description="Processor time to a recipe's first step.")
    add_json(parser)
    output = Output(parser.parse_args().json, runs=RUNS)
    with tempfile.TemporaryDirectory() as folder:
        corpus = str(write_corpus(f"{folder}/corpus", speakers=10, takes=1))
        runs = [timed_start(corpus, f"{folder}/run{i}") for i in range(RUNS + 1)][1:]
    medians = {name: median(run[name] for run in runs) for name in runs[0]}
    medians["from the command to a step"] = median(sum(run.values()) for run in runs)
    for name, seconds in medians.items():
        output.keep(name, seconds=seconds)
        output.say(f"{name:<28}{seconds:6.2f} s")
    output.close()


if __name__ == "__main__":
    main()
