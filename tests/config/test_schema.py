"""The schema of YAML keys, and what is made from it."""

import importlib.util
from pathlib import Path

import pytest

from mambadapter.config import load_experiment
from mambadapter.config.extends import read_recipe
from mambadapter.config.schema import KEYS, TASKS, contract
from mambadapter.errors import UserError

ROOT = Path(__file__).parents[2]
YAMLS = {
    "classification": ROOT / "recipes/ESC50/hparams/train.yaml",
    "ctc": ROOT / "recipes/CommonVoice/kab/hparams/train.yaml",
    "seq2seq": ROOT / "recipes/CommonVoice/kab/hparams/seq2seq.yaml",
}
# Those for recordings of one's own, which have other optional keys.
OWN = {
    "classification": ROOT / "recipes/YourSounds/hparams/train.yaml",
    "ctc": ROOT / "recipes/YourSpeech/hparams/train.yaml",
    "seq2seq": ROOT / "recipes/YourSpeech/hparams/seq2seq.yaml",
}

# And with keys of a corpus.
MORE = {"classification": ROOT / "recipes/GoogleSpeechCommands/hparams/train.yaml"}


@pytest.fixture(autouse=True)
def _write_elsewhere(monkeypatch, tmp_path):
    """An experiment's default folder of results is below the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_a_tasks_yaml_has_its_schemas_keys(task):
    """No more and no fewer; of optional ones each in a recipe."""
    found = [yamls[task] for yamls in (YAMLS, OWN, MORE) if task in yamls]
    trees = [read_recipe(path).tree.keys() for path in found]
    for keys in trees:
        wanted = {key.name for key in KEYS.values() if task in key.tasks and not key.optional}
        assert wanted <= keys
    assert set().union(*trees) == {key.name for key in KEYS.values() if task in key.tasks}


def test_the_page_of_keys_is_up_to_date():
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs/configuration.py")
    configuration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(configuration)
    written = configuration.PAGE.read_text(encoding="utf-8")
    assert written == configuration.page(), "run: python docs/configuration.py"
    assert all(f"| `{key}` |" in written for key in KEYS)


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("ctc", "batch_seconds=0", "batch_seconds: '0' is not a number above 0"),
        ("ctc", "decoding=beem", "decoding: 'beem' is not greedy or beam"),
        ("ctc", "beam_size=0", "beam_size: '0' is not a whole number of at least 1"),
        ("ctc", "head_lstm=-1", "head_lstm: '-1' is not a whole number of at least 0"),
        ("seq2seq", "adapt=all", "adapt: 'all' is not encoder or decoder or both"),
        ("seq2seq", "longest_text=0", "longest_text: '0' is not a whole number of at least 1"),
        ("classification", "test_fold=6", "test_fold: '6' is not a fold from 1 to 5, or all"),
    ],
)
def test_impossible_values_fail_at_the_start(task, change, message):
    """Before audio is read, where they failed late or not at all."""
    with pytest.raises(UserError, match=message):
        load_experiment([str(YAMLS[task]), "--data_folder=/data", f"--{change}"], contract(task))


@pytest.mark.parametrize("task", YAMLS)
def test_numbers_with_fractions_may_replace_whole_ones(task):
    """`batch_seconds: 60` says nothing against 2.63."""
    keys = [
        key.name
        for key in KEYS.values()
        if task in key.tasks and key.kind.fraction and key.kind.fits(2.63, {}) and key.name != "lr"
    ]
    arguments = [str(YAMLS[task]), "--data_folder=/data", *(f"--{key}=2.63" for key in keys)]
    hparams = load_experiment(arguments, contract(task)).hparams
    assert len(keys) > 5
    assert {hparams[key] for key in keys} == {2.63}


@pytest.mark.parametrize("hours", ["3", "{train: 1}", "{train: x, valid: 1, test: 1}", "[1, 1, 1]"])
def test_hours_are_of_each_split(hours):
    arguments = [str(YAMLS["ctc"]), "--data_folder=/data", f"--hours={hours}"]
    with pytest.raises(UserError, match="hours: .* is not hours above 0 of train, valid and test"):
        load_experiment(arguments, contract("ctc"))
    arguments[-1] = "--hours.train=2.63"
    assert load_experiment(arguments, contract("ctc")).hparams["hours"]["train"] == 2.63


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--lr=0.1 --adapter.lr=0.02", "adapter.lr: nothing reads it, for lr is 0.1"),
        (
            "--adapter=mambadapter --scan_lr_scale=0.5 --adapter.scan_lr_scale=0.1",
            "nothing reads it",
        ),
        ("--adapter=bottleneck --scan_lr_scale=0.5", "'bottleneck' has no scan"),
        ("--adapter=prompt_deep --scan_lr_scale=1", "'prompt_deep' has no scan"),
        ("--adapter.method=3", "adapter.method: 3 is no method"),
        (
            "--method=3",
            "method: '3' is not a method; choose one of the menu's, as in --adapter lora",
        ),
        ("--loader_options=3", "loader_options: '3' is not arguments of a DataLoader"),
        ("--opt_class=3", "opt_class: 3 is no opt_class, which !name:torch.optim.AdamW makes"),
        (
            "--adapter=gated_convolution --adapter.scan_lr_scale=0.1",
            "scan_lr_scale: nothing reads it, for adapter.scan",
        ),
        (
            "--adapter=mambadapter_longconv --adapter.scan=false --scan_lr_scale=0.1",
            "scan_lr_scale: nothing reads it, for adapter.scan",
        ),
        (
            "--adapter=mambadapter --adapter.scan=false --adapter.d_state=4",
            "d_state: nothing reads it, for adapter.scan of 'mambadapter' is false",
        ),
        (
            "--adapter=mambadapter_unshared --adapter.alpha=1.0",
            "alpha: nothing reads it, for adapter.shared of 'mambadapter_unshared' is false",
        ),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(given, said):
    arguments = [str(YAMLS["classification"]), "--data_folder=/data", *given.split()]
    with pytest.raises(UserError, match=said):
        load_experiment(arguments, contract("classification"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("lr: 0.1\nadapter.lr: 0.02\n", "adapter.lr: nothing reads it, for lr is 0.1"),
        ("adapter.shared: false\nadapter.alpha: 0.5\n", "alpha: nothing reads it"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused_in_a_file_that_extends(tmp_path, lines, said):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {YAMLS['classification']}\n{lines}")
    with pytest.raises(UserError, match=said):
        load_experiment([str(path), "--data_folder=/data"], contract("classification"))


@pytest.mark.parametrize(
    ("given", "scale"),
    [
        ("--adapter=mambadapter", 1.0),
        ("--adapter=mambadapter_longconv", 0.1),
        ("--adapter=mambadapter_longconv --scan_lr_scale=0.5", 0.5),
        ("--adapter=mambadapter_longconv --adapter.scan_lr_scale=0.3", 0.3),
        ("--adapter=gated_convolution --adapter.scan=true --scan_lr_scale=0.2", 0.2),
        ("--adapter=lora", 1.0),
    ],
)
def test_an_entry_of_the_menu_may_give_the_scan_a_rate(given, scale):
    arguments = [str(YAMLS["classification"]), "--data_folder=/data", *given.split()]
    config = load_experiment(arguments, contract("classification")).config
    assert config["parameter_groups"]["scan"]["lr"] == pytest.approx(scale * config["lr"])
