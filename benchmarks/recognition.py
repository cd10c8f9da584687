"""Adapt the encoder in the box to the five languages, and compare methods in one of them.

python benchmarks/recognition.py --corpora /data/cv-corpus-13.0-2023-03-09   # trains what is not saved yet
python benchmarks/recognition.py                                             # the tables and curves alone

Results are kept in each language's ``saved_runs``.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from choice import Choice

from mambadapter.config import recipe_main
from mambadapter.sweep.trials import Trial

RECIPES = Path(__file__).resolve().parents[1] / "recipes/CommonVoice"
LANGUAGES = ("ab", "ckb", "eo", "kab", "rw")
COMPARED = "kab"
BUDGET = 50_000

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
    for language in (COMPARED, *(one for one in LANGUAGES if one != COMPARED)):
        for setting, changes in SETTINGS.items():
            if language == COMPARED or setting in EVERYWHERE:
                shared = {"encoder": "box", "number_of_epochs": 15, "batch_seconds": 40, "seed": 1}
                yield Trial(
                    name=f"{language}/{setting}",
                    recipe=RECIPES / language,
                    settings={**shared, **changes, "num_workers": 0, "data_folder": release},
                    output=RECIPES / language / "results" / setting,
                    result=RECIPES / language / f"saved_runs/{setting}-seed1.json",
                )


def table(language: str) -> str:
    """Test error rates as Markdown, and the validation CER after some of the epochs."""
    shown = (1, 2, 3, 5, 10, 15)
    rows = [
        "| method | trained without head | test CER, % [95 % interval] | test WER, % |"
        " validation CER, % after epoch " + ", ".join(map(str, shown)) + " |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for setting in SETTINGS:
        path = RECIPES / language / f"saved_runs/{setting}-seed1.json"
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            test = result["metrics"]["test"]
            cer, low, high = (100 * test[key] for key in ("cer", "cer_low", "cer_high"))
            curve = {one["epoch"]: 100 * one["valid"]["cer"] for one in result["history"]}
            cells = (
                f"`{setting}`",
                f"{result['parameters']['adapted']:,}",
                f"{cer:.1f} [{low:.1f}, {high:.1f}]",
                f"{100 * test['wer']:.1f}",
                ", ".join(f"{curve[epoch]:.1f}" for epoch in shown if epoch in curve),
            )
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
