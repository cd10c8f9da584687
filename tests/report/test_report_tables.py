"""What a report's tables hold: a row for each setting, its mean and interval."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.results import result, write

from mambadapter import cli
from mambadapter.report.collect import collect
from mambadapter.report.page import write_report
from mambadapter.report.tables import rows_of, to_csv, to_latex, to_markdown

ROOT = Path(__file__).parents[2]


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


def test_a_setting_that_came_later_has_its_default_in_older_runs(tmp_path):
    """Bottlenecks had no scaled_inputs once, which false is the same as."""
    made = {"!new:mambadapter.methods.Bottlenecks": {"rank": 8}}
    old, *new = (result("bottleneck", seed, 0.5, method=made) for seed in (1, 2, 3))
    for one, scaled in zip(new, (False, True), strict=True):
        one["method"]["scaled_inputs"] = scaled
    collection = collect(write(tmp_path, old, *new))
    assert collection.columns == ("method.scaled_inputs",)
    assert [(cell.labels, cell.seeds) for cell in collection.cells] == [((False,), 2), ((True,), 1)]


def test_a_grid_of_learning_rates_is_a_column(tmp_path):
    """Where some seed was set to several; what a seed found itself joins the rate that it found."""
    grid = [result("lora", seed, 0.5, lr=lr, lr_search=0) for seed in (1, 2) for lr in (0.1, 0.2)]
    found = {**result("lora", 3, 0.5, lr=0.3, lr_search=3), "lr": 0.2}
    collection = collect(write(tmp_path, *grid, found, result("dora", 1, 0.5, lr=0.1)))
    assert collection.columns == ("adapter", "lr")
    assert [(cell.labels, len(cell.runs)) for cell in collection.cells] == [
        (("dora", None), 1), (("lora", 0.1), 2), (("lora", 0.2), 3),
    ]  # fmt: skip
    # What was set to one rate says which.
    assert [row[1] for row in rows_of(collection)[1]] == ["0.1", "0.1", "0.2"]
    assert to_csv(collection).splitlines()[1].startswith("dora,0.1,")


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


def test_settings_that_are_lists_set_runs_apart(tmp_path):
    runs = [result("lora", seed, 0.5) for seed in (1, 2, 1, 2)]
    for run, targets in zip(runs, (["q"], ["q"], ["q", "v"], ["q", "v"]), strict=True):
        run["method"]["targets"] = targets
    found = collect(write(tmp_path, *runs))
    assert [cell.labels for cell in found.cells] == [("q",), ("q, v",)]


def test_single_runs_have_their_own_intervals(tmp_path):
    one, two = (result(name, 1, score) for name, score in (("a", 0.5), ("b", 0.6)))
    one["metrics"]["test"] |= {"accuracy_low": 0.25, "accuracy_high": 0.75}
    rows = to_markdown(collect(write(tmp_path, one, two))).splitlines()
    assert [row.split(" | ")[-1] for row in rows[2:]] == ["50.0 [25.0, 75.0] |", "60.0 |"]


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
