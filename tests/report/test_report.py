"""A report as a command: its page and files, what it is asked for, what is missing or broken."""

import re

import pytest
from support.fake_recipe import write_recipe, write_sweep
from support.results import result, write

from mambadapter import cli
from mambadapter.errors import UserError
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep
from mambadapter.report.collect import collect
from mambadapter.report.page import write_report
from mambadapter.report.sources import read_results
from mambadapter.report.tables import to_json_lines

BODY = (
    "cross: {adapter: [lora, bottleneck, probe_x], adapter_budget: [100, 200], seed: [1, 2, 3]}\n"
)


def test_a_result_without_a_number_is_named_and_left_out(tmp_path):
    write(tmp_path, result("lora", 1, 0.5), result("lora", 2, 0.6), result("lora", 3, float("nan")))
    page = write_report(tmp_path, tmp_path / "out").read_text()
    assert "2 runs of 1 settings" in page
    assert "has no number for accuracy" in page


def test_results_without_numbers_are_named_where_there_are_no_others(tmp_path):
    write(tmp_path, result("lora", 1, float("nan")))
    with pytest.raises(
        UserError, match=r"no result of a tested run.*\n.* has no number for accuracy"
    ):
        collect(tmp_path.rglob("result.json"))


def test_each_file_has_a_report_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "other"):
        write(tmp_path / name, result("lora", 1, 0.5))
        lines = to_json_lines(collect((tmp_path / name).rglob("result.json")))
        (tmp_path / f"{name}.jsonl").write_text(lines)
        assert cli.main(["report", f"{name}.jsonl"]) == 0
        assert (tmp_path / "results/report" / name / "index.html").is_file()


@pytest.fixture
def swept(tmp_path):
    recipe = write_recipe(tmp_path / "recipes/Fake")
    path = write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", BODY)
    run_sweep(read_sweep(path), jobs=2)
    return path


def test_a_report_is_one_whole_page(swept, tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "out"), "--sweep", str(swept)]) == 0
    assert "| lora |" in capsys.readouterr().out
    report = tmp_path / "out/report"
    page = (report / "index.html").read_text()
    assert "18 runs of 6 settings" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert (
        page.count("<img ")
        == len(list(report.glob("*.png")))
        == len(list(report.glob("*.pdf")))
        >= 2
    )
    assert "not in this report" not in page


def test_one_method_against_some_others(swept, tmp_path):
    line = [
        "report",
        str(tmp_path / "out"),
        "--against",
        "lora",
        "--only",
        "adapter=lora,bottleneck",
    ]
    assert cli.main([*line, "--only", "seed=1,3"]) == 0
    header, _, *rows = (tmp_path / "out/report/differences.md").read_text().splitlines()
    assert header.startswith("| setting | other setting | pairs | difference, points |")
    assert [row.split(" | ")[:4] for row in rows] == [
        [f"| lora, {size}", f"bottleneck, {size}", "2", "+10.0"] for size in (100, 200)
    ]
    assert len((tmp_path / "out/report/runs.csv").read_text().splitlines()) == 1 + 2 * 2 * 2


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("adaptor=lora", "no setting 'adaptor'; did you mean 'adapter'"),
        ("adapter=lorra", "no run has adapter 'lorra'; did you mean 'lora'"),
    ],
)
def test_only_what_there_is(swept, tmp_path, capsys, only, said):
    line = ["report", str(tmp_path / "out"), "--only"]
    assert cli.main([*line, only]) != 0
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*line, only.partition("=")[0]])
    assert "should be SETTING=VALUE,VALUE" in capsys.readouterr().err


def test_what_is_missing_or_broken_is_named(swept, tmp_path):
    trials = read_sweep(swept).trials()
    trials[0].result.unlink()
    trials[1].result.write_text('{"half')
    assert cli.main(["report", str(tmp_path / "out"), "--sweep", str(swept)]) == 0
    page = (tmp_path / "out/report/index.html").read_text()
    assert "16 runs of 6 settings" in page
    assert f"{trials[0].name} is not done" in page
    assert "result.json cannot be read" in page


def test_resumed_sweeps_report_as_whole_ones(swept, tmp_path):
    def tables():
        cli.main(["report", str(tmp_path / "out")])
        return [
            (tmp_path / "out/report" / name).read_text()
            for name in ("runs.csv", "table.md", "table.tex")
        ]

    whole = tables()
    for trial in read_sweep(swept).trials()[::3]:
        trial.result.unlink()
    assert tables() != whole
    run_sweep(read_sweep(swept))
    assert tables() == whole


def test_files_report_as_their_folders(swept, tmp_path):
    out, again = tmp_path / "out", tmp_path / "again"
    assert cli.main(["report", str(out)]) == 0
    lines = out / "report/runs.jsonl"
    assert dict(read_results(lines)) == {
        trial.name: trial.read() for trial in read_sweep(swept).trials()
    }
    assert cli.main(["report", str(lines), "--output", str(again)]) == 0
    for name in ("runs.csv", "runs.jsonl", "table.md", "table.tex"):
        assert (again / name).read_text() == (out / "report" / name).read_text()
    lines.write_text(lines.read_text() + '{"half')
    found = collect([lines])
    assert sum(len(cell.runs) for cell in found.cells) == 18
    assert found.unreadable == (f"{lines}, line 19 cannot be read",)


def test_the_page_has_what_is_confused_most(tmp_path, capsys):
    """Summed over a setting's runs and folds; not of results that are a mean and tell of one fold."""

    def pair(target, taken_for, clips, name, **more):
        names = {"class": target, "taken_for": taken_for}
        return {**names, "clips": clips, "of": 10, "names": [f"{name}.wav"], **more}

    confused = [
        ("lora", [pair("dog", "fox", 3, "a"), pair("cat", "dog", 2, "b")], None),
        ("lora", [pair("cat", "dog", 4, "c")], None),
        ("lora", [pair("dog", "fox", 8, "d", runs=2, of=50)], 5),
        ("dora", [pair("fox", "cat", 9, "stale")], 5),
    ]
    for seed, (adapter, pairs, folds) in enumerate(confused):
        one = {**result(adapter, seed, 0.5), "worst_confused": pairs}
        if folds:
            one["folds"] = [{}] * folds
        write(tmp_path / f"{seed}", one)
    assert cli.main(["report", str(tmp_path), "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    rows = [re.sub("<.*?>", "|", row) for row in page.split("Most confused")[1].split("<tr>")[2:]]
    rows = [re.sub(r"\|+", "|", row).removesuffix("\n") for row in rows]
    assert rows == [
        "|lora|dog|fox|11 of 60|3 of 7|a.wav, d.wav|",
        "|lora|cat|dog|6 of 20|2 of 7|b.wav, c.wav|",
    ]


def test_nothing_to_report(tmp_path, capsys):
    with pytest.raises(UserError, match="no result of a tested run"):
        collect([])
    assert cli.main(["report", str(tmp_path / "nowhere")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    paths = write(tmp_path, result("lora", 1, 0.5))
    with pytest.raises(
        UserError, match="do not share the metric 'wer'; they share accuracy, clips"
    ):
        collect(paths, "wer")
