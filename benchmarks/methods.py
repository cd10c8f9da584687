"""Compare every method on the menu at one parameter budget, on the four classification corpora.

python benchmarks/methods.py --corpora /data      # trains what is not saved yet, then prints the tables
python benchmarks/methods.py                      # the tables alone

The folder holds speech_commands_v0.02, ESC-50-master, fluent_speech_commands_dataset and UrbanSound8K.
Results are kept in each recipe's ``saved_runs/methods``. The encoder is the one in the box; each method's
learning rate is the best of three on the validation clips of the intents, seed 1, and the same elsewhere.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from choice import Choice

from mambadapter.config import recipe_main
from mambadapter.experiments.trials import Trial
from mambadapter.methods import MENU
from mambadapter.metrics.intervals import mean_and_half_width

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
BUDGET = 50_000
TRIES = 3

# The menu, and some methods with a learnable scale once more with it started at 1 instead of 0.1, on the
# corpus on which the learning rates are chosen.
ALPHA = {
    f"{name}, alpha 1": name
    for name in ("mambadapter", "mambadapter_bidirectional", "identity_bottleneck")
}
METHODS = [*MENU, *ALPHA]

# The middle of three rates a factor of 2 apart.
MIDDLE = 0.01
MIDDLES = {"full_finetuning": 0.001}


@dataclass(frozen=True)
class Corpus:
    """A recipe, its corpus, and how long and how often it is trained."""

    recipe: str
    folder: str
    epochs: int
    seeds: tuple[int, ...] = (1,)
    settings: dict[str, Any] = field(default_factory=dict)


# The first is the one on which the learning rates are chosen.
CORPORA = [
    Corpus("FluentSpeechCommands", "fluent_speech_commands_dataset", 8, seeds=(1, 2, 3)),
    Corpus("GoogleSpeechCommands", "speech_commands_v0.02", 6),
    Corpus("ESC50", "ESC-50-master", 8, settings={"test_fold": 1}),
    Corpus("UrbanSound8K", "UrbanSound8K", 8, settings={"test_fold": 1}),
]


@recipe_main
def main() -> None:
    """Search the learning rates, run what is missing with them, then print the tables."""
    choice = Choice.of_command_line(__doc__.splitlines()[0], "the folder of the corpora")
    if choice.corpora:
        choice.run(search(name, choice.corpora) for name in METHODS)
        choice.run(comparisons(choice.corpora))
    for corpus in CORPORA:
        print(f"\n{corpus.recipe}\n\n{table(corpus)}")


def search(name: str, corpora: Path) -> Trial:
    """The run that chooses a method's learning rate; it is also its first on that corpus."""
    changes = {"adapter.lr": MIDDLES.get(name, MIDDLE), "lr_search": TRIES}
    return trial(CORPORA[0], name, CORPORA[0].seeds[0], corpora, changes)


def comparisons(corpora: Path) -> Iterator[Trial]:
    """All other runs, of the methods whose learning rate is known."""
    for corpus in CORPORA:
        for seed in corpus.seeds:
            for name in METHODS if corpus == CORPORA[0] else MENU:
                searched = search(name, corpora)
                if searched.done and (corpus, seed) != (CORPORA[0], CORPORA[0].seeds[0]):
                    changes = {"adapter.lr": searched.read()["lr"]}
                    yield trial(corpus, name, seed, corpora, changes)


def trial(corpus: Corpus, name: str, seed: int, corpora: Path, changes: dict[str, Any]) -> Trial:
    """One run of a method."""
    settings = {
        "encoder": "box",
        "adapter": ALPHA.get(name, name),
        "number_of_epochs": corpus.epochs,
        "batch_size": 16,
        "num_workers": 0,
        "seed": seed,
        "data_folder": corpora / corpus.folder,
        **corpus.settings,
        **changes,
    }
    if name in ALPHA:
        settings["adapter.alpha"] = 1.0
    if MENU[settings["adapter"]].size:
        settings["adapter_budget"] = BUDGET
    recipe = RECIPES / corpus.recipe
    return Trial(
        name=f"{corpus.recipe}/{name}, seed {seed}",
        recipe=recipe,
        settings=settings,
        output=recipe / f"results/methods/{file_name(name)}-seed{seed}",
        result=saved(corpus, name, seed),
    )


def saved(corpus: Corpus, name: str, seed: int) -> Path:
    """Where a result is kept."""
    return RECIPES / corpus.recipe / f"saved_runs/methods/{file_name(name)}-seed{seed}.json"


def file_name(name: str) -> str:
    """A row's name as part of a file's."""
    return name.replace(", ", "-").replace(" ", "")


def table(corpus: Corpus) -> str:
    """Test accuracy of every method, as Markdown; over several seeds the mean with its 95 % interval."""
    rows = [
        "| method | size | trained without head | learning rate | seeds | test accuracy, % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name in METHODS:
        method = MENU[ALPHA.get(name, name)]
        paths = [saved(corpus, name, seed) for seed in corpus.seeds]
        results = [json.loads(path.read_text()) for path in paths if path.is_file()]
        if not results:
            continue
        one = results[0]
        size = f"{method.size} {one['method'][method.size]}" if method.size else ""
        scores = [100 * result["metrics"]["test"]["accuracy"] for result in results]
        centre, half = mean_and_half_width(scores)
        if len(scores) == 1:  # Wilson's, over the clips
            test = one["metrics"]["test"]
            accuracy = f"{centre:.1f} [{100 * test['accuracy_low']:.1f}, {100 * test['accuracy_high']:.1f}]"
        else:
            accuracy = f"{centre:.1f} ± {half:.1f}"
        count = f"{one['parameters']['adapted']:,}"
        shown = f"`{ALPHA[name]}`, alpha from 1" if name in ALPHA else f"`{name}`"
        cells = (shown, size, count, f"{one['lr']:g}", len(scores), accuracy)
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
