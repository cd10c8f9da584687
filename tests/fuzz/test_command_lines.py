"""Whatever is on a command line, in a recipe's YAML or in a sweep file, it is taken as it is or refused in a line."""

import copy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import cases, damaged

from mambadapter.config.checks import check_top_level
from mambadapter.config.experiment import _OWN_KEYS
from mambadapter.config.extends import read_recipe
from mambadapter.config.files import read_yaml
from mambadapter.config.overrides import apply_changes, parse_command_line
from mambadapter.config.schema import KEYS, contract
from mambadapter.errors import UserError
from mambadapter.experiments.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
RECIPES = {
    "classification": ROOT / "recipes/ESC50/hparams/train.yaml",
    "ctc": ROOT / "recipes/CommonVoice/kab/hparams/train.yaml",
    "seq2seq": ROOT / "recipes/CommonVoice/kab/hparams/seq2seq.yaml",
}
ODD = [
    "", " ", "-1", "0", "1e309", "nan", "-inf", "1" * 400, "9" * 5000, "0x1F", "1_0", "١٢", "true", "null", "~", "!ref <seed>",
    "!new:os.system {command: 'exit 1'}", "!include:x.yaml", "&a [*a]", "*a", "<<", "<<: 3", "{<<: [1]}", "[" * 300, "{a: " * 300,
    "[1, 2", "{a: 1, a: 2}", "? [1]\n: 2", "2001-99-99", "12:99:99", "0b2", "08", "@", "`", "%", "\t", "\n", "a: b: c", "- - -",
    "!!python/object:os.system x", "!!int a", "!!binary =", "!!set {a}", "!!omap [a]", "!!timestamp x", "\ufeff", "\u2028", "\x00",
]  # fmt: skip
VALUES = (
    st.sampled_from(ODD)
    | st.text(max_size=12)
    | st.text("[]{}:,!&*#|>-?'\"<%@` \n019.eE+_~", max_size=16)
)
NAMES = st.sampled_from([*KEYS, "adapter.rank", "adapter.dropout", "adapter.placement", "encoder.max_length",
    "hours.train", "adapters.lora.lr", "adapters.lora.method", "opt_class.lr", "loader_options.num_workers", "opt_class.betas",
    "language.code", "prepare.seed", "adapter.", ".", "a..b", "adapter.method.rank", "train_logger.save_file", ""])  # fmt: skip


@pytest.fixture(scope="module")
def recipes():
    return {task: read_recipe(path) for task, path in RECIPES.items()}


@cases(600)
@given(st.sampled_from(sorted(RECIPES)), st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3))
def test_any_value_is_taken_or_refused(recipes, task, changes):
    recipe = recipes[task]
    tree = copy.deepcopy(recipe.tree)
    argv = [str(RECIPES[task]), *(f"--{name}={value}" for name, value in changes)]
    try:
        line = parse_command_line(argv)
        apply_changes(tree, line.changes, recipe.path.parent, recipe.replaced)
        check_top_level(tree, recipe.text, [*_OWN_KEYS, *contract(task)])
    except UserError as error:
        assert str(error)
        return
    for name, value in dict(line.changes).items():
        kind = KEYS[name].kind if name in KEYS else None
        if kind is not None and kind.text and value != "null":
            assert tree[name] == value


YAMLS = [
    path.read_bytes()
    for path in (ROOT / "hparams/sweeps/small.yaml", ROOT / "hparams/tasks/common.yaml", *RECIPES.values())
]  # fmt: skip


@cases(150)
@given(damaged(YAMLS, numbers=False))
def test_damaged_yamls_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(content)
    for read in (read_yaml, read_sweep, read_recipe):
        try:
            read(path)
        except UserError as error:
            assert str(path) in str(error) or "recipe" in str(error)
