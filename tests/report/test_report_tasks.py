"""What a report sets apart as tasks, and which of each is marked the best."""

from support.results import result, write

from mambadapter.report.collect import collect
from mambadapter.report.significance import compare
from mambadapter.report.tables import to_markdown


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
