"""What a quick start's head promises is what a saved run with those settings scored."""

import re
from pathlib import Path

import pytest

from mambadapter.config import load_experiment
from mambadapter.config.schema import contract
from mambadapter.methods import METHODS
from mambadapter.report.sources import read_results

ROOT = Path(__file__).parents[2]
HEAD = re.compile(
    r"# (?P<command>python train\.py hparams/quickstart\.yaml .+)\n"
    r"# With (?P<flags>--.+): (?P<score>[\d.]+) % (?P<metric>accuracy|word errors) in (?P<seconds>\d+) s\n"
    r"# on two CPU cores .+ \((?P<run>\S+) in (?P<file>\S+)\)\."
)


@pytest.mark.parametrize(
    "path",
    # The recipes for one's own recordings have no corpus to be scored on.
    sorted({*ROOT.glob("recipes/**/quickstart.yaml")} - {*ROOT.glob("recipes/Your*/**/*.yaml")}),
    ids=lambda path: path.parts[-3],
)
@pytest.mark.exhaustive
def test_quick_starts_score_what_they_say(path, monkeypatch, tmp_path):
    head = HEAD.search(path.read_text())
    folder = path.parents[1]
    run = dict(read_results(folder / head["file"]))[head["run"]]
    metric = {"accuracy": "accuracy", "word errors": "wer"}[head["metric"]]
    assert float(head["score"]) == round(100 * run["metrics"]["test"][metric], 1)
    assert int(head["seconds"]) == round(run["wall_time_s"])
    assert run["machine"]["cores"] == 2
    assert run["machine"]["gpu"] is None

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    words = [*head["command"].split()[2:], *head["flags"].split()]
    task = contract("ctc" if metric == "wer" else "classification")
    config = load_experiment([*words, "--output_root", str(tmp_path)], task).config
    for key in ("encoder", "lr", "seed", "number_of_epochs", "weight_decay", "adapter_budget"):
        assert config[key] == run["config"][key], key
    # Older runs do not name what came later, at values that change nothing.
    for key in {"batch_size", "batch_seconds", "head_lr", "parameter_groups"} & set(config):
        assert config[key] == run["config"].get(key), key
    [(name, settings)], [(ran, had)] = config["method"].items(), run["config"]["method"].items()
    method = METHODS[name.rpartition(".")[2]]
    assert name == ran
    assert method(**settings) == method(**had)
