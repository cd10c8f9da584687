"""A package goes to a hub and is found there by its name, also from the cache without it."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants
from support.packages import LABELS, package_of
from support.stub_hub import stub_hub

from mambadapter import cli
from mambadapter.inference import load_adapter
from mambadapter.inference.model_card import model_card, write_model_card
from mambadapter.methods import MENU

RESULT = {
    "corpus": "speech_commands_v0.02",
    "parameters": {"trained": 5000, "adapter": 4000, "encoder": 0, "layer_norm": 400, "head": 600},
    "metrics": {"test": {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.934, "clips": 9}},
    "lr": 0.005, "seed": 3, "best_epoch": 7,
}  # fmt: skip
NAME = "someone/words"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with stub_hub() as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield hub


@pytest.fixture
def package(tmp_path):
    package_of(tmp_path / "run/adapter", "mambadapter/box", MENU["lora"], "classifier")
    write_model_card(tmp_path / "run/adapter", RESULT)
    return tmp_path / "run"


def test_pushed_and_found_by_name(hub, package, monkeypatch, capsys):
    assert cli.main(["push", str(package), NAME]) == 0
    assert NAME in capsys.readouterr().out
    here = {path.name: path.read_bytes() for path in (package / "adapter").iterdir()}
    assert hub.models[NAME]["main"].keys() == here.keys()
    wanted = load_adapter(package)
    found = load_adapter(NAME)
    clip = 0.1 * torch.randn(8000).numpy(), 16000
    assert found.predict(clip) == wanted.predict(clip)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    assert load_adapter(NAME).labels() == tuple(LABELS)
    assert len(hub.asked) == asked


def test_a_revision_is_asked_for(hub, package, capsys):
    assert cli.main(["push", str(package), NAME]) == 0
    hub.models[NAME]["v2"] = hub.models[NAME]["main"]
    assert load_adapter(f"{NAME}@v2").labels() == tuple(LABELS)
    assert cli.main(["predict", f"{NAME}@v3", "x.wav"]) == 2
    assert "the hub does not give 'someone/words' (RevisionNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize("offline", [False, True])
def test_a_name_that_the_hub_lacks(hub, monkeypatch, capsys, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert cli.main(["predict", "someone/else", "x.wav"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: There is no folder someone/else, and the hub does not give")


def test_an_encoder_in_a_folder_is_no_use_to_others(hub, encoder_folders, tmp_path, capsys):
    package_of(tmp_path / "p", encoder_folders["hubert"], MENU["lora"], "classifier")
    assert cli.main(["push", str(tmp_path / "p"), NAME]) == 2
    assert "--encoder user/encoder" in capsys.readouterr().err
    assert not hub.models
    assert cli.main(["push", str(tmp_path / "p"), NAME, "--encoder", "facebook/hubert"]) == 0
    pushed = json.loads(hub.models[NAME]["main"]["adapter.json"])
    assert pushed["encoder"] == "facebook/hubert"
    assert cli.main(["push", str(tmp_path / "p"), "no name"]) == 2


def test_the_model_card_says_what_the_run_did(package):
    card = json.loads((package / "adapter/adapter.json").read_text())
    text = (package / "adapter/README.md").read_text()
    assert text == model_card(card, RESULT)
    read = ModelCard(text)
    assert read.data.library_name == "mambadapter"
    assert read.data.pipeline_tag == "audio-classification"
    for said in (
        card["encoder_fingerprint"],
        "5,000: 4,000",
        "90.00 %, 95 % interval 85.00 to 93.40",
        "rank 8",
    ):
        assert said in text
    local = model_card({**card, "encoder": "/home/me/models/hubert"}, RESULT)
    assert "/home/me" not in local
    assert Path("/home/me/models/hubert").name in local
