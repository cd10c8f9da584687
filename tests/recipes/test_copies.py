"""Recipes of one kind tell the same story: what is copied has not drifted."""

import re

import pytest
from hyperpyyaml import load_hyperpyyaml
from recipe_run import RECIPES

CLASSIFICATION = ("ESC50", "FluentSpeechCommands", "GoogleSpeechCommands", "UrbanSound8K")
LANGUAGES = {
    "ab": "Abkhaz", "ckb": "Central Kurdish", "eo": "Esperanto", "kab": "Kabyle", "rw": "Kinyarwanda",
}  # fmt: skip


@pytest.mark.parametrize("recipe", CLASSIFICATION)
def test_training_is_the_same_story_in_at_most_60_lines(recipe):
    def story(name):
        text = (RECIPES / name / "train.py").read_text()
        assert len(text.splitlines()) <= 60
        docstring = re.match(r'""".*?"""\n', text, re.DOTALL)
        return text[docstring.end() :]

    assert story(recipe) == story("GoogleSpeechCommands")


@pytest.mark.parametrize("recipe", CLASSIFICATION)
def test_settings_differ_in_the_experiment_and_the_preparation_only(recipe):
    def settings(name):
        text = (RECIPES / name / "hparams/train.yaml").read_text()
        shared = text[text.index("# The chosen encoder and method") :]
        return re.sub(r"^prepare: .*\n( .*\n)*", "", shared, flags=re.MULTILINE)

    assert settings(recipe) == settings("GoogleSpeechCommands")


@pytest.mark.parametrize(
    "file",
    [
        "train.py",
        "train_seq2seq.py",
        "hparams/train.yaml",
        "hparams/seq2seq.yaml",
        "hparams/quickstart.yaml",
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_differ_in_their_names_and_writing_rules_only(language, file):
    def story(code):
        text = (RECIPES / "CommonVoice" / code / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            assert len(text.splitlines()) <= 60
        return text.replace(LANGUAGES[code], "LANGUAGE")

    assert story(language) == story("kab")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_what_its_folder_says(language):
    file = RECIPES / "CommonVoice" / language / "hparams/language.yaml"
    facts = load_hyperpyyaml(file.read_text(encoding="utf-8"))
    assert facts.keys() == {"code", "rules"}
    assert facts["code"] == language


@pytest.mark.parametrize("file", ["train.yaml", "seq2seq.yaml"])
def test_both_ways_to_recognise_share_their_settings(file):
    def settings(name):
        text = (RECIPES / "CommonVoice/kab/hparams" / name).read_text(encoding="utf-8")
        return text[text.index("# Data and output") :]

    assert settings(file) == settings("train.yaml")
