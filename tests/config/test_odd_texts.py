"""A path or a name on a command line is that text, whatever is in it."""

import os
import unicodedata

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.small_recipe import load, write_recipe

from mambadapter.errors import UserError

ODD = [
    "my #1 corpus", "a: b", "<1>", "<seed>", "<data_folder>", "!ref <seed>", "{a: 1}", "[1", "- a", "?", "%a",
    "@a", "`a", "&x", "*x", "!x", "|", ">", "'a'", '"a"', "(a)", "a\tb", "a\nb", "  a ", "é\u2028x", "\ufeffx", "😀",
    "12:30", "1_000", "yes", "null", "0777", "=", "<<", "2001-01-01", "1e3", "+1", "9**9**9", "'a'*10000000000",
    "__text_6161__", ("x" * 90 + " /") * 4,
]  # fmt: skip

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60) | st.text(
    "<>#:!&*{}[]'\"|%@`?-=~/.0123456789 eseedan", min_size=1, max_size=40
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("odd"))


def check(path, text):
    experiment = load(
        path, f"--data_folder={text}", f"--output_folder={text}", "--log=x", data=False
    )
    hparams = experiment.hparams
    assert (hparams["data_folder"], hparams["output_folder"]) == (text, text)


@pytest.mark.parametrize("text", ODD)
def test_odd_paths_stay_as_typed(path, monkeypatch, tmp_path, text):
    monkeypatch.chdir(tmp_path)
    check(path, text)
    if len(text) < 100:
        assert load(path, f"--output_folder={text}").hparams["log"] == f"{text}/log"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_any_path_stays_as_typed(path, text):
    assume(text != "auto" and not text.startswith("~") and len(os.fsencode(text)) < 200)
    assume(not os.path.exists(text))
    check(path, text)


@pytest.mark.parametrize("name", [text for text in ODD if len(text) < 100])
def test_odd_encoder_folders_are_found(path, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    experiment = load(path, "--encoder", str(folder))
    assert experiment.hparams["source"] == str(folder)
    assert experiment.config["encoder"] == str(folder)


def test_an_odd_neighbour_is_not_taken(path, tmp_path):
    """As YAML, ` #` and what follows is a comment."""
    (tmp_path / "my").mkdir()
    with pytest.raises(UserError, match="my #1' is neither on the menu nor a folder"):
        load(path, "--encoder", f"{tmp_path}/my #1")


@pytest.mark.parametrize("key", ["data_folder", "output_folder", "output_root", "encoder"])
@pytest.mark.parametrize("character", ["\udcff", "\x85", "\x07", "\r"])
def test_characters_no_yaml_holds_are_refused(path, tmp_path, key, character):
    assert unicodedata.category(character) in ("Cc", "Cs")
    with pytest.raises(UserError, match=f"{key}: .* holds characters that no YAML can"):
        load(path, f"--{key}={tmp_path}/{character}")


@pytest.mark.parametrize("key", ["data_folder", "output_folder", "output_root", "encoder"])
def test_a_tilde_is_the_home_folder(path, tmp_path, monkeypatch, key):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").mkdir()
    assert load(path, f"--{key}=~/there").hparams[key] == str(tmp_path / "there")
    with pytest.raises(UserError, match=f"{key}: ~nobody-x/there: there is no such home folder"):
        load(path, f"--{key}=~nobody-x/there")
