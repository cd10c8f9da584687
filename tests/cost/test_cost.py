"""What a training step costs: counted memory is what is allocated, and `mambadapter bench` says it."""

import json

import pytest
import torch

from mambadapter import cli
from mambadapter.cost.memory import peak_mib


def test_peak_counts_what_lives_at_once():
    """Of three tensors of 4, 4 and 1 MiB the first is gone before the last comes."""

    def call():
        first = torch.zeros(2**20)
        second = first + 1
        del first
        third = torch.zeros(2**18)
        return second, third

    assert peak_mib(call) == pytest.approx(8, abs=0.01)


def test_bench_prints_one_object(capsys, tmp_path):
    """With sizes near the budget, memory that grows with what learns, a picture, and what was left out."""
    picture = tmp_path / "bench.png"
    settings = [
        "--clips",
        "2",
        "--seconds",
        "0.3",
        "--budget",
        "12000",
        "--device",
        "cpu",
    ]
    methods = ["--adapters", "mambadapter", "linear_probe", "full_finetuning"]
    assert cli.main(["bench", *settings, *methods, "--json", "--picture", str(picture)]) == 0
    costs = {cost.pop("method"): cost for cost in json.loads(capsys.readouterr().out)["costs"]}
    assert abs(costs["mambadapter"]["trained"] / 12000 - 1) < 0.1
    assert all(cost["milliseconds"] > 0 for cost in costs.values())
    assert costs["mambadapter"]["memory_mib"] < costs["full_finetuning"]["memory_mib"]
    assert costs["linear_probe"]["largest_batch"] > costs["full_finetuning"]["largest_batch"] > 0
    assert picture.read_bytes()[1:4] == b"PNG"
    assert cli.main(["bench", *settings, *methods, "--limit", "0"]) == 0
    said = capsys.readouterr().out
    assert "| mambadapter |" in said
    assert "Not begun within 0 s: linear_probe, full_finetuning." in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--adapters", "lorra"], "did you mean 'lora'"),
        (["--clips", "1"], "--clips: give at least 2"),
        (["--seconds", "nan"], "--seconds"),
        (["--device", "tpu"], "--device"),
        (["--picture", "bench.gif"], "--picture"),
    ],
)
def test_bench_refuses_in_one_line(capsys, arguments, named):
    """Before anything is built."""
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
