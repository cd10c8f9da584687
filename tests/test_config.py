"""A YAML and a command line say what they mean, or are refused with one clear message."""

import functools
import json
from pathlib import Path

import pytest
import torch

from mambadapter.config import load_experiment, recipe_main, start_experiment
from mambadapter.config.overrides import parse_command_line
from mambadapter.errors import UserError
from mambadapter.methods import LinearProbe, MambAdapters

CONTRACT = ("method", "source", "opt_class", "tensorboard", "data_folder", "loader_options", "log")

RECIPE = """\
# A recipe for the tests
encoder: wavlm
adapter: mambadapter
seed: 7
batch_size: 4
data_folder: !PLACEHOLDER       # the corpus, e.g. /data/corpus
output_root: {root}/results
output_folder: auto
tensorboard: false
encoders: !include:menus/encoders.yaml
adapters: !include:menus/adapters.yaml
source: !applyref:mambadapter.config.choose_source [!ref <encoders>, !ref <encoder>]
chosen: !applyref:mambadapter.config.choose_method [!ref <adapters>, !ref <adapter>]
method: !ref <chosen[method]>
lr: !ref <chosen[lr]>
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
loader_options:
    batch_size: !ref <batch_size>
log: !ref <output_folder>/log
"""

ADAPTERS = """\
mambadapter:
    method: !new:mambadapter.methods.MambAdapters
        placement: pfeiffer
        rank: 12
    lr: 5e-3
linear_probe:
    method: !new:mambadapter.methods.LinearProbe
        norms: final
    lr: 0.001
"""

ENCODERS = """\
wav2vec2: {source: facebook/wav2vec2-base}
wavlm: {source: microsoft/wavlm-base}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "menus").mkdir()
    (tmp_path / "menus/adapters.yaml").write_text(ADAPTERS)
    (tmp_path / "menus/encoders.yaml").write_text(ENCODERS)
    path = tmp_path / "train.yaml"
    path.write_text(RECIPE.replace("{root}", str(tmp_path)))
    return path


def load(recipe, *arguments, data=True):
    given = ["--data_folder", "/data"] if data else []
    return load_experiment([str(recipe), *given, *arguments], CONTRACT)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_choices_reach_the_objects(recipe):
    experiment = load(recipe)
    hparams = experiment.hparams
    assert hparams["method"] == MambAdapters(placement="pfeiffer", rank=12)
    assert hparams["source"] == "microsoft/wavlm-base"
    assert hparams["opt_class"].keywords == {"lr": 0.005}
    assert experiment.folder.name == f"wavlm-mambadapter-seed7-{experiment.digest}"
    assert hparams["log"] == f"{experiment.folder}/log"


def test_one_flag_chooses_the_method_and_its_learning_rate(recipe):
    hparams = load(recipe, "--adapter", "linear_probe", "--encoder=wav2vec2").hparams
    assert hparams["method"] == LinearProbe()
    assert hparams["opt_class"].keywords == {"lr": 0.001}
    assert hparams["source"] == "facebook/wav2vec2-base"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--adapter.rank", "24", "--adapter.lr", "1e-3"),
        ("--adapters.mambadapter.method.rank=24", "--adapters.mambadapter.lr=1e-3"),
        ("--adapter.method.rank=24", "--lr", "0.001"),
    ],
)
def test_dots_go_down_into_the_menu(recipe, arguments):
    hparams = load(recipe, *arguments).hparams
    assert hparams["method"] == MambAdapters(rank=24)
    assert hparams["opt_class"].keywords == {"lr": 0.001}


def test_short_forms_follow_the_choice_wherever_it_stands(recipe):
    hparams = load(recipe, "--adapter.norms", "none", "--adapter", "linear_probe").hparams
    assert hparams["method"] == LinearProbe(norms="none")


def test_an_encoder_may_be_a_folder(recipe, tmp_path):
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    experiment = load(recipe, "--encoder", str(folder))
    assert experiment.hparams["source"] == str(folder)
    assert experiment.folder.name.startswith("my-encoder-mambadapter-seed7-")


def test_run_options_go_to_speechbrain(recipe):
    experiment = load(recipe, "--precision", "bf16", "--debug", "--max_grad_norm=1.5")
    assert experiment.run_opts["precision"] == "bf16"
    assert experiment.run_opts["debug"]
    assert experiment.run_opts["max_grad_norm"] == 1.5
    assert experiment.config["run_options"] == {
        "precision": "bf16",
        "debug": True,
        "max_grad_norm": 1.5,
        "processes": 1,
    }


def test_a_key_that_abbreviates_a_run_option_is_not_swallowed(recipe):
    """SpeechBrain's parser takes --log for --log_config and --dev for --device."""
    assert load(recipe, "--log", "elsewhere").hparams["log"] == "elsewhere"


def test_every_setting_makes_another_experiment_and_machines_do_not(recipe):
    def digests(*commands):
        return {load(recipe, *command).digest for command in commands}

    different = digests(
        (),
        ("--adapter", "linear_probe"),
        ("--adapter.rank", "13"),
        ("--lr", "0.1"),
        ("--batch_size", "5"),
        ("--seed", "8"),
        ("--precision", "bf16"),
        ("--encoder", "wav2vec2"),
    )
    assert len(different) == 8
    same = digests(
        (),
        ("--data_folder", "/elsewhere"),
        ("--output_root", "/tmp/x"),
        ("--output_folder", "/tmp/y"),
        ("--device", "cpu"),
        ("--tensorboard", "true"),
        ("--adapters.linear_probe.lr", "9"),
    )
    assert len(same) == 1


def test_a_folder_that_holds_another_experiment_is_refused(recipe, tmp_path):
    folder = tmp_path / "run"
    start_experiment(load(recipe, "--output_folder", str(folder)))
    load(recipe, "--output_folder", str(folder))
    with pytest.raises(UserError, match=r"holds another experiment \(.*rank: 12 -> 24"):
        load(recipe, "--output_folder", str(folder), "--adapter.rank", "24")
    record = json.loads((folder / "experiment.json").read_text())
    assert record["config"]["lr"] == 0.005
    assert (folder / "hyperparams.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--adapter", "mambadaptr"),
            "'mambadaptr' is not on the menu; did you mean 'mambadapter'",
        ),
        (("--encoder", "wavlmm"), "neither on the menu nor a folder; did you mean 'wavlm'"),
        (("--batch_sise", "3"), "no key 'batch_sise'; did you mean 'batch_size'"),
        (("--precisoin", "bf16"), "did you mean 'precision'"),
        (("--adapter.rnk", "3"), "'mambadapter' has no knob 'rnk'; did you mean 'rank'"),
        (("--adapters.mambadapter.method.rnk", "3"), "no key 'rnk' there; did you mean 'rank'"),
        (("--loader_options.batch", "3"), "no key 'batch' there"),
        (("--adapter.rank", "0"), "rank=0 is impossible"),
        (("--adapter.placement", "huolsby"), "did you mean 'houlsby'"),
        (("--seed",), "--seed has no value"),
        (("--seed", "--debug"), "--seed has no value"),
        (("stray",), "'stray' stands alone"),
        (("--precision", "fp8"), "run option has an impossible value"),
    ],
)
def test_a_wrong_command_line_is_refused(recipe, arguments, message):
    with pytest.raises(UserError, match=message):
        load(recipe, *arguments)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "train.yaml",
            "batch_size: 4",
            "batch_size: 4\nbatch_sise: 3",
            "Unknown key 'batch_sise' in the YAML",
        ),
        ("train.yaml", "batch_size: 4", "batch_sise: 4", "batch_sise"),
        (
            "train.yaml",
            "    lr: !ref <lr>",
            "    lr: !ref <lr>\n    weight_decy: 1",
            "did you mean 'weight_decay'",
        ),
        ("train.yaml", "tensorboard: false\n", "", "lacks the key 'tensorboard'"),
        (
            "train.yaml",
            "loader_options:",
            "loader_options:\n    batch_sise: 1",
            "did you mean 'batch_size'",
        ),
        ("train.yaml", "AdamW", "AdamV", r"no class or function 'torch\.optim\.AdamV'"),
        ("train.yaml", "menus/adapters", "menus/adaptors", "adaptors.yaml"),
        ("train.yaml", "seed: 7", "seed: [7", "not valid YAML"),
        (
            "menus/adapters.yaml",
            "rank: 12",
            "rnk: 12",
            "Unknown key 'rnk' in adapters.mambadapter.method",
        ),
        (
            "menus/adapters.yaml",
            "    lr: 0.001",
            "    rl: 0.001",
            "Unknown key 'rl' in adapters.linear_probe",
        ),
        ("menus/adapters.yaml", "    lr: 0.001\n", "", "adapters.linear_probe lacks 'lr'"),
        ("menus/encoders.yaml", "source: m", "src: m", "Unknown key 'src' in encoders.wavlm"),
    ],
)
def test_a_wrong_yaml_is_refused(recipe, file, old, new, message):
    edit(recipe.parent / file, old, new)
    with pytest.raises(UserError, match=message):
        load(recipe)


def test_an_unset_placeholder_quotes_its_example(recipe):
    with pytest.raises(
        UserError, match=r"data_folder is not set: add --data_folder VALUE \(the corpus, e\.g\."
    ):
        load(recipe, data=False)


def test_no_file_or_no_such_file():
    with pytest.raises(UserError, match="There is no hparams file nowhere.yaml"):
        parse_command_line(["nowhere.yaml"])
    with pytest.raises(UserError, match="Name the recipe's YAML first"):
        parse_command_line([])


def test_nothing_is_written_by_loading(recipe, tmp_path):
    load(recipe)
    assert not (tmp_path / "results").exists()


def test_a_user_error_is_one_line_and_status_2(capsys):
    @recipe_main
    def main():
        raise UserError("the thing and the mend")

    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: the thing and the mend\n"


def test_a_recipe_closes_its_process_group_on_success_only(tmp_path):
    """Left open, gloo's threads abort the process at its end, now and then."""
    open_group = functools.partial(
        torch.distributed.init_process_group,
        "gloo",
        init_method=f"file://{tmp_path}/store",
        rank=0,
        world_size=1,
    )

    @recipe_main
    def main(fails):
        open_group()
        if fails:
            raise UserError("others may be waiting")

    main(fails=False)
    assert not torch.distributed.is_initialized()
    with pytest.raises(SystemExit):
        main(fails=True)
    assert torch.distributed.is_initialized()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("adapter", ["mambadapter", "linear_probe", "full_finetuning"])
@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*/hparams/*.yaml")), ids=str)
def test_every_recipe_loads_with_every_method(path, adapter, monkeypatch, tmp_path):
    from mambadapter.brains.classification import CONTRACT as KEYS

    monkeypatch.syspath_prepend(str(path.parents[1].resolve()))
    arguments = ["--data_folder", "/data", "--adapter", adapter, "--output_root", str(tmp_path)]
    experiment = load_experiment([str(path), *arguments], KEYS)
    assert experiment.hparams["lr"] > 0
    assert experiment.hparams["prepare"].keywords["data_folder"] == "/data"
