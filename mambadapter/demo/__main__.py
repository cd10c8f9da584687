"""Adapt the encoder in the box to a small corpus made on the spot, by every method on the menu.

python -m mambadapter.demo        (or `make demo`)
"""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import transformers
from ruamel.yaml import YAML

from mambadapter.demo.corpus import write_corpus, write_long
from mambadapter.demo.picture import draw_picture
from mambadapter.encoders.bundled import write_random_twin
from mambadapter.errors import UserError
from mambadapter.experiments.trials import Trial, run_trials

FOLDER = Path("demo")
RECIPE = Path("recipes/GoogleSpeechCommands")
MENU = Path("hparams/adapters.yaml")
RANDOM = "linear_probe, random encoder"

# The menu's suits encoders thirty times as large.
FULL_FINETUNING = {"adapter.lr": 0.001}


def main() -> None:
    """Make data, train each method by its recipe, print a table, draw a picture, use what was trained."""
    if not RECIPE.is_dir():
        raise UserError(f"Run the demo from the root of the repository: there is no {RECIPE} here.")
    started = time.time()
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(FOLDER, ignore_errors=True)
    corpus = write_corpus(FOLDER / "speech_commands", speakers=30, takes=1).resolve()
    twin = write_random_twin(FOLDER / "random_encoder").resolve()
    print(f"Wrote a corpus of synthetic words to {corpus}")
    print("The encoder is the one in the box: frozen, pretrained on synthetic speech and sounds.")

    trials = planned(corpus, twin)
    for trial in trials:
        print(f"$ cd {RECIPE} && python {shlex.join(trial.arguments)}")
    jobs = min(2, joblib.cpu_count())
    print(f"\nThe runs, {jobs} at a time:", flush=True)
    results = {}
    for trial in run_trials(trials, jobs):
        if result := trial.read():
            results[trial.name] = result
            accuracy = 100 * result["metrics"]["test"]["accuracy"]
            print(f"{trial.name}: {accuracy:.1f} %, {result['wall_time_s']:.0f} s", flush=True)
    chance = 1 / len(list(corpus.glob("[!_]*/")))
    print_table(results, chance)
    print(f"Drew {draw_picture(results, chance, FOLDER / 'accuracy.png')}\n")

    use(corpus)
    print(f"\nAll of it took {time.time() - started:.0f} s.")


def use(corpus: Path) -> None:
    """In Python, on a word and on a recording of all test words."""
    said = write_long(corpus, FOLDER / "long.wav")
    word = min(corpus.glob("stop/*.wav"))
    names: dict[str, Any] = {}
    for line in (
        "from mambadapter import load_adapter",
        f'model = load_adapter("{FOLDER / "results/mambadapter"}")',
        f'print(model.predict("{os.path.relpath(word)}"))',
        f'timeline = model.timeline("{FOLDER / "long.wav"}", window=1.0)',
        "print(*timeline.segments[:6], sep='\\n')",
    ):
        print(f">>> {line}", flush=True)
        exec(line, names)
    heard = [
        next(
            (part.text for part in names["timeline"].segments if part.start <= at < part.end), None
        )
        for at in np.arange(len(said)) + 0.5
    ]
    right = sum(one == other for one, other in zip(said, heard, strict=True))
    print(f"In {right} of its {len(said)} seconds it hears the word that is said.")


def planned(corpus: Path, twin: Path) -> list[Trial]:
    """The recipe's quickstart, as a user would run it: the probe of a random encoder, then the menu."""
    shared = {"data_folder": corpus, "number_of_epochs": 3}
    settings = {RANDOM: {**shared, "adapter": "linear_probe", "encoder": twin}}
    for adapter in YAML(typ="rt").load(MENU):
        changes = FULL_FINETUNING if adapter == "full_finetuning" else {}
        settings[adapter] = {**shared, "adapter": adapter, **changes}
    results = FOLDER / "results"
    return [
        Trial(
            name,
            RECIPE,
            changes,
            results / name.replace(", ", "-").replace(" ", "_"),
            "hparams/quickstart.yaml",
        )
        for name, changes in settings.items()
    ]


def print_table(results: dict[str, dict], chance: float) -> None:
    """One line a method."""
    width = max(map(len, results))
    print(
        f"\n{'method':<{width}}{'trained':>11}{'without head':>14}   test accuracy, % [95 % interval]"
    )
    for name, result in results.items():
        test, count = result["metrics"]["test"], result["parameters"]
        low, high = 100 * test["accuracy_low"], 100 * test["accuracy_high"]
        print(
            f"{name:<{width}}{count['trained']:>11,}{count['adapted']:>14,}"
            f"   {100 * test['accuracy']:.1f} [{low:.1f}, {high:.1f}]"
        )
    print(f"Chance is {100 * chance:.1f} %.")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
