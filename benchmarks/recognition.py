"""Adapt the encoder in the box to the five languages, and compare methods in one of them.

python benchmarks/recognition.py --corpora /data/cv-corpus-13.0-2023-03-09   # trains what is not saved yet
python benchmarks/recognition.py                                             # the tables and curves alone

Results are kept in each language's ``saved_runs``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from choice import Choice

from mambadapter.config import recipe_main
from mambadapter.experiments.trials import Trial

RECIPES = Path(__file__).resolve().parents[1] / "recipes/CommonVoice"
LANGUAGES = ("ab", "ckb", "eo", "kab", "rw")
COMPARED = "kab"
BUDGET = 50_000
SEEDS = (1, 2, 3)

SETTINGS = {
    "linear_probe": {"adapter": "linear_probe", "adapter.lr": 0.005},
    "mambadapter": {
        "adapter": "mambadapter", "adapter.alpha": 1.0, "adapter.lr": 0.005, "adapter_budget": BUDGET,
    },
    "bottleneck": {"adapter": "bottleneck", "adapter.lr": 0.005, "adapter_budget": BUDGET},
    "full_finetuning": {"adapter": "full_finetuning", "adapter.lr": 0.0005},
}  # fmt: skip
EVERYWHERE = ("linear_probe", "mambadapter")


@recipe_main
def main() -> None:
    """Run what is missing, then print a table a language, and the learning curves."""
    choice = Choice.of_command_line(__doc__.splitlines()[0], "the release")
    if choice.corpora:
        choice.run(planned(choice.corpora))
    for language in LANGUAGES:
        print(f"\n{language}\n\n{table(language)}")


def planned(release: Path) -> Iterator[Trial]:
    """Two settings in every language, all in one."""
    for seed in SEEDS:
        for language in (COMPARED, *(one for one in LANGUAGES if one != COMPARED)):
            for setting, changes in SETTINGS.items():
                if language == COMPARED or setting in EVERYWHERE:
                    shared = {"encoder": "box", "number_of_epochs": 15, "batch_seconds": 40}
                    yield Trial(
                        name=f"{language}/{setting}/{seed}",
                        recipe=RECIPES / language,
                        settings={
                            **shared, **changes, "seed": seed, "num_workers": 0, "data_folder": release,
                        },
                        output=RECIPES / language / f"results/{setting}-seed{seed}",
                        result=saved(language, setting, seed),
                    )  # fmt: skip


def saved(language: str, setting: str, seed: int) -> Path:
    """Where a result is kept."""
    return RECIPES / language / f"saved_runs/{setting}-seed{seed}.json"


def table(language: str) -> str:
    """Means over seeds as Markdown: test error rates, and the validation CER after some of the epochs."""
    shown = (1, 2, 3, 5, 10, 15)
    rows = [
        "| method | trained without head | test CER, % (each seed) | test WER, % (each seed) |"
        " validation CER, % after epoch " + ", ".join(map(str, shown)) + " |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for setting in SETTINGS:
        paths = [saved(language, setting, seed) for seed in SEEDS]
        results = [json.loads(p.read_text(encoding="utf-8")) for p in paths if p.is_file()]
        if results:
            curves = {
                epoch: mean(100 * r["history"][epoch - 1]["valid"]["cer"] for r in results)
                for epoch in shown
            }
            cells = (
                f"`{setting}`",
                f"{results[0]['parameters']['adapted']:,}",
                rates(results, "cer"),
                rates(results, "wer"),
                ", ".join(f"{value:.1f}" for value in curves.values()),
            )
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def rates(results: list[dict[str, Any]], name: str) -> str:
    """The mean of a test error rate and its values."""
    values = [100 * result["metrics"]["test"][name] for result in results]
    return f"{mean(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})"


if __name__ == "__main__":
    main()
