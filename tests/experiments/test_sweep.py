"""A sweep runs what its file crosses, once, whatever happens on the way."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fake_recipe import write_recipe, write_sweep

from mambadapter import cli
from mambadapter.budget.count import counter
from mambadapter.budget.search import fit_to_budget
from mambadapter.config import load_experiment, schema
from mambadapter.encoders.speech_to_text import parts
from mambadapter.errors import UserError
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    ("train.py", False): schema.contract(schema.CLASSIFICATION),
    ("train.py", True): schema.contract(schema.CTC),
    ("train_seq2seq.py", True): schema.contract(schema.SEQ2SEQ),
}

BODY = """\
settings: {number_of_epochs: 3, shots_per_class: null}
cross:
    adapter: [lora, bottleneck]
    adapter_budget: [100, 200]
    seed: [1, 2, 3]
where:
    - if: {adapter: lora, seed: [1, 2]}
      set: {adapter.lr: 0.5}
exclude:
    - {adapter: bottleneck, adapter_budget: 200}
"""


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path / "recipes/Fake")


@pytest.fixture
def sweep_file(tmp_path, recipe):
    return write_sweep(tmp_path / "small.yaml", recipe, tmp_path / "out", BODY)


def starts(trial):
    path = trial.output / "starts.txt"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_lists_are_crossed_conditions_add_and_exclusions_take(sweep_file):
    trials = read_sweep(sweep_file).trials()
    settings = [trial.settings for trial in trials]
    assert len(settings) == 6 + 3
    assert [one["seed"] for one in settings[:4]] == [1, 2, 3, 1]
    assert {(one["adapter"], one["adapter_budget"]) for one in settings} == {
        ("lora", 100), ("lora", 200), ("bottleneck", 100),
    }  # fmt: skip
    assert [one.get("adapter.lr") for one in settings[:3]] == [0.5, 0.5, None]
    assert all(one["number_of_epochs"] == 3 and "shots_per_class" not in one for one in settings)
    assert len({trial.name for trial in trials}) == 9
    assert trials[0].name.startswith("Fake-lora-100-1-")


def test_a_part_of_a_sweep(sweep_file):
    sweep = read_sweep(sweep_file)
    part = sweep.part({"recipe": "Fake", "adapter": "bottleneck,lora", "seed": "2"})
    assert [trial.name for trial in part.trials()] == [
        trial.name for trial in sweep.trials() if trial.settings["seed"] == 2
    ]
    with pytest.raises(UserError, match="no list 'adaptr'; did you mean 'adapter'"):
        sweep.part({"adaptr": "lora"})
    with pytest.raises(UserError, match="no run has adapter 'lroa'; did you mean 'lora'"):
        sweep.part({"adapter": "lroa"})


def test_a_name_may_stand_for_settings(tmp_path, recipe):
    body = """\
settings: {adapter: lora}
cross:
    setting: {plain: {}, large: {adapter.rank: 64, adapter: dora}}
    seed: [1, 2]
where:
    - if: {setting: large, seed: 2}
      set: {adapter.lr: 0.5}
"""
    trials = read_sweep(write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body)).trials()
    large = {"adapter": "dora", "adapter.rank": 64}
    assert [trial.settings for trial in trials] == [
        {"adapter": "lora", "seed": 1},
        {"adapter": "lora", "seed": 2},
        {**large, "seed": 1},
        {**large, "seed": 2, "adapter.lr": 0.5},
    ]
    assert trials[3].name.startswith("Fake-large-2-")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "hparams/sweeps").glob("*.yaml")), ids=lambda p: p.stem
)
@pytest.mark.exhaustive
def test_our_sweeps_are_accepted_by_their_recipes(path, monkeypatch, tmp_path, encoder_folders):
    monkeypatch.chdir(ROOT)
    trials = read_sweep(path).trials()
    assert len({trial.name for trial in trials}) == len(trials)
    last_of_each_recipe = {trial.recipe: trial for trial in trials}.values()
    for trial in [*trials[:: max(len(trials) // 3, 1)], *last_of_each_recipe]:
        monkeypatch.syspath_prepend(str(trial.recipe))
        arguments = [*trial.arguments[2:], "--output_folder", str(tmp_path / trial.name)]
        if "/" in str(trial.settings.get("encoder")):  # written first; any checkpoint will do here
            kind = "wav2vec2" if trial.script == "train.py" else "whisper"
            arguments += ["--encoder", encoder_folders[kind]]
        contract = CONTRACTS[trial.script, "CommonVoice" in trial.recipe.parts]
        experiment = load_experiment([str(trial.recipe / trial.hparams), *arguments], contract)
        assert trained_method(experiment.hparams)


def trained_method(hparams):
    budget = hparams["adapter_budget"], hparams["adapter_budget_norms"]
    adapted = parts(hparams["adapt"]) if "adapt" in hparams else ("encoder",)
    return fit_to_budget(hparams["method"], hparams["encoder"], *budget, adapted)


# Of the classification table to the parameter, as the paper's code counts; of the other what the paper prints.
COUNTS = {
    "paper_classification": {
        ("lora", None): 259_584,
        ("bottleneck", "houlsby"): 499_488,
        ("conformer", "pfeiffer"): 272_256,
        ("conformer", "houlsby"): 542_976,
        ("mambadapter", "pfeiffer"): 65_976,
        ("mambadapter", "houlsby"): 111_204,
        ("prompt_deep", None): 231_936,
        ("prefix_tuning", None): 222_720,
        ("bitfit", None): 102_144,
        ("linear_probe", None): 1_536,
    },
    "paper_recognition": dict.fromkeys(
        [("mambadapter", None), ("mambadapter_unshared", None)], pytest.approx(1.1e6, rel=0.045)
    ),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.exhaustive
def test_the_papers_sweeps_train_what_it_prints(name, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    seen = {}
    for trial in read_sweep(ROOT / f"hparams/sweeps/{name}.yaml").trials():
        row = trial.settings["adapter"], trial.settings.get("adapter.placement")
        if row in COUNTS[name] and row not in seen:
            monkeypatch.syspath_prepend(str(trial.recipe))
            arguments = [*trial.arguments[2:], "--output_folder", str(tmp_path / trial.name)]
            contract = CONTRACTS[trial.script, "CommonVoice" in trial.recipe.parts]
            path = str(trial.recipe / trial.hparams)
            hparams = load_experiment([path, *arguments], contract).hparams
            counted = counter(hparams["encoder"])(trained_method(hparams))
            seen[row] = counted.budgeted(with_norms=name == "paper_classification")
    assert seen == COUNTS[name]


def test_longer_lists_leave_folders_alone(tmp_path, recipe, sweep_file):
    before = {trial.name for trial in read_sweep(sweep_file).trials()}
    longer = BODY.replace("seed: [1, 2, 3]", "seed: [4, 1, 2, 3]")
    after = {
        t.name
        for t in read_sweep(
            write_sweep(tmp_path / "b.yaml", recipe, tmp_path / "out", longer)
        ).trials()
    }
    assert before < after


def test_everything_runs_once_and_a_second_time_nothing(sweep_file, capsys):
    sweep = read_sweep(sweep_file)
    assert run_sweep(sweep, jobs=2)["done"] == 9
    assert "lora" in capsys.readouterr().out
    assert run_sweep(sweep, jobs=2)["done"] == 9
    assert [starts(trial) for trial in sweep.trials()] == [1] * 9
    assert "Nothing is left to run." in capsys.readouterr().out


def test_a_dry_run_only_tells(sweep_file, capsys):
    sweep = read_sweep(sweep_file)
    run_sweep(sweep, dry_run=True)
    assert "9 runs, 0 of them done" in capsys.readouterr().out
    assert not any(trial.output.exists() for trial in sweep.trials())


def test_others_go_on_when_one_fails(tmp_path, recipe, capsys):
    body = "cross: {adapter: [lora, broken, bottleneck], seed: [1]}\n"
    path = write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body)
    assert cli.main(["sweep", str(path)]) == 2
    out, err = capsys.readouterr()
    assert "1 runs failed; sweep_log.txt" in err
    assert "'broken' is not on the menu" in out
    counts = run_sweep(read_sweep(path))
    assert (counts["done"], counts["failed"]) == (2, 1)
    trials = read_sweep(path).trials()
    assert [starts(trial) for trial in trials] == [1, 2, 1]


def test_a_full_disk_ends_a_sweep(tmp_path, recipe, monkeypatch, capsys):
    """With one line; started again, it goes on."""
    body = "cross: {adapter: [lora, broken, bottleneck], seed: [1]}\n"
    path = write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body)

    def full(target, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    with monkeypatch.context() as patch:
        patch.setattr("mambadapter.experiments.trials.write_json", full)
        assert cli.main(["sweep", str(path)]) == 2
    assert (
        "failed.json). Free some space and start the same command again" in capsys.readouterr().err
    )
    path.write_text(path.read_text().replace("broken", "dora"))
    assert run_sweep(read_sweep(path))["done"] == 3
    assert [starts(trial) for trial in read_sweep(path).trials()] == [1] * 3


def test_half_a_result_is_run_again(sweep_file):
    sweep = read_sweep(sweep_file)
    run_sweep(sweep)
    spoilt = sweep.trials()[4]
    spoilt.result.write_text('{"metrics": {"test"')
    run_sweep(sweep)
    assert spoilt.done
    assert [starts(trial) for trial in sweep.trials()] == [1, 1, 1, 1, 2, 1, 1, 1, 1]


@pytest.mark.exhaustive
def test_killed_midway_nothing_is_lost_or_repeated(tmp_path, recipe):
    body = "settings: {seconds: 0.6}\ncross: {adapter: [lora, bottleneck], seed: [1, 2, 3]}\n"
    path = write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body)
    process = subprocess.Popen(
        [sys.executable, "-m", "mambadapter.cli", "sweep", str(path), "--jobs", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    sweep = read_sweep(path)
    while sum(trial.done for trial in sweep.trials()) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [trial.name for trial in sweep.trials() if trial.done]
    assert 2 <= len(done) < 6
    # Its children go on by themselves; they hold their locks, so nobody starts them again.
    assert run_sweep(sweep, jobs=2)["done"] == 6
    assert [starts(trial) for trial in sweep.trials()] == [1] * 6


@pytest.mark.exhaustive
def test_two_sweeps_in_one_folder_share_the_work(tmp_path, recipe):
    body = "settings: {seconds: 0.3}\ncross: {adapter: [lora, bottleneck], seed: [1, 2]}\n"
    path = write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body)
    command = [sys.executable, "-m", "mambadapter.cli", "sweep", str(path)]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in "ab"
    ]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert [starts(trial) for trial in read_sweep(path).trials()] == [1] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("cross:", "crosss:"), "unknown key 'crosss'; did you mean 'cross'"),
        (("recipe:", "recipe: /nowhere #"), "recipe '/nowhere' has no train.py; give its folder"),
        (
            ("adapter_budget: [100, 200]", "adapter_budget: 100"),
            "cross.adapter_budget should be a list",
        ),
        (("settings: {", "settings: [{"), "is not valid YAML"),
        (("- if:", "- when:"), "each entry of `where` should have the keys `if` and `set`"),
        (("exclude:", "limit: 8\nexclude:"), "cross to 9 runs, more than its limit of 8"),
    ],
)
def test_a_wrong_sweep_file_is_refused(sweep_file, change, message):
    text = sweep_file.read_text()
    assert change[0] in text
    sweep_file.write_text(text.replace(*change))
    with pytest.raises(UserError, match=message):
        read_sweep(sweep_file).trials()


def test_a_launcher_that_is_not_there(sweep_file):
    with pytest.raises(UserError, match="launcher: 'slrum' is unknown; did you mean 'slurm'"):
        run_sweep(read_sweep(sweep_file), launcher="slrum")
    with pytest.raises(UserError, match="There is no sweep file"):
        read_sweep(sweep_file.parent / "nowhere.yaml")


def test_the_result_is_what_the_recipe_wrote(sweep_file):
    sweep = read_sweep(sweep_file)
    run_sweep(sweep, jobs=2)
    trial = sweep.trials()[0]
    written = json.loads((trial.output / "result.json").read_text())
    assert trial.read() == written
    assert written["config"]["adapter.lr"] == "0.5"
