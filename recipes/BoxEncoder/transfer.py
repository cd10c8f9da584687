"""Measure how well the encoder in the box transfers: recipes x methods x seeds, and a table.

python transfer.py --corpora /data            # trains what is not in saved_runs/ yet, then prints the tables
python transfer.py                            # the tables alone

The folder holds speech_commands_v0.02, ESC-50-master and fluent_speech_commands_dataset, or those of them
that are to be measured.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mambadapter.config import recipe_main
from mambadapter.encoders.bundled import write_random_twin
from mambadapter.experiments.trials import Trial, run_trials
from mambadapter.metrics.intervals import mean_and_half_width

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
    "box-identity_bottleneck-alpha1": {  # the scales start at 1, not at the paper's 0.1
        "encoder": "box", "adapter": "identity_bottleneck", "adapter.rank": 48, "adapter.alpha": 1.0,
        "adapter.lr": 0.01,
    },
    "box-mambadapter-alpha1": {
        "encoder": "box", "adapter": "mambadapter", "adapter.rank": 48, "adapter.alpha": 1.0,
        "adapter.lr": 0.005,
    },
    "box-mambadapter-alpha1-lr0.01": {
        "encoder": "box", "adapter": "mambadapter", "adapter.rank": 48, "adapter.alpha": 1.0,
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

# Encoders pretrained with one objective or the other on a third of the corpus: the README says how. They are
# measured where they have been made.
OBJECTIVES: dict[str, dict[str, Any]] = {
    f"{objective}-linear_probe": {
        "encoder": f"../BoxEncoder/results/objective_{objective}/encoder",
        "adapter": "linear_probe",
        "adapter.lr": 0.02,
    }
    for objective in ("frames", "ctc")
}


@recipe_main
def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, help="the folder of the corpora")
    parser.add_argument("--only", nargs="+", default=[""], help="corpus/setting, or a part of it")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, the cores shared out")
    arguments = parser.parse_args()
    if arguments.corpora:
        corpora = arguments.corpora.expanduser().resolve()
        for run in run_trials(planned(corpora, arguments.only), arguments.jobs):
            print(f"done: {run.name}", flush=True)
    print(f"{table(SETTINGS)}\n\n{table(OBJECTIVES)}")


def planned(corpora: Path, wanted: list[str]) -> Iterator[Trial]:
    """The runs whose corpus and setting were asked for."""
    pretrained = [
        name for name, chosen in OBJECTIVES.items() if (HERE / chosen["encoder"]).is_dir()
    ]
    for corpus in CORPORA:
        for setting in [*SETTINGS, *pretrained]:
            if any(part in f"{corpus}/{setting}" for part in wanted):
                yield from (trial(corpus, setting, seed, corpora) for seed in SEEDS)


def trial(corpus: str, setting: str, seed: int, corpora: Path = Path()) -> Trial:
    """One run."""
    recipe, folder, shared = CORPORA[corpus]
    settings = {"batch_size": 16, "num_workers": 0, **shared, **(SETTINGS | OBJECTIVES)[setting]}
    if settings["encoder"] == RANDOM:
        twin = SCRATCH / f"random-{seed}"
        if not twin.is_dir():
            write_random_twin(twin, seed)
        settings["encoder"] = f"../BoxEncoder/results/transfer/{twin.name}"
    if corpus == "esc10":
        settings["test_fold"] = seed
    return Trial(
        name=f"{corpus}, {setting}, seed {seed}",
        recipe=HERE.parent / recipe,
        settings={**settings, "data_folder": corpora / folder, "seed": seed},
        output=SCRATCH / corpus / f"{setting}-seed{seed}",
        result=SAVED / corpus / f"{setting}-seed{seed}.json",
    )


def table(settings: Iterable[str]) -> str:
    """Mean test accuracy and its 95 % interval over seeds (ESC-10: folds), as Markdown."""
    rows = [
        "| corpus | setting | trained without head | runs | test accuracy, % |",
        "| --- " * 5 + "|",
    ]
    for corpus in CORPORA:
        for setting in settings:
            saved = [SAVED / corpus / f"{setting}-seed{seed}.json" for seed in SEEDS]
            results = [json.loads(path.read_text()) for path in saved if path.is_file()]
            if len(results) > 1:
                scores = [100 * result["metrics"]["test"]["accuracy"] for result in results]
                centre, half = mean_and_half_width(scores)
                count = f"{results[0]['parameters']['adapted']:,}"
                cells = (corpus, setting, count, len(scores), f"{centre:.1f} ± {half:.1f}")
                rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
