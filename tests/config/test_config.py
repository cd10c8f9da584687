"""A YAML and a command line say what they mean, or are refused with one clear message."""

import functools
import json
from pathlib import Path

import pytest
import torch

from mambadapter.config import load_experiment, recipe_main, start_experiment
from mambadapter.config.overrides import parse_command_line
from mambadapter.config.schema import contract
from mambadapter.errors import UserError
from mambadapter.methods import MENU, FullFinetuning, IdentityBottlenecks, LinearProbe, MambAdapters

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


def test_a_flag_chooses_method_and_learning_rate(recipe):
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


def test_abbreviated_run_options_are_not_swallowed(recipe):
    """SpeechBrain's parser takes --log for --log_config and --dev for --device."""
    assert load(recipe, "--log", "elsewhere").hparams["log"] == "elsewhere"


@pytest.mark.exhaustive
def test_settings_are_in_the_digest_machines_not(recipe):
    """Every setting makes another experiment; where and how fast it runs does not."""

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


def test_code_that_moved_is_no_difference(recipe, tmp_path):
    """Nor is it named where an older version wrote the folder."""
    folder = tmp_path / "run"
    start_experiment(load(recipe, "--output_folder", str(folder)))
    record = folder / "experiment.json"
    moved = record.read_text().replace("mambadapter.methods.", "mambadapter.adapters.")
    assert moved != record.read_text()
    record.write_text(moved)
    load(recipe, "--output_folder", str(folder))
    digest = json.loads(moved)["digest"]
    record.write_text(moved.replace(digest, "00000000"))
    with pytest.raises(UserError, match=r"\(of another version of this toolkit\)"):
        load(recipe, "--output_folder", str(folder))


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
        (("--adapter.rnk", "3"), "'mambadapter' has no setting 'rnk'; did you mean 'rank'"),
        (("--adapters.mambadapter.method.rnk", "3"), "no key 'rnk' there; did you mean 'rank'"),
        (("--loader_options.batch", "3"), "no key 'batch' there"),
        (("--adapter.rank", "0"), "rank=0 is impossible"),
        (("--adapter.placement", "huolsby"), "did you mean 'houlsby'"),
        (("--seed",), "--seed has no value"),
        (("--seed", "--debug"), "--seed has no value"),
        (("stray",), "'stray' stands alone"),
        (("--precision", "fp8"), "--precision: 'fp8' is unknown; did you mean 'fp32'"),
        (("--log", "[1"), r"--log: '\[1' is not valid YAML; put it in quotes"),
        (
            ("--loader_options", "3", "--loader_options.batch_size", "3"),
            "no key 'batch_size' there",
        ),
        (("--adapters", "3"), "adapters should be a mapping of names to method, lr"),
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
        ("menus/adapters.yaml", "rank: 12", "rank: [12", r"menus/adapters\.yaml is not valid YAML"),
        ("menus/adapters.yaml", ADAPTERS, "- 1", r"menus/adapters\.yaml should hold keys"),
        ("menus/adapters.yaml", ADAPTERS, "", r"menus/adapters\.yaml should hold keys"),
        (
            "menus/adapters.yaml",
            "rank: 12",
            "bidirectional: no",
            "bidirectional='no' is impossible",
        ),
        ("menus/adapters.yaml", "rank: 12", "dropout: abc", "dropout='abc' is impossible"),
        ("menus/adapters.yaml", "lr: 5e-3", "lr: abc", "lr: 'abc' is not a number of at least 0"),
        ("train.yaml", "tensorboard: false", "tensorboard: no", "tensorboard: 'no' is not true or"),
        ("train.yaml", "seed: 7", "seed: abc", "seed: 'abc' is not a whole number of at least 0"),
        ("train.yaml", "batch_size: 4", "batch_size: true", "batch_size: 'True' is not a whole"),
        ("train.yaml", "output_folder: auto", "output_folder: 3", r"is not a path; write \./3"),
    ],
)
def test_a_wrong_yaml_is_refused(recipe, file, old, new, message):
    edit(recipe.parent / file, old, new)
    with pytest.raises(UserError, match=message):
        load(recipe)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--auto_mix_prec", "write --precision fp16"),
        ("--auto_mix_prec=false", "write --precision fp16"),
        ("--bfloat16_mix_prec", "write --precision bf16"),
        ("--data_parallel_backend", "torchrun"),
        ("--jit", "leave it out"),
        ("--log_config=x.yaml", "leave it out"),
        ("--nonfinite_patience=9", "leave it out"),
        ("--remove_vector_weight_decay", "leave it out"),
        ("--skip_nonfinite_grads", "leave it out"),
    ],
)
def test_run_options_without_effect_are_refused(recipe, option, message):
    name = option.partition("=")[0]
    with pytest.raises(UserError, match=f"{name} is not supported here: .*{message}"):
        load(recipe, option)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--debug=no", "'no' is not true or false"),
        ("--test_only=1", "'1' is not true or false"),
        ("--optimizer_step_limit=1e2", "'1e2' is not a whole number of at least 1"),
        ("--optimizer_step_limit=0", "'0' is not a whole number of at least 1"),
        ("--grad_accumulation_factor=0", "'0' is not a whole number of at least 1"),
        ("--ckpt_interval_minutes=1.5", "'1.5' is not a whole number"),
        ("--max_grad_norm=abc", "'abc' is not a number"),
        ("--max_grad_norm=nan", "'nan' is not a number"),
        ("--eval_precision=bf61", "'bf61' is unknown; did you mean 'bf16'"),
        ("--distributed_backend=glo", "'glo' is unknown; did you mean 'gloo'"),
        ("--compile_mode=fast", "'fast' is unknown"),
    ],
)
def test_impossible_run_options_are_refused(recipe, option, message):
    name = option.partition("=")[0]
    with pytest.raises(UserError, match=f"{name}: {message}"):
        load(recipe, option)


@pytest.mark.parametrize("flag", ["debug", "noprogressbar", "test_only"])
def test_flags_with_values_mean_what_they_say(recipe, flag):
    plain = load(recipe)
    off = load(recipe, f"--{flag}=false")
    assert off.run_opts[flag] is False
    assert off.digest == plain.digest
    assert load(recipe, f"--{flag}=true").run_opts[flag] is True
    assert load(recipe, f"--{flag}", f"--{flag}=false").run_opts[flag] is False


def test_run_options_have_speechbrains_types(recipe):
    options = {
        "optimizer_step_limit": 100,
        "grad_accumulation_factor": 2,
        "max_grad_norm": 1.0,
        "ckpt_interval_steps": 5,
        "device": "cpu",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    run_opts = load(recipe, *arguments).run_opts
    for name, value in options.items():
        assert run_opts[name] == value
        assert type(run_opts[name]) is type(value)
    assert run_opts.overridden_args == set(options)


@pytest.mark.parametrize(
    "option",
    [
        "--precision=bf16",
        "--eval_precision=bf16",
        "--grad_accumulation_factor=2",
        "--max_grad_norm=1",
        "--optimizer_step_limit=9",
        "--debug",
        "--compile",
        "--compile_mode=max-autotune",
    ],
)
def test_options_that_change_results_are_digested(recipe, option):
    assert load(recipe, option).digest != load(recipe).digest


@pytest.fixture
def typed(recipe):
    """A recipe with a switch, a fraction and, in the menu, an int for a float."""
    edit(
        recipe,
        "batch_size: 4\n",
        "batch_size: 4\nnumber_of_epochs: 3\nskip_unusable_audio: false\nweight_decay: 0.1\n",
    )
    edit(
        recipe, "    lr: !ref <lr>\n", "    lr: !ref <lr>\n    weight_decay: !ref <weight_decay>\n"
    )
    edit(recipe, "log: !ref", "notes: !ref <number_of_epochs> <skip_unusable_audio>\nlog: !ref")
    edit(
        recipe.parent / "menus/adapters.yaml",
        "rank: 12",
        "rank: 12\n        expand: 2\n        dropout: 0.1\n        bidirectional: false",
    )
    return recipe


def load_typed(recipe, *arguments):
    return load_experiment([str(recipe), "--data_folder=/data", *arguments], [*CONTRACT, "notes"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--adapter.bidirectional=no", "'no' is not true or false"),
        ("--adapter.bidirectional=1", "'1' is not true or false"),
        ("--adapters.mambadapter.method.bidirectional=off", "'off' is not true or false"),
        ("--skip_unusable_audio=no", "'no' is not true or false"),
        ("--skip_unusable_audio=ture", "'ture' is not true or false"),
        ("--tensorboard=null", "'null' is not true or false"),
        ("--seed=abc", "'abc' is not a whole number, as 7 in the YAML is"),
        ("--seed=true", "'true' is not a whole number"),
        ("--batch_size=1e1", "'1e1' is not a whole number"),
        ("--batch_size=", "'' is not a whole number"),
        ("--weight_decay=abc", "'abc' is not a number"),
        ("--adapter.dropout=true", "'true' is not a number"),
        ("--adapter.expand=wide", "'wide' is not a number"),
        ("--adapter.lr=[1]", r"'\[1\]' is not a number"),
        ("--adapter.placement=[1]", r"'\[1\]' is not text"),
        ("--output_folder=", "'' is not text"),
    ],
)
def test_a_value_of_another_type_is_refused(typed, option, message):
    name = option.partition("=")[0]
    with pytest.raises(UserError, match=f"^{name}: {message}"):
        load_typed(typed, option)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "-1"), "seed: '-1' is not a whole number of at least 0 and at most 4294967295"),
        (("--seed", "4294967296"), "seed: '4294967296' is not a whole number"),
        (("--number_of_epochs", "0"), "number_of_epochs: '0' is not a whole number of at least 1"),
        (("--batch_size", "0"), "batch_size: '0' is not a whole number of at least 1"),
        (("--weight_decay", "-0.1"), "weight_decay: '-0.1' is not a number of at least 0"),
        (("--weight_decay", "nan"), "weight_decay: 'nan' is not a number of at least 0"),
        (("--lr", "abc"), "lr: 'abc' is not a number of at least 0"),
        (("--adapter.lr", "-1"), r"lr: '-1\.0' is not a number of at least 0"),
        (("--adapter.rank", "1e1"), r"rank=10\.0 is impossible: give a whole number"),
        (("--data_folder", "2024"), r"data_folder: '2024' is not a path; write \./2024"),
    ],
)
def test_an_impossible_number_is_refused(typed, arguments, message):
    with pytest.raises(UserError, match=message):
        load_typed(typed, *arguments)


def test_a_value_of_the_same_type_is_taken(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hparams = load_typed(
        typed,
        "--adapter.bidirectional=true",
        "--adapter.expand=1.5",
        "--adapter.dropout=0",
        "--weight_decay=0",
        "--skip_unusable_audio=true",
        "--output_folder=2024",
    ).hparams
    assert hparams["method"] == MambAdapters(bidirectional=True, expand=1.5, dropout=0.0)
    assert hparams["skip_unusable_audio"] is True
    assert hparams["output_folder"] == "2024"
    assert hparams["log"] == "2024/log"
    assert load_typed(typed, "--output_folder", "'1e3'").hparams["output_folder"] == "1e3"
    assert load_typed(typed, "--output_folder=2024-01-01").hparams["log"] == "2024-01-01/log"


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (MambAdapters, {"bidirectional": "no"}),
        (MambAdapters, {"shared": 0}),
        (MambAdapters, {"dropout": "abc"}),
        (MambAdapters, {"dropout": True}),
        (MambAdapters, {"alpha": None}),
        (MambAdapters, {"alpha": float("nan")}),
        (MambAdapters, {"expand": "wide"}),
        (MambAdapters, {"expand": float("inf")}),
        (MambAdapters, {"rank": "12"}),
        (MambAdapters, {"placement": ["pfeiffer"]}),
        (IdentityBottlenecks, {"shared": "off"}),
        (IdentityBottlenecks, {"rank": 1.5}),
        (LinearProbe, {"norms": 1}),
        (FullFinetuning, {"train_cnn": "off"}),
    ],
)
def test_a_method_refuses_values_of_another_type(method, settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"{name}=.* is impossible: give "):
        method(**settings)


def test_the_last_of_two_values_counts(typed):
    assert load_typed(typed, "--data_folder=3", "--data_folder=/x").hparams["data_folder"] == "/x"


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


def test_user_errors_are_one_line_and_status_2(capsys):
    @recipe_main
    def main():
        raise UserError("the thing and the mend")

    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: the thing and the mend\n"


def test_only_success_closes_the_process_group(tmp_path):
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


# A YAML for each task, and all of the folders: of the languages one, since they differ in language.yaml alone.
TASKS = {
    "classification": ("recipes/GoogleSpeechCommands", "train.yaml"),
    "ctc": ("recipes/CommonVoice/kab", "train.yaml"),
    "seq2seq": ("recipes/CommonVoice/kab", "seq2seq.yaml"),
}
CLASSIFYING = ["ESC50", "FluentSpeechCommands", "GoogleSpeechCommands", "UrbanSound8K"]


@pytest.mark.parametrize(
    ("task", "folder", "name", "adapter"),
    [
        *(
            (task, folder, name, adapter)
            for task, (folder, name) in TASKS.items()
            for adapter in MENU
        ),
        *(("classification", f"recipes/{name}", "train.yaml", "lora") for name in CLASSIFYING),
        *(("classification", f"recipes/{name}", "quickstart.yaml", "lora") for name in CLASSIFYING),
        ("ctc", "recipes/CommonVoice/kab", "quickstart.yaml", "lora"),
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
