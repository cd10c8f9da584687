"""Several sources in one table: a row a task, each by its own metric."""

import pytest
from support.results import result, write

from mambadapter import cli
from mambadapter.report.collect import collect
from mambadapter.report.overview import overview_to_markdown, rows_of_tasks
from mambadapter.report.ranks import rank


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
    words = named["words", "100", "accuracy"]
    assert [cell.split(" ")[0] for cell in words[:3]] == ["90.0", "50.0", "20.0"]
    assert words[3] == "rare 95.0 ± 2.5 *, of 1"
    assert named["words", "200", "accuracy"] == ["60.0 ± 2.5", "70.0 ± 2.5 *", "", ""]
    assert named["texts", "", "wer"][0] == "20.0 ± 2.5 *"
    assert named["sounds", "", "accuracy"] == ["40.0 ± 0.0", "30.0 ± 0.0", "50.0 ± 0.0 *", ""]
    assert rows[-1] == ["the best mean", "of 4 rows", "", "1", "1", "1", "1"]


def test_what_is_significantly_below_the_best_of_its_row_is_marked(tmp_path):
    """Differences of one kind are tested for nothing; those of another by Holm's correction."""
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
    assert "Some task lacks rare." in page
    assert {path.name for path in out.iterdir()} == {
        "index.html", "ranks.pdf", "ranks.png", "table.md",
    }  # fmt: skip


def test_sources_of_one_name_are_told_apart(sources, tmp_path, capsys):
    other = tmp_path / "other/texts"
    write(other, *map(errors, runs({"a": 0.5, "b": 0.6})))
    assert cli.main(["report", str(sources[1]), str(other), "--output", str(tmp_path / "out")]) == 0
    assert "| other/texts |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--against", "a"], "are for one source"),
        (["--only", "adapter=zzz"], "no run has adapter 'zzz'"),
    ],
)
def test_what_several_sources_cannot_have_is_one_line(sources, more, said, capsys):
    assert cli.main(["report", *map(str, sources), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_source_given_twice_is_refused(sources, capsys):
    assert cli.main(["report", str(sources[0]), str(sources[0])]) == 2
    assert "A source is given twice" in capsys.readouterr().err
