"""Small AST and Whisper checkpoints with random weights through the recipes, on recordings.

python benchmarks/backbones.py --corpora /data    # trains what is not saved yet, then prints the table
python benchmarks/backbones.py                    # the table alone

The folder holds speech_commands_v0.02, ESC-50-master and cv-corpus-13.0-2023-03-09. This shows that all
runs and learns, not how well the published models do. Results are kept in ``saved_runs/backbones`` of
each recipe.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from choice import Choice

from mambadapter.config import recipe_main
from mambadapter.demo import write_ast, write_whisper
from mambadapter.experiments.trials import Trial

ROOT = Path(__file__).resolve().parents[1]
ENCODERS = ROOT / "results/encoders"
WIDTH, LAYERS = 128, 4

METHODS = {
    "linear_probe": {"adapter.lr": 0.005},
    "mambadapter": {"adapter.lr": 0.005, "adapter.alpha": 1.0},
    "full_finetuning": {"adapter.lr": 0.001},
}


@dataclass(frozen=True)
class Task:
    """A recipe, its corpus, its encoder and how it is trained."""

    recipe: str
    folder: str
    encoder: str
    settings: dict[str, Any]
    script: str = "train.py"
    hparams: str = "hparams/train.yaml"


TASKS = [
    Task("ESC50", "ESC-50-master", "ast-5s", {"test_fold": 1, "number_of_epochs": 20, "batch_size": 16}),
    Task(
        "GoogleSpeechCommands", "speech_commands_v0.02", "ast-1s",
        {"number_of_epochs": 10, "batch_size": 16},
    ),
    Task(
        "CommonVoice/kab", "cv-corpus-13.0-2023-03-09", "whisper-10s",
        {"adapt": "both", "number_of_epochs": 30, "batch_seconds": 40, "longest_text": 60},
        "train_seq2seq.py", "hparams/seq2seq.yaml",
    ),
]  # fmt: skip


@recipe_main
def main() -> None:
    """Run what is missing, then print the table."""
    choice = Choice.of_command_line(__doc__.splitlines()[0], "the folder of the corpora")
    if choice.corpora:
        write_encoders()
        choice.run(planned(choice.corpora))
    print(table())


def write_encoders() -> None:
    """Write the checkpoints, the same every time."""
    write_ast(ENCODERS / "ast-5s", max_length=500, width=WIDTH, layers=LAYERS)
    write_ast(ENCODERS / "ast-1s", max_length=100, width=WIDTH, layers=LAYERS)
    write_whisper(ENCODERS / "whisper-10s", seconds=10, width=WIDTH, layers=LAYERS)


def planned(corpora: Path) -> Iterator[Trial]:
    """Every method on every task."""
    for task in TASKS:
        recipe = ROOT / "recipes" / task.recipe
        up = "/".join([".."] * len(recipe.relative_to(ROOT).parts))
        for name, changes in METHODS.items():
            settings = {
                "encoder": f"{up}/{ENCODERS.relative_to(ROOT)}/{task.encoder}",
                "adapter": name,
                "seed": 1,
                "num_workers": 0,
                "data_folder": corpora / task.folder,
                **task.settings,
                **changes,
            }
            output, result = recipe / f"results/backbones/{name}", saved(task, name)
            yield Trial(
                f"{task.recipe}/{name}", recipe, settings, output, result, task.hparams, task.script
            )


def saved(task: Task, name: str) -> Path:
    """Where a result is kept."""
    return ROOT / "recipes" / task.recipe / f"saved_runs/backbones/{name}-seed1.json"


def table() -> str:
    """Test accuracy or character error rate of every method, as Markdown."""
    rows = [
        "| recipe | encoder | method | trained without head | test score |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for task in TASKS:
        for name in METHODS:
            path = saved(task, name)
            if path.is_file():
                result = json.loads(path.read_text(encoding="utf-8"))
                count = f"{result['parameters']['adapted']:,}"
                cells = (f"`{task.recipe}`", task.encoder, f"`{name}`", count, score(result))
                rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def score(result: dict[str, Any]) -> str:
    """What was tested, with its 95 % interval over clips."""
    test = result["metrics"]["test"]
    name, shown = ("accuracy", "accuracy") if "accuracy" in test else ("cer", "CER")
    value, low, high = (100 * test[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{shown} {value:.1f} % [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
