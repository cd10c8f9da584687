"""A sweep names the variants of a method in a report."""

import json

import pytest
from support.fake_recipe import write_recipe, write_sweep
from support.results import result

from mambadapter import cli
from mambadapter.errors import UserError
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep
from mambadapter.report.collect import collect
from mambadapter.report.tables import to_markdown
from mambadapter.report.variants import variants_of


def test_a_sweep_names_the_variants_of_a_method_in_its_order(tmp_path, capsys):
    """A list that names tasks is left as it is; and of a saved file of runs it is the same."""
    recipe = write_recipe(tmp_path / "recipes/Fake")
    body = (
        "cross:\n"
        "    variant:\n"
        "        plain, as published: {adapter: lora}\n"
        "        a wider one: {adapter: lora, adapter.rank: 64}\n"
        "        another: {adapter: bottleneck, scan_lr_scale: 0.1}\n"
        "    task: {easy: {encoder: a}, hard: {encoder: b}}\n"
        "    seed: [1, 2, 3]\n"
    )
    swept = write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body)
    run_sweep(read_sweep(swept), jobs=2)
    line = ["report", str(tmp_path / "out"), "--sweep", str(swept), "--against", "a wider one"]
    assert cli.main(line) == 0
    report = tmp_path / "out/report"
    table = (report / "table.md").read_text()
    header, _, *rows = table.splitlines()[:8]
    assert header.startswith("| variant | encoder | learning rate |")
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {variant}", encoder]
        for variant in ("plain, as published", "a wider one", "another")
        for encoder in "ab"
    ]
    differences = (report / "differences.md").read_text()
    assert "| a wider one, a | another, a | 3 | +10.0 |" in differences
    assert (
        cli.main(["report", str(report / "runs.jsonl"), *line[2:], "--output", str(tmp_path / "r")])
        == 0
    )
    assert (tmp_path / "r/table.md").read_text() == table
    assert "not in this report" not in (tmp_path / "r/index.html").read_text()
    only = ["--only", "variant=plain, as published"]
    assert (
        cli.main(
            [
                "report",
                str(report / "runs.jsonl"),
                *line[2:4],
                *only,
                "--output",
                str(tmp_path / "r"),
            ]
        )
        == 0
    )
    assert len((tmp_path / "r/runs.csv").read_text().splitlines()) == 1 + 6
    line[-1] = "a wide one"
    assert cli.main(line) != 0
    assert "did you mean 'a wider one'" in capsys.readouterr().err


def test_runs_that_a_sweep_does_not_name_go_by_their_adapter(tmp_path):
    runs = [
        {**result(adapter, seed, 0.5, rank=rank), "name": f"Fake-{name}-{seed}-0123abcd"}
        for adapter, rank, name in (
            ("lora", 4, "small"),
            ("lora", 8, "big"),
            ("bottleneck", 8, "other"),
        )
        for seed in (1, 2)
    ]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    names = {f"Fake-{name}-{seed}": {"rank": name} for name in ("small", "big") for seed in (1, 2)}
    found = collect([tmp_path / "runs.jsonl"], variants=names)
    assert [cell.labels for cell in found.cells] == [("small",), ("big",), ("bottleneck",)]
    assert to_markdown(found).startswith("| rank | learning rate |")


def test_variants_that_are_called_the_same_are_refused(tmp_path):
    recipe = write_recipe(tmp_path / "recipes/Fake")
    body = "cross: {variant: {a 1/2: {adapter: lora}, b 1/2: {adapter: dora}}, seed: [1]}\n"
    sweep = read_sweep(write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body))
    with pytest.raises(UserError, match="both called 'Fake-2-1'"):
        variants_of(sweep)
