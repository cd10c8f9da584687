"""The YAML of every recipe, and of every task with every method, makes its objects."""

from pathlib import Path

import pytest

from mambadapter.config import load_experiment
from mambadapter.config.schema import contract
from mambadapter.methods import MENU

# A YAML for each task, and all of the folders: of the languages one, since they differ in language.yaml alone.
TASKS = {
    "classification": ("recipes/GoogleSpeechCommands", "train.yaml"),
    "ctc": ("recipes/CommonVoice/kab", "train.yaml"),
    "seq2seq": ("recipes/CommonVoice/kab", "seq2seq.yaml"),
}
CLASSIFYING = [
    "GoogleSpeechCommands",
    "ESC50",
    "FluentSpeechCommands",
    "UrbanSound8K",
    "YourSounds",
]


@pytest.mark.parametrize(
    ("task", "folder", "name", "adapter"),
    [
        *(
            (task, folder, name, adapter)
            for task, (folder, name) in TASKS.items()
            for adapter in MENU
        ),
        *(("classification", f"recipes/{name}", "train.yaml", "lora") for name in CLASSIFYING[1:]),
        *(("classification", f"recipes/{name}", "quickstart.yaml", "lora") for name in CLASSIFYING),
        ("ctc", "recipes/CommonVoice/kab", "quickstart.yaml", "lora"),
        ("ctc", "recipes/YourSpeech", "quickstart.yaml", "lora"),
        ("seq2seq", "recipes/YourSpeech", "seq2seq.yaml", "lora"),
    ],
)
@pytest.mark.exhaustive
def test_every_recipe_and_method_loads(task, folder, name, adapter, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(folder).resolve()))
    path = f"{folder}/hparams/{name}"
    arguments = ["--data_folder", "/data", "--adapter", adapter, "--output_root", str(tmp_path)]
    experiment = load_experiment([path, *arguments], contract(task))
    assert experiment.hparams["lr"] > 0
    assert experiment.hparams["prepare"].keywords["data_folder"] == "/data"
