"""Each recipe's scripts and settings hold what is its own; a language is what its folder says."""

import pytest
from hyperpyyaml import load_hyperpyyaml
from support.recipe_run import RECIPES

LANGUAGES = ("ab", "ckb", "eo", "kab", "rw")
SCRIPTS = [p for p in sorted(RECIPES.rglob("train*.py")) if "BoxEncoder" not in p.parts]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(RECIPES)))
def test_scripts_only_start_their_task(script):
    """The story of a task stands once, in `mambadapter.tasks`."""
    assert len(script.read_text().splitlines()) <= 15


def test_every_recipe_has_its_scripts():
    """Four data sets and your own sounds by one script each, five languages and your own speech by two."""
    assert len(SCRIPTS) == 5 + 2 * (len(LANGUAGES) + 1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_matches_its_folder(language):
    """Its file gives a code, that of the folder, and rules."""
    file = RECIPES / "CommonVoice" / language / "hparams/language.yaml"
    facts = load_hyperpyyaml(file.read_text(encoding="utf-8"))
    assert facts.keys() == {"code", "rules"}
    assert facts["code"] == language
