"""Several sources in one table: a row a task, each by its own metric."""

from pathlib import Path

import numpy as np
import pytest
from support.results import result, write

from mambadapter import cli
from mambadapter.report.collect import collect
from mambadapter.report.overview import overview_to_markdown, rows_of_tasks
from mambadapter.report.ranks import rank
from mambadapter.report.sources import source_names


def errors(run):
    """The same run with word errors instead of accuracies."""
    run["metrics"]["test"] = {"wer": 1 - run["metrics"]["test"]["accuracy"]}
    return run


def runs(scores, spread=0.01, **config):
    return [
        result(name, seed, score + spread * (seed - 2), **config)
        for name, score in scores.items()
        for seed in (1, 2, 3)
    ]


@pytest.fixture
def sources(tmp_path):
    write(
        tmp_path / "words",
        *runs({"a": 0.9, "b": 0.5, "c": 0.2, "rare": 0.95}, adapter_budget=100),
        *runs({"a": 0.6, "b": 0.7}, adapter_budget=200),
    )
    write(tmp_path / "texts", *map(errors, runs({"a": 0.8, "b": 0.7, "c": 0.1})))
    write(tmp_path / "sounds", *runs({"a": 0.4, "b": 0.3, "c": 0.5}, spread=0.0))
    return [tmp_path / name for name in ("words", "texts", "sounds")]


def collections(sources):
    return {source.name: collect(source.rglob("result.json")) for source in sources}


def test_rows_are_tasks_at_a_budget_and_the_last_counts_the_best(sources):
    header, rows = rows_of_tasks(collections(sources))
    assert header == ["runs", "task", "metric, %", "a", "b", "c", "the best of the others"]
    named = {tuple(row[:3]): row[3:] for row in rows}
    words = named["words", "100 parameters", "accuracy"]
    assert [cell.split(" ")[0] for cell in words[:3]] == ["90.0", "50.0", "20.0"]
    assert words[3] == "rare: 95.0 ± 2.5 *"
    assert named["words", "200 parameters", "accuracy"] == ["60.0 ± 2.5", "70.0 ± 2.5 *", "", ""]
    assert named["texts", "", "wer"][0] == "20.0 ± 2.5 *"
    assert named["sounds", "", "accuracy"] == ["40.0 ± 0.0", "30.0 ± 0.0", "50.0 ± 0.0 *", ""]
    assert rows[-1] == ["the best mean", "of 4 rows", "", "1", "1", "1", "1"]


def test_a_single_run_is_never_the_best_of_a_row(tmp_path):
    """Nor is it what others are tested against."""
    made = [*runs({"a": 0.9}), *runs({"b": 0.5}, spread=0.012), result("lucky", 1, 0.95)]
    write(tmp_path / "one", *made)
    header, (row, last) = rows_of_tasks(collections([tmp_path / "one"]))
    shown = dict(zip(header, row, strict=True))
    assert shown["lucky"] == "95.0 (1 seed)"
    assert shown["a"] == "90.0 ± 2.5 * (3 seeds)"
    assert shown["b"] == "50.0 ± 3.0 † (3 seeds)"
    assert dict(zip(header, last, strict=True))["lucky"] == "0"


def test_what_did_not_learn_is_said_of_its_cell_alone(tmp_path):
    made = [*runs({"a": 0.9, "b": 0.5})]
    made[-1]["history"] = [{"train": {"loss": 4.0, "prior_loss": 3.4}, "valid": {}}]
    write(tmp_path / "one", *made)
    header, (row, _) = rows_of_tasks(collections([tmp_path / "one"]))
    shown = dict(zip(header, row, strict=True))
    assert shown["a"] == "90.0 ± 2.5 *"
    assert shown["b"] == "50.0 ± 2.5 (3 seeds, 1 did not learn)"


def test_the_best_is_chosen_by_the_scores_so_all_pairs_are_corrected_for(tmp_path):
    """Of equal methods one row in twenty has a mark, at the most, however many they are."""
    generator = np.random.default_rng(0)
    rows = 0
    for draw in range(40):
        scores = generator.normal(0.5, 0.01, (6, 5))
        made = [result(f"m{k}", seed, of[seed]) for k, of in enumerate(scores) for seed in range(5)]
        write(tmp_path / str(draw), *made)
        rows += "†" in "".join(rows_of_tasks(collections([tmp_path / str(draw)]))[1][0])
    assert rows <= 4


def test_what_is_significantly_below_the_best_of_its_row_is_marked(tmp_path):
    scores = {
        "a": [0.90, 0.92, 0.91, 0.93],
        "b": [0.70, 0.71, 0.73, 0.72],
        "c": [0.95, 0.80, 0.99, 0.7],
    }
    for task in ("one", "two"):
        made = [result(name, seed, of[seed]) for name, of in scores.items() for seed in range(4)]
        write(tmp_path / task, *made)
    text = overview_to_markdown(collections([tmp_path / "one", tmp_path / "two"]))
    assert "| 91.5 ± 2.1 * | 71.5 ± 2.1 † | 86.0 ± 21.4 |" in text
    assert "† significantly below" in text


def test_ranks_are_over_all_sources_each_by_its_own_metric(sources):
    """Of the first, the budget that has all three methods."""
    ranking = rank(*collections(sources).values())
    assert ranking.tasks == 3
    assert ranking.left_out == ("rare",)
    assert ranking.ranks == pytest.approx({"a": 4 / 3, "b": 7 / 3, "c": 7 / 3})


def test_the_command_takes_several_sources(sources, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["report", *map(str, sources), "--output", str(out)]) == 0
    table = overview_to_markdown(collections(sources))
    assert table in capsys.readouterr().out
    assert (out / "table.md").read_text() == table
    page = (out / "index.html").read_text()
    assert "not run on every task: rare." in page
    assert {path.name for path in out.iterdir()} == {
        "index.html", "ranks.pdf", "ranks.png", "table.md",
    }  # fmt: skip


def test_sources_of_one_name_are_told_apart(sources, tmp_path, capsys):
    other = tmp_path / "other/texts"
    write(other, *map(errors, runs({"a": 0.5, "b": 0.6})))
    assert cli.main(["report", str(sources[1]), str(other), "--output", str(tmp_path / "out")]) == 0
    assert "| other/texts |" in capsys.readouterr().out


def test_names_of_folders_keep_what_looks_like_an_ending():
    assert source_names([Path("results/lr0.01"), Path("results/lr0.02")]) == ["lr0.01", "lr0.02"]


def test_settings_of_one_method_have_names_of_their_own(tmp_path):
    """Their values alone would be alike."""
    made = [
        *runs({"a": 0.5}, warmup=1),
        *runs({"a": 0.6}, max_grad_norm=1),
        *runs({"a": 0.7}, warmup=2),
    ]
    write(tmp_path / "one", *made)
    header, _ = rows_of_tasks(collections([tmp_path / "one"]))
    assert header[3:-1] == ["a, warmup 2", "a, max_grad_norm 1", "a, warmup 1"]


def test_a_run_over_folds_is_a_sample_a_fold(tmp_path):
    made = [result(name, 1, score) for name, score in (("a", 0.9), ("b", 0.5))]
    for run, folds in zip(made, ([0.88, 0.92, 0.90], [0.5, 0.51, 0.49]), strict=True):
        run["folds"] = [{"accuracy": value} for value in folds]
    write(tmp_path / "one", *made)
    _, (row, _) = rows_of_tasks(collections([tmp_path / "one"]))
    assert row[3:5] == ["90.0 ± 5.0 *", "50.0 ± 2.5 †"]


def test_what_is_not_in_the_table_is_on_the_page(sources, tmp_path):
    (sources[1] / "run0/result.json").write_text("{")
    cli.main(["report", *map(str, sources), "--output", str(tmp_path / "out")])
    assert "cannot be read" in (tmp_path / "out/index.html").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--against", "a"], "are for one source"),
        (["--only", "adapter=zzz"], "words: --only: no run has adapter 'zzz'"),
        (["--only", "adapter=a"], "nothing to compare"),
    ],
)
def test_what_several_sources_cannot_have_is_one_line(sources, more, said, capsys):
    assert cli.main(["report", *map(str, sources), *more]) == 2
    assert said in capsys.readouterr().err


def test_results_given_twice_are_refused(sources, capsys):
    for others in ([sources[0]], [sources[0].parent]):
        assert cli.main(["report", str(sources[0]), *map(str, others)]) == 2
        assert "give one of the two" in capsys.readouterr().err
