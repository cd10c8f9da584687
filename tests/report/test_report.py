"""A report has every result, and names what it lacks."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.fake_recipe import write_recipe, write_sweep
from support.results import result, write

from mambadapter import cli
from mambadapter.errors import UserError
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep
from mambadapter.report.collect import collect
from mambadapter.report.page import write_report
from mambadapter.report.significance import compare
from mambadapter.report.sources import read_results
from mambadapter.report.tables import to_csv, to_json_lines, to_latex, to_markdown
from mambadapter.report.variants import variants_of

ROOT = Path(__file__).parents[2]

BODY = (
    "cross: {adapter: [lora, bottleneck, probe_x], adapter_budget: [100, 200], seed: [1, 2, 3]}\n"
)


def test_runs_are_gathered_by_what_sets_them_apart(tmp_path):
    paths = write(
        tmp_path,
        *(
            result("lora", seed, 0.5 + seed / 10, rank=rank)
            for seed in (1, 2, 3)
            for rank in (4, 8)
        ),
        *(result("bottleneck", seed, 0.6, rank=8) for seed in (1, 2)),
    )
    found = collect(paths)
    assert found.columns == ("adapter", "method.rank")
    assert [cell.labels for cell in found.cells] == [("bottleneck", 8), ("lora", 4), ("lora", 8)]
    assert [len(cell.runs) for cell in found.cells] == [2, 3, 3]


def test_a_grid_of_learning_rates_is_a_column(tmp_path):
    """Where some seed was set to several; what a seed found itself joins the rate that it found."""
    grid = [result("lora", seed, 0.5, lr=lr, lr_search=0) for seed in (1, 2) for lr in (0.1, 0.2)]
    found = {**result("lora", 3, 0.5, lr=0.3, lr_search=3), "lr": 0.2}
    collection = collect(write(tmp_path, *grid, found, result("dora", 1, 0.5, lr=0.1)))
    assert collection.columns == ("adapter", "lr")
    assert [(cell.labels, len(cell.runs)) for cell in collection.cells] == [
        (("dora", None), 1), (("lora", 0.1), 2), (("lora", 0.2), 3),
    ]  # fmt: skip


@pytest.mark.parametrize("searched", [(), (1,), (1, 2, 3)])
@pytest.mark.parametrize(
    ("rates", "shown"), [((0.2, 0.2, 0.2), "0.2"), ((0.1, 0.2, 0.4), "0.1 to 0.4")]
)
def test_a_method_is_one_row_however_its_rate_was_found(tmp_path, searched, rates, shown):
    runs = [
        {**result("lora", seed, 0.5, lr=1.0 if seed in searched else lr, lr_search=3 * (seed in searched)), "lr": lr}
        for seed, lr in zip((1, 2, 3), rates, strict=True)
    ]  # fmt: skip
    collection = collect(write(tmp_path, *runs, result("dora", 1, 0.6)))
    assert collection.columns == ("adapter",)
    assert [len(cell.runs) for cell in collection.cells] == [1, 3]
    some = {0: "", 1: " (searched in 1 of 3 runs)", 3: " (searched)"}[len(searched)]
    assert f"| lora | {shown}{some} | 1,234 | 3 seeds | 50.0 ± 0.0 |" in to_markdown(collection)


def test_a_seed_counts_once(tmp_path, capsys):
    """Two runs of one seed are no two samples: the one that searched stays, the other is named."""
    searched = {**result("lora", 1, 0.5, lr=0.1, lr_search=3), "lr": 0.2}
    given = result("lora", 1, 0.9, lr=0.2, lr_search=0)
    folder = tmp_path / "runs"
    collection = collect(write(folder, given, searched, result("lora", 2, 0.5, lr=0.2)))
    (cell,) = collection.cells
    assert [run.score("accuracy") for run in cell.runs] == [0.5, 0.5]
    assert collection.repeated == ("run0 (as run1)",)
    assert cli.main(["report", str(folder)]) == 0
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    assert "run0 (as run1): the same setting, seed and fold again" in page


def test_one_run_is_never_the_best(tmp_path):
    """However good it is."""
    paths = write(
        tmp_path,
        result("lora", 1, 0.9),
        *(result("dora", seed, 0.5) for seed in (1, 2)),
        *(result("bitfit", seed, 0.4) for seed in (1, 2)),
    )
    table = to_markdown(collect(paths))
    (marked,) = [line for line in table.splitlines() if line.endswith("* |")]
    assert marked.startswith("| dora |")
    assert "| 1 seed | 90.0 |" in table
    assert "the best mean of those over at least two seeds or folds" in table


def test_saved_runs_have_a_row_a_method():
    """Of which some seeds searched their learning rate, and the others were given what was found."""
    runs = ROOT / "recipes/FluentSpeechCommands/saved_runs/methods.jsonl"
    collection = collect([runs])
    assert all(cell.seeds == len(cell.runs) == 3 for cell in collection.cells)
    assert not collection.repeated
    assert len({cell.labels for cell in collection.cells}) == len(collection.cells)


def test_folds_are_averaged_within_seeds(tmp_path):
    """And intervals are scipy's."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.4, 0.9, (4, 5))
    paths = write(
        tmp_path,
        *(
            result("lora", seed, scores[seed, fold], fold + 1)
            for seed in range(4)
            for fold in range(5)
        ),
    )
    (cell,) = collect(paths).cells
    mean, half = cell.summary("accuracy")
    seeds = scores.mean(1)
    interval = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))
    one_seed = collect(
        [path for path in paths if json.loads(path.read_text())["config"]["seed"] == 0]
    )
    mean, half = one_seed.cells[0].summary("accuracy")
    interval = stats.ttest_1samp(scores[0], 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))


def test_runs_that_did_not_learn_are_counted(tmp_path):
    runs = [{**result("lora", seed, 0.05), "learned": seed != 2} for seed in (1, 2, 3)]
    write(tmp_path, *runs, *(result("dora", seed, 0.5) for seed in (1, 2)))
    table = to_markdown(collect(tmp_path.rglob("result.json")))
    assert "| 3 seeds, 1 did not learn |" in table
    assert "| 2 seeds |" in table


def test_a_run_of_before_that_was_destroyed_is_counted(tmp_path):
    """Its file says that it learned, by its last epoch alone."""
    losses = (3.34, 3.38, 3.95, 3.97, 3.44, 3.36, 3.11, 2.97)
    history = [
        {"train": {"loss": loss, "prior_loss": 3.43}, "valid": {}, "epoch": 1} for loss in losses
    ]
    runs = [result("lora", seed, 0.05) for seed in (1, 2)]
    runs[0] |= {"learned": True, "history": history}
    write(tmp_path, *runs)
    assert "2 seeds, 1 did not learn" in to_markdown(collect(tmp_path.rglob("result.json")))


def test_times_of_several_machines_are_said_not_to_compare(tmp_path):
    runs = [result("lora", seed, 0.5) for seed in (1, 2)]
    for run, name in zip(runs, ("one", "other"), strict=True):
        run["machine"] = {"platform": "Linux", "processor": name}
    write(tmp_path / "mixed", *runs)
    write(tmp_path / "alike", runs[0], result("lora", 3, 0.5) | {"machine": runs[0]["machine"]})
    for folder, mixed in (("mixed", True), ("alike", False)):
        page = write_report(tmp_path / folder, tmp_path / "out").read_text()
        for said in ("The runs are from 2 machines, so that times", "Sums are rounded otherwise"):
            assert (said in page) == mixed


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


def test_each_task_has_its_best(tmp_path):
    """Also of one seed over folds; a single run is no evidence."""
    runs = [
        result(name, 1, score + shots / 100 + fold / 100, fold=fold, shots_per_class=shots)
        for name, score in (("dora", 0.4), ("lora", 0.5))
        for shots in (2, 5)
        for fold in (1, 2)
    ]
    write(tmp_path, *runs, result("bitfit", 1, 0.9, fold=1, shots_per_class=5))
    rows = to_markdown(collect(tmp_path.rglob("result.json"))).splitlines()
    assert any("| 1 seed x 2 folds | 53.5 ± 6.4 * |" in line for line in rows)
    assert [line.split(" | ")[0][2:] for line in rows if " * |" in line] == ["lora", "lora"]


def test_encoders_that_alone_are_compared_share_one_best(tmp_path):
    runs = [
        result("lora", seed, score + seed / 100, encoder=name)
        for name, score in (("one", 0.4), ("two", 0.5))
        for seed in (1, 2)
    ]
    table = to_markdown(collect(write(tmp_path, *runs)))
    assert table.count(" * |") == 1


def test_tables_hold_the_same_numbers(tmp_path):
    paths = write(
        tmp_path,
        *(result("lora_x", s, 0.5 + s / 100) for s in (1, 2)),
        *(result("dora", s, 0.4) for s in (1, 2)),
    )
    found = collect(paths)
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [(row["adapter"], row["seed"], float(row["accuracy"])) for row in rows] == [
        ("dora", "1", 0.4), ("dora", "2", 0.4), ("lora_x", "1", 0.51), ("lora_x", "2", 0.52),
    ]  # fmt: skip
    assert "| lora_x | 0.01 | 1,234 | 2 seeds | 51.5 ± 6.4 * |" in to_markdown(found)
    assert r"lora\_x & 0.01 & 1,234 & 2 seeds & \textbf{51.5 $\pm$ 6.4} \\" in to_latex(found)


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


def test_settings_that_are_lists_set_runs_apart(tmp_path):
    runs = [result("lora", seed, 0.5) for seed in (1, 2, 1, 2)]
    for run, targets in zip(runs, (["q"], ["q"], ["q", "v"], ["q", "v"]), strict=True):
        run["method"]["targets"] = targets
    found = collect(write(tmp_path, *runs))
    assert [cell.labels for cell in found.cells] == [("q",), ("q, v",)]


def test_variants_that_are_called_the_same_are_refused(tmp_path):
    recipe = write_recipe(tmp_path / "recipes/Fake")
    body = "cross: {variant: {a 1/2: {adapter: lora}, b 1/2: {adapter: dora}}, seed: [1]}\n"
    sweep = read_sweep(write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", body))
    with pytest.raises(UserError, match="both called 'Fake-2-1'"):
        variants_of(sweep)


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


def test_single_runs_have_their_own_intervals(tmp_path):
    one, two = (result(name, 1, score) for name, score in (("a", 0.5), ("b", 0.6)))
    one["metrics"]["test"] |= {"accuracy_low": 0.25, "accuracy_high": 0.75}
    rows = to_markdown(collect(write(tmp_path, one, two))).splitlines()
    assert [row.split(" | ")[-1] for row in rows[2:]] == ["50.0 [25.0, 75.0] |", "60.0 |"]


def test_each_recipe_has_its_best(tmp_path):
    runs = []
    for name, recipe, score in (("a", "x", 0.5), ("b", "x", 0.6), ("a", "y", 0.4), ("b", "y", 0.3)):
        for seed in (1, 2):
            one = result(name, seed, score)
            one["config"]["prepare"] = {f"!name:m.prepare_{recipe}": {}}
            runs.append(one)
    rows = to_markdown(collect(write(tmp_path, *runs))).splitlines()
    assert [row.split(" ± ")[-1] for row in rows[2:6]] == ["0.0 |", "0.0 * |", "0.0 * |", "0.0 |"]


def test_corpora_of_other_names_are_other_tasks(tmp_path):
    runs = [
        {**result("lora", seed, score), "corpus": corpus}
        for corpus, score in (("speaker1", 0.5), ("speaker2", 0.9))
        for seed in (1, 2)
    ]
    collection = collect(write(tmp_path, *runs))
    assert collection.columns == ("corpus",)
    assert not collection.repeated
    assert [cell.labels for cell in collection.cells] == [("speaker1",), ("speaker2",)]


def test_languages_and_hours_are_other_tasks(tmp_path):
    paths = write(
        tmp_path,
        *(
            result(name, 1, 0.5 + hours / 100, language={"code": code}, hours={"train": hours})
            for code in ("kab", "rw")
            for hours in (1, 10)
            for name in ("lora", "dora")
        ),
    )
    collection = collect(paths)
    assert collection.columns == ("language", "adapter", "hours.train")
    assert (len(collection.cells), collection.repeated) == (8, ())


def test_settings_of_different_tasks_are_not_compared(tmp_path):
    runs = [
        {**result(name, seed, seed / 10 + 0.1 * seed**2 * (name == "lora")), "corpus": corpus}
        for name in ("lora", "dora")
        for corpus in ("ESC-10", "digits")
        for seed in (1, 2, 3)
    ]
    comparisons = compare(collect(write(tmp_path, *runs)))
    assert [{cell.labels[0] for cell in (one.one, one.other)} for one in comparisons] in (
        [{"ESC-10"}, {"digits"}], [{"digits"}, {"ESC-10"}],
    )  # fmt: skip


def test_encoders_by_seed_are_one_setting(tmp_path):
    paths = write(
        tmp_path,
        *(result("a", seed, 0.5, encoder=f"x/random-{seed}") for seed in (1, 2, 3)),
        *(result("a", seed, 0.5, encoder="x/model-2") for seed in (1, 2, 3)),
    )
    cells = collect(paths).cells
    assert [(cell.labels, len(cell.runs)) for cell in cells] == [
        (("x/model-2",), 3), (("x/random-{seed}",), 3),
    ]  # fmt: skip


def test_word_and_character_errors_are_shown_together(tmp_path):
    paths = write(tmp_path, *(result(name, seed, 0.5) for name in "ab" for seed in (1, 2)))
    for path, wer, cer in zip(
        sorted(paths), (0.5, 0.5, 0.4, 0.4), (0.1, 0.1, 0.2, 0.2), strict=True
    ):
        one = json.loads(path.read_text())
        one["metrics"]["test"] = {"wer": wer, "cer": cer}
        path.write_text(json.dumps(one))
    collection = collect(paths)
    assert collection.metric == "wer"
    table = to_markdown(collection)
    assert "| test wer, % | test cer, % |" in table
    assert "| 50.0 ± 0.0 | 10.0 ± 0.0 * |" in table
    assert "| 40.0 ± 0.0 * | 20.0 ± 0.0 |" in table
    assert to_latex(collection).count("textbf") == 2


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
