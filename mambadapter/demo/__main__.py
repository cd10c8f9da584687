"""Run the Speech Commands recipe on a corpus and an encoder made on the spot.

python -m mambadapter.demo        (or `make demo`)
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import transformers

from mambadapter.demo.corpus import write_corpus
from mambadapter.demo.encoder import write_encoder
from mambadapter.errors import UserError

FOLDER = Path("demo")
RECIPE = Path("recipes/GoogleSpeechCommands")
ADAPTERS = ("linear_probe", "mambadapter")


def main() -> None:
    """Make data and encoder, train each method by its recipe, print a table, predict one file."""
    if not RECIPE.is_dir():
        raise UserError(f"Run the demo from the root of the repository: there is no {RECIPE} here.")
    started = time.time()
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(FOLDER, ignore_errors=True)
    corpus = write_corpus(FOLDER / "speech_commands", speakers=60).resolve()
    encoder = write_encoder(FOLDER / "encoder").resolve()
    print(f"Wrote a corpus of synthetic words to {corpus}")
    print(f"Wrote a small wav2vec2 encoder with random weights to {encoder}")

    results = {adapter: train(adapter, corpus, encoder) for adapter in ADAPTERS}
    print(f"\n{'method':<14}{'trained':>9}{'without head':>14}   test accuracy, % [95 % interval]")
    for adapter, result in results.items():
        test, count = result["metrics"]["test"], result["parameters"]
        low, high = 100 * test["accuracy_low"], 100 * test["accuracy_high"]
        print(
            f"{adapter:<14}{count['trained']:>9,}{count['adapted']:>14,}"
            f"   {100 * test['accuracy']:.1f} [{low:.1f}, {high:.1f}]"
        )
    chance = 100 / len(list(corpus.glob("[!_]*/")))
    print(
        f"Chance is {chance:.1f} %. The encoder is random: no transfer, only what the method adds.\n"
    )

    package = results["mambadapter"]["folder"] / "adapter"
    file = next(iter(sorted(corpus.glob("stop/*.wav"))))
    command = ["mambadapter", "predict", str(package), str(file)]
    print("$ " + " ".join(command), flush=True)
    run([sys.executable, "-m", "mambadapter.cli", *command[1:]])
    print(f"\nAll of it took {time.time() - started:.0f} s.")


def train(adapter: str, corpus: Path, encoder: Path) -> dict:
    """Run the recipe as a user would, and read its result."""
    output = (FOLDER / "results" / adapter).resolve()
    settings = {
        "data_folder": corpus,
        "encoder": encoder,
        "adapter": adapter,
        "output_folder": output,
        "number_of_epochs": 20,
        "batch_size": 16,
        "num_workers": 0,
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = ["train.py", "hparams/train.yaml", *options]
    print(f"\n$ cd {RECIPE} && python {' '.join(command)}", flush=True)
    run([sys.executable, *command, "--noprogressbar"], cwd=RECIPE)
    return {"folder": output, **json.loads((output / "result.json").read_text(encoding="utf-8"))}


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
