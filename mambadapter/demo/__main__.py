"""Adapt the encoder in the box to a small corpus made on the spot, by every method on the menu.

python -m mambadapter.demo        (or `make demo`)
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import transformers
from ruamel.yaml import YAML

from mambadapter.demo.corpus import write_corpus
from mambadapter.demo.picture import draw_picture
from mambadapter.encoders.box import write_random_twin
from mambadapter.errors import UserError

FOLDER = Path("demo")
RECIPE = Path("recipes/GoogleSpeechCommands")
MENU = Path("hparams/adapters.yaml")
RANDOM = "linear_probe, random encoder"

# The menu's suits encoders thirty times as large.
FULL_FINETUNING = {"adapter.lr": 0.001}


def main() -> None:
    """Make data, train each method by its recipe, print a table, draw a picture, predict one file."""
    if not RECIPE.is_dir():
        raise UserError(f"Run the demo from the root of the repository: there is no {RECIPE} here.")
    started = time.time()
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(FOLDER, ignore_errors=True)
    corpus = write_corpus(FOLDER / "speech_commands", speakers=50, takes=1).resolve()
    twin = write_random_twin(FOLDER / "random_encoder").resolve()
    print(f"Wrote a corpus of synthetic words to {corpus}")
    print("The encoder is the one in the box: frozen, pretrained on synthetic speech and sounds.")

    results = {RANDOM: train("linear_probe", corpus, FOLDER / "results/random", encoder=twin)}
    for adapter in YAML(typ="rt").load(MENU):
        changes = FULL_FINETUNING if adapter == "full_finetuning" else {}
        results[adapter] = train(adapter, corpus, FOLDER / "results" / adapter, **changes)
    chance = 1 / len(list(corpus.glob("[!_]*/")))
    print_table(results, chance)
    print(f"Drew {draw_picture(results, chance, FOLDER / 'accuracy.png')}\n")

    file = next(iter(sorted(corpus.glob("stop/*.wav"))))
    command = ["mambadapter", "predict", str(FOLDER / "results/mambadapter/adapter"), str(file)]
    print("$ " + " ".join(command), flush=True)
    run([sys.executable, "-m", "mambadapter.cli", *command[1:]])
    print(f"\nAll of it took {time.time() - started:.0f} s.")


def train(adapter: str, corpus: Path, output: Path, **settings: object) -> dict:
    """Run the recipe's quickstart as a user would, and read its result."""
    settings = {
        "data_folder": corpus,
        "adapter": adapter,
        "number_of_epochs": 6,
        "output_folder": output.resolve(),
    } | settings
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = ["train.py", "hparams/quickstart.yaml", *options]
    print(f"\n$ cd {RECIPE} && python {' '.join(command)}", flush=True)
    run([sys.executable, *command, "--noprogressbar"], cwd=RECIPE)
    return json.loads((output / "result.json").read_text(encoding="utf-8"))


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


def run(command: list[str], cwd: Path | None = None) -> None:
    """Run a command and end the demo with its status if it fails."""
    status = subprocess.run(command, cwd=cwd, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
