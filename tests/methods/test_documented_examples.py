"""What docs/ tells a reader to write for a new method and a new encoder is all that it takes."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from support.formulas import EncoderShape, trained_count
from test_contract import (  # noqa: F401
    test_frozen_parameters_stay_to_the_bit,
    test_gradient_reaches_what_learns,
    test_padding_changes_nothing,
    test_saved_and_loaded_it_gives_the_same,
)
from transformers import UniSpeechConfig, UniSpeechModel

import mambadapter as ma
from mambadapter import cli, methods
from mambadapter.config import load_experiment
from mambadapter.config.schema import CLASSIFICATION, contract
from mambadapter.encoders.families import FAMILIES
from mambadapter.methods import menu
from mambadapter.training.sanity_check import prove_alive

ROOT = Path(__file__).parents[2]


def block(document, language):
    """The first code block of a language."""
    text = (ROOT / "docs" / document).read_text()
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The YAMLs of a checkout to which the documented method was added."""
    file = tmp_path / "gated_bottleneck.py"
    file.write_text(block("add_a_method.md", "python"))
    spec = importlib.util.spec_from_file_location("mambadapter.methods.gated_bottleneck", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)

    recipe = "recipes/GoogleSpeechCommands/hparams"
    for folder in ("hparams", recipe):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    entry = block("add_a_method.md", "yaml")
    with (tmp_path / "hparams/adapters.yaml").open("a") as adapters:
        adapters.write(f"\n{entry}")
    monkeypatch.setattr(menu, "MENU_FILE", tmp_path / "hparams/adapters.yaml")
    monkeypatch.setitem(methods.MENU, "gated_bottleneck", added(menu.read_menu(methods.METHODS)))
    yield tmp_path / recipe / "train.yaml"
    del methods.METHODS["GatedBottlenecks"]


def added(entries):
    """The one entry more than there are."""
    (name,) = entries.keys() - methods.MENU.keys()
    assert name == "gated_bottleneck"
    return entries[name]


@pytest.fixture
def name():
    return "gated_bottleneck"


@pytest.fixture
def method(checkout, name):
    return methods.MENU[name]


@pytest.fixture(params=["wavlm", "whisper"])
def any_encoder_folder(request, encoder_folders):
    """The contract's tests that are imported above run on these, with the documented method."""
    return encoder_folders[request.param]


def test_the_documented_method_can_be_chosen_and_counted(checkout, tmp_path, capsys):
    line = [checkout, "--data_folder", "/data", "--output_root", tmp_path / "results"]
    settings = ["--adapter", "gated_bottleneck", "--adapter.rank", "4", "--encoder", "box"]
    hparams = load_experiment([*map(str, line), *settings], contract(CLASSIFICATION)).hparams
    assert hparams["method"] == methods.METHODS["GatedBottlenecks"](rank=4)
    assert hparams["lr"] == 0.005
    assert cli.main(["budget", "--adapter", "gated_bottleneck", "--encoder", "ast"]) == 0
    assert capsys.readouterr().out.split()[-1] == "250,560"  # of the example in its docstring


def test_the_documented_method_starts_frozen_and_alive(any_encoder_folder, method):
    encoder = ma.adapt(any_encoder_folder, method)
    prove_alive(encoder, ma.PooledClassifier(encoder.width, classes=3))


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("entry", methods.MENU)
def test_every_method_adapts_the_documented_family(entry, pre_norm, monkeypatch):
    module = {}
    exec(block("add_an_encoder.md", "python"), module)
    monkeypatch.setitem(FAMILIES, "unispeech", module["UNISPEECH"])
    torch.manual_seed(0)
    config = UniSpeechConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=pre_norm, feat_extract_norm="layer" if pre_norm else "group",
    )  # fmt: skip
    method = methods.MENU[entry]
    encoder = ma.adapt(UniSpeechModel(config), method)
    head = ma.PooledClassifier(encoder.width, classes=3)
    count = trained_count(method, EncoderShape.of(encoder.backbone))
    assert ma.count_parameters(encoder).adapted == count.total
    prove_alive(encoder, head)
    wavs = torch.randn(2, 6000)
    encoder.eval()
    with torch.no_grad():
        together = head(*encoder(wavs, torch.tensor([1.0, 0.6])))
        alone = head(*encoder(wavs[1:, :3600]))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)
