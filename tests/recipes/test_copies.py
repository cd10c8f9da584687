"""Recipes of one kind tell the same story: what is copied has not drifted."""

import re

import pytest
from recipe_run import RECIPES

CLASSIFICATION = ("ESC50", "FluentSpeechCommands", "GoogleSpeechCommands", "UrbanSound8K")


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
