"""One command, several runs: every fold, several learning rates, and both."""

import json
import os
import statistics

import pytest
from scipy.stats import t as student
from support.recipe_run import RECIPES, load_module
from support.small_esc50 import write_small_esc50

from mambadapter.config.schema import CLASSIFICATION, contract
from mambadapter.errors import DivergedError, UserError
from mambadapter.experiments.run import candidates, run
from mambadapter.utils.files import write_json

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

CONTRACT = contract(CLASSIFICATION)
RECIPE = RECIPES / "ESC50/hparams/train.yaml"


@pytest.fixture
def command(tmp_path, encoder_folders, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE.parents[1]))
    settings = {
        "data_folder": "/data",
        "output_folder": tmp_path / "run",
        "encoder": encoder_folders["wav2vec2"],
    }
    options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    return [str(RECIPE), *options]


class Trainer:
    """Writes results without training; what it was asked for is in `calls`."""

    def __init__(self, valid=lambda config: 0.5, diverges=(), fails=()):
        self.valid, self.diverges, self.fails, self.calls = valid, diverges, fails, []

    def __call__(self, experiment, test):
        config = experiment.config
        fold, lr = config["test_fold"], config["lr"]
        self.calls.append((fold, lr, test))
        if fold in self.fails:
            raise KeyboardInterrupt
        if lr in self.diverges:
            raise DivergedError("The loss is nan")
        accuracy = self.valid(config)
        metrics, details = {"valid": {"accuracy": accuracy, "loss": 1.0}}, {}
        if test:
            score = 0.5 + fold / 100
            metrics["test"] = {"accuracy": score, "macro_f1": score, "loss": 2.0, "clips": 10}
            details = {"labels": {"dog": {"f1": score}}}
        (experiment.folder / "adapter").mkdir(exist_ok=True)
        (experiment.folder / "adapter/adapter.json").write_text(json.dumps(lr))
        result = {"metrics": metrics, "best_epoch": 1, "lr": lr, "wall_time_s": 2.0, **details}
        write_json(experiment.folder / "result.json", {**result, "digest": experiment.digest})


def result_of(tmp_path, *below):
    return json.loads(tmp_path.joinpath("run", *below, "result.json").read_text())


def test_one_run_is_one_run(command, tmp_path):
    trainer = Trainer()
    run(command, CONTRACT, trainer)
    assert trainer.calls == [(1, 0.005, True)]
    assert "folds" not in result_of(tmp_path)


def test_validate_only_leaves_the_test_for_later(command, tmp_path):
    """The same command without it then tests what was trained."""
    trainer = Trainer(valid=lambda config: config["lr"])
    run([*command, "--validate_only"], CONTRACT, trainer)
    assert trainer.calls == [(1, 0.005, False)]
    assert "test" not in result_of(tmp_path)["metrics"]
    run(command, CONTRACT, trainer)
    assert trainer.calls[1:] == [(1, 0.005, True)]
    assert "test" in result_of(tmp_path)["metrics"]


def test_validate_only_tests_no_search_or_fold(command, tmp_path):
    trainer = Trainer(valid=lambda config: config["lr"])
    with pytest.raises(UserError, match="give --test_fold 1"):
        run([*command, "--test_fold", "all", "--validate_only"], CONTRACT, trainer)
    run([*command, "--lr_search", "3", "--validate_only"], CONTRACT, trainer)
    assert [test for *_, test in trainer.calls] == [False] * 3
    assert result_of(tmp_path)["lr"] == 0.01


def test_all_folds_and_their_mean(command, tmp_path):
    trainer = Trainer()
    run([*command, "--test_fold", "all"], CONTRACT, trainer)
    assert trainer.calls == [(fold, 0.005, True) for fold in range(1, 6)]
    scores = [0.51, 0.52, 0.53, 0.54, 0.55]
    result = result_of(tmp_path)
    test = result["metrics"]["test"]
    low, high = student.interval(
        0.95, 4, loc=statistics.mean(scores), scale=statistics.stdev(scores) / 5**0.5
    )
    assert test["accuracy"] == pytest.approx(0.53)
    assert test["accuracy_std"] == pytest.approx(statistics.stdev(scores))
    assert (test["accuracy_low"], test["accuracy_high"]) == pytest.approx((low, high))
    assert test["clips"] == 50
    assert [fold["accuracy"] for fold in result["folds"]] == scores
    assert result["labels"] == [{"dog": {"f1": score}} for score in scores]
    assert result["wall_time_s"] == 10.0
    assert result["config"]["test_fold"] == "all"


def test_finished_folds_are_not_run_again(command, tmp_path):
    interrupted = Trainer(fails=[4])
    with pytest.raises(KeyboardInterrupt):
        run([*command, "--test_fold", "all"], CONTRACT, interrupted)
    trainer = Trainer()
    run([*command, "--test_fold", "all"], CONTRACT, trainer)
    assert [fold for fold, *_ in trainer.calls] == [4, 5]
    again = Trainer()
    run([*command, "--test_fold", "all"], CONTRACT, again)
    assert again.calls == []
    assert result_of(tmp_path)["metrics"]["test"]["accuracy"] == pytest.approx(0.53)


def test_other_settings_have_their_own_folds(command):
    run([*command, "--test_fold", "all"], CONTRACT, Trainer())
    with pytest.raises(UserError, match="holds another experiment"):
        run([*command, "--test_fold", "all", "--batch_size", "7"], CONTRACT, Trainer())


def test_learning_rates_double_around_the_menus():
    assert candidates(0.005, 5) == [0.00125, 0.0025, 0.005, 0.01, 0.02]
    assert candidates(0.01, 2) == [0.00707, 0.0141]
    assert candidates(0.01, 1) == [0.01]


def test_only_the_best_is_tested(command, tmp_path):
    """The best on validation."""
    by_lr = {0.0025: 0.4, 0.005: 0.7, 0.01: 0.6}
    trainer = Trainer(valid=lambda config: by_lr[config["lr"]])
    run([*command, "--lr_search", "3"], CONTRACT, trainer)
    assert trainer.calls == [(1, lr, False) for lr in by_lr] + [(1, 0.005, True)]
    result = result_of(tmp_path)
    assert result["lr"] == 0.005
    assert {one["lr"]: one["valid"]["accuracy"] for one in result["lr_search"]} == by_lr
    assert result["config"]["lr_search"] == 3
    assert result["wall_time_s"] == 6.0
    assert json.loads((tmp_path / "run/adapter/adapter.json").read_text()) == 0.005
    for lr in ("0.0025", "0.01"):
        assert "test" not in result_of(tmp_path, "lr", lr)["metrics"]


def test_ties_choose_the_smallest_learning_rate(command, tmp_path, caplog):
    """And a best one at the edge of the grid is said."""
    run([*command, "--lr_search", "3"], CONTRACT, Trainer())
    assert result_of(tmp_path)["lr"] == 0.0025
    assert "at the edge" in (tmp_path / "run/log.txt").read_text()


def test_a_search_that_was_killed_goes_on(command):
    class Killed(Trainer):
        def __call__(self, experiment, test):
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            super().__call__(experiment, test)

    with pytest.raises(KeyboardInterrupt):
        run([*command, "--lr_search", "3"], CONTRACT, Killed(valid=lambda config: config["lr"]))
    trainer = Trainer(valid=lambda config: config["lr"])
    run([*command, "--lr_search", "3"], CONTRACT, trainer)
    assert trainer.calls == [(1, 0.01, False), (1, 0.01, True)]


def test_a_diverging_learning_rate_only_loses(command, tmp_path):
    run([*command, "--lr_search", "3"], CONTRACT, Trainer(diverges=[0.01]))
    search = result_of(tmp_path)["lr_search"]
    assert search[2] == {"lr": 0.01, "diverged": "The loss is nan"}
    again = Trainer()
    run([*command, "--lr_search", "3"], CONTRACT, again)
    assert again.calls == []
    with pytest.raises(UserError, match=r"diverged at every learning rate.*0.002"):
        run(
            [*command[:-3], str(tmp_path / "other"), *command[-2:], "--adapter.lr", "0.002", "--lr_search", "1"],
            CONTRACT, Trainer(diverges=[0.002]),
        )  # fmt: skip


def test_a_search_around_a_rate_of_the_whole_run(command, tmp_path):
    trainer = Trainer(valid=lambda config: config["lr"])
    run([*command, "--lr", "0.1", "--lr_search", "3"], CONTRACT, trainer)
    assert [one["lr"] for one in result_of(tmp_path)["lr_search"]] == [0.05, 0.1, 0.2]


def test_each_fold_searches_on_its_own_validation_fold(command, tmp_path):
    trainer = Trainer(valid=lambda config: config["lr"] * (-1) ** config["test_fold"])
    run([*command, "--test_fold", "all", "--lr_search", "2"], CONTRACT, trainer)
    assert [call for call in trainer.calls if call[2]] == [
        (fold, 0.00707 if fold % 2 == 0 else 0.00354, True) for fold in range(1, 6)
    ]
    assert len(result_of(tmp_path)["folds"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test_fold", "6"], r"test_fold: '6' is not a fold from 1 to 5, or all"),
        (["--test_fold", "every"], r"test_fold: 'every' is not a whole number"),
        (["--lr_search", "-1"], r"lr_search: '-1' is not a whole number of at least 0"),
        (["--adapter_budget", "0"], r"adapter_budget: '0' is not a whole number of at least 1, or null"),
        (["--adapter_budget", "many"], r"adapter_budget: 'many' is not a whole number"),
        (["--adapters", "3", "--adapter.rank", "3"], r"adapters: 3 is no menu"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(command, arguments, message):
    with pytest.raises(UserError, match=message):
        run([*command, *arguments], CONTRACT, Trainer())


def test_weight_decay_may_be_a_fraction(command, tmp_path):
    """Though the YAML says 0, an integer."""
    text = RECIPE.read_text().replace("weight_decay: 0.1", "weight_decay: 0")
    text = text.replace("../../../hparams", str(RECIPES.parent / "hparams"))
    (tmp_path / "zero.yaml").write_text(text)
    seen = []
    run(
        [str(tmp_path / "zero.yaml"), *command[1:], "--weight_decay", "0.1"], CONTRACT,
        lambda experiment, test: seen.append(experiment.hparams["weight_decay"]),
    )  # fmt: skip
    assert seen == [0.1]


def test_folds_together_are_the_folds_alone(command, tmp_path, monkeypatch):
    """With fresh weights each, in any order, and at the size that fits the budget."""
    monkeypatch.chdir(RECIPES / "ESC50")
    recipe = load_module(RECIPES / "ESC50/train.py")
    corpus = write_small_esc50(tmp_path / "ESC-50-master")
    shared = [
        *command, "--data_folder", str(corpus), "--number_of_epochs", "1", "--num_workers", "0",
        "--batch_size", "6", "--adapter_budget", "4000", "--noprogressbar",
    ]  # fmt: skip
    recipe.main([*shared, "--test_fold", "all"])
    for fold in (3, 1):
        alone = tmp_path / f"alone{fold}"
        recipe.main([*shared, "--test_fold", str(fold), "--output_folder", str(alone)])
        one, other = (
            (folder / "adapter/adapter.safetensors").read_bytes()
            for folder in (alone, tmp_path / f"run/fold{fold}")
        )
        assert one == other
    result = result_of(tmp_path, "fold1")
    assert abs(result["parameters"]["adapted"] / 4000 - 1) < 0.1
    assert result["method"]["rank"] != 12
    assert "adapter_budget 4,000: rank=" in (tmp_path / "run/fold1/log.txt").read_text()
    assert os.path.getsize(tmp_path / "run/fold5/log.txt") > 0
