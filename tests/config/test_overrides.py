"""A command line says what it means, or is refused with one clear message."""

import pytest
from support.small_recipe import CONTRACT, edit, load

from mambadapter.config import load_experiment
from mambadapter.config.overrides import parse_command_line
from mambadapter.errors import UserError
from mambadapter.methods import LinearProbe, MambAdapters


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


def test_a_setting_that_the_menu_leaves_to_its_class_can_be_changed(recipe):
    # adapters.yaml gives mambadapter neither; their defaults are the class's.
    method = load(recipe, "--adapter.scan", "false", "--adapter.lookahead", "2").hparams["method"]

    assert (method.scan, method.lookahead) == (False, 2)


def test_short_forms_follow_the_choice_wherever_it_stands(recipe):
    hparams = load(recipe, "--adapter.norms", "none", "--adapter", "linear_probe").hparams
    assert hparams["method"] == LinearProbe(norms="none")


def test_run_options_go_to_speechbrain(recipe):
    experiment = load(recipe, "--precision", "bf16", "--debug")
    assert experiment.run_opts["precision"] == "bf16"
    assert experiment.run_opts["debug"]
    assert experiment.config["run_options"] == {
        "precision": "bf16",
        "debug": True,
        "processes": 1,
    }


def test_abbreviated_run_options_are_not_swallowed(recipe):
    """SpeechBrain's parser takes --log for --log_config and --dev for --device."""
    assert load(recipe, "--log", "elsewhere").hparams["log"] == "elsewhere"


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
        (("--adapter.scan", "no"), "--adapter.scan: 'no' is not true or false"),
        (
            ("--adapter", "linear_probe", "--adapter.scan", "true"),
            "'linear_probe' has no setting 'scan'",
        ),
        (("--adapter.rank", "0"), "rank=0 is impossible"),
        (("--adapter.placement", "huolsby"), "did you mean 'houlsby'"),
        (("--seed",), "--seed has no value"),
        (("--seed", "--debug"), "--seed has no value"),
        (("stray",), "'stray' stands alone"),
        (("--precision", "fp8"), "--precision: 'fp8' is unknown; did you mean 'fp32'"),
        (("--loader_options", "[1"), r"--loader_options: '\[1' is not valid YAML"),
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
    ("option", "message"),
    [
        ("--auto_mix_prec", "write --precision fp16"),
        ("--auto_mix_prec=false", "write --precision fp16"),
        ("--bfloat16_mix_prec", "write --precision bf16"),
        ("--compile_mode=max-autotune", "write --compile layers"),
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
        ("--ckpt_interval_minutes=-1", "'-1' is not a number of at least 0"),
        ("--ckpt_interval_steps=1.5", "'1.5' is not a whole number"),
        ("--eval_precision=bf61", "'bf61' is unknown; did you mean 'bf16'"),
        ("--distributed_backend=glo", "'glo' is unknown; did you mean 'gloo'"),
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
        "ckpt_interval_minutes": 2.63,
        "ckpt_interval_steps": 5,
        "device": "cpu",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    run_opts = load(recipe, *arguments).run_opts
    for name, value in options.items():
        assert run_opts[name] == value
        assert type(run_opts[name]) is type(value)
    assert run_opts.overridden_args == set(options)


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
        (("--output_folder", ""), "output_folder: '' is not a path"),
        (("--adapter", ""), "adapter: '' is not a name"),
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
    assert load_typed(typed, "--output_folder=2024-01-01").hparams["log"] == "2024-01-01/log"
    assert load_typed(typed, "--data_folder=2024").hparams["data_folder"] == "2024"


def test_the_last_of_two_values_counts(typed):
    assert load_typed(typed, "--data_folder=3", "--data_folder=/x").hparams["data_folder"] == "/x"


def test_no_file_or_no_such_file():
    with pytest.raises(UserError, match="There is no hparams file nowhere.yaml"):
        parse_command_line(["nowhere.yaml"])
    with pytest.raises(UserError, match="Name the recipe's YAML first"):
        parse_command_line([])
