"""A search finds the best settings on validation data, for every group with the same effort, once."""

import json

import pytest
from support.fake_recipe import write_recipe, write_sweep

from mambadapter.errors import UserError
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep

pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[sweeps]'")

BODY = """\
cross:
    adapter: [lora, bottleneck]
    adapter_budget: [100, 200]
    seed: [1, 2]
where:
    - if: {adapter: lora}
      set: {number_of_epochs: 2}
search:
    tries: 8
    each: [adapter]
    over:
        adapter.lr: {low: 0.001, high: 0.1, log: true}
    settings: {shots_per_class: 4}
"""


@pytest.fixture
def sweep_file(tmp_path):
    recipe = write_recipe(tmp_path / "recipes/Fake")
    return write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", BODY)


def starts(folder):
    return {
        path.parent.name: len(path.read_text().splitlines()) for path in folder.glob("*/starts.txt")
    }


def records(sweep):
    return {group.name: json.loads(group.record.read_text()) for group in sweep.groups()}


def test_methods_get_their_own_best_tries(sweep_file, capsys):
    sweep = read_sweep(sweep_file)
    assert sweep.ready() == []
    assert run_sweep(sweep, jobs=2)["done"] == 8
    found = records(sweep)
    for name, optimum in (("Fake-lora", 0.02), ("Fake-bottleneck", 0.005)):
        tries = found[name]["tries"]
        assert len(tries) == 8
        by_valid = {one["valid"]["accuracy"]: one["settings"]["adapter.lr"] for one in tries}
        best = by_valid[max(by_valid)]
        assert found[name]["best"] == {"adapter.lr": best}
        assert best == min(by_valid.values(), key=lambda lr: max(lr / optimum, optimum / lr))
        assert len(set(by_valid.values())) > 4
        assert all(0.001 <= lr <= 0.1 for lr in by_valid.values())
    for trial in sweep.trials():
        config = trial.read()["config"]
        assert (
            float(config["adapter.lr"]) == found[f"Fake-{config['adapter']}"]["best"]["adapter.lr"]
        )
        assert "shots_per_class" not in config
        assert ("number_of_epochs" in config) == (config["adapter"] == "lora")
    assert "8 tries on validation data for each of 2 searches" in capsys.readouterr().out


def test_first_tries_are_alike_and_spread_evenly(sweep_file, capsys):
    text = sweep_file.read_text().replace("tries: 8", "tries: 3")
    sweep_file.write_text(text)
    sweep = read_sweep(sweep_file)
    run_sweep(sweep)
    for record in records(sweep).values():
        rates = sorted(one["settings"]["adapter.lr"] for one in record["tries"])
        assert rates == pytest.approx([10 ** (-3 + 2 / 6), 10**-2, 10 ** (-1 - 2 / 6)], rel=0.01)
    assert "Fake-lora: the best" not in capsys.readouterr().out
    sweep_file.write_text(text.replace("high: 0.1,", "high: 0.006,"))
    run_sweep(read_sweep(sweep_file))
    assert "Fake-lora: the best adapter.lr, 0.00445, is at the edge" in capsys.readouterr().out


def test_tries_test_nothing(sweep_file):
    """They are at the first values of the lists that are not searched."""
    sweep = read_sweep(sweep_file)
    run_sweep(sweep)
    results = [
        json.loads(path.read_text()) for path in (sweep.output / "search").glob("*/result.json")
    ]
    assert len(results) == 16
    assert all("test" not in result["metrics"] for result in results)
    configs = [result["config"] for result in results]
    assert {(one["adapter_budget"], one["seed"], one["shots_per_class"]) for one in configs} == {
        ("100", "1", "4")
    }


def test_a_part_of_a_sweep_has_the_tries_of_the_whole(sweep_file):
    """Budget 200 and seed 2 alone run with what was found at the first values, once and for all."""
    whole = read_sweep(sweep_file)
    part = whole.part({"adapter": "lora", "adapter_budget": "200", "seed": "2"})
    assert run_sweep(part)["done"] == 1
    assert [group.name for group in part.groups()] == ["Fake-lora"]
    before = starts(whole.output / "search")
    assert len(before) == 8
    assert run_sweep(whole.part({"adapter": "lora"}))["done"] == 4
    assert starts(whole.output / "search") == before
    assert set(starts(whole.output)) == {
        trial.name for trial in whole.trials() if trial.settings["adapter"] == "lora"
    }


def test_a_stopped_search_goes_on(sweep_file, tmp_path):
    """With the same tries."""
    sweep = read_sweep(sweep_file)
    run_sweep(sweep)
    whole = records(sweep)
    for group in sweep.groups():
        group.record.unlink()
    for path in sorted((sweep.output / "search").glob("*/result.json"))[::2]:
        path.unlink()
    before = starts(sweep.output)
    assert run_sweep(sweep)["done"] == 8
    assert records(sweep) == whole
    assert starts(sweep.output) == before
    assert sorted(starts(sweep.output / "search").values()) == [1] * 8 + [2] * 8


def test_failed_tries_lose(sweep_file, capsys):
    """And a group in which every try fails is told."""
    text = sweep_file.read_text().replace("[lora, bottleneck]", "[lora, broken]")
    sweep_file.write_text(text.replace("tries: 8", "tries: 2"))
    counts = run_sweep(read_sweep(sweep_file))
    assert (counts["done"], counts["failed"]) == (4, 4)
    assert "every try of Fake-broken" in capsys.readouterr().out


def test_another_range_is_another_search(sweep_file):
    sweep = read_sweep(sweep_file)
    sweep_file.write_text(sweep_file.read_text().replace("high: 0.1", "high: 0.2"))
    assert {group.record for group in sweep.groups()}.isdisjoint(
        group.record for group in read_sweep(sweep_file).groups()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tries: 8", "tries: 0"), "search.tries should be a whole number of at least 1"),
        (("each: [adapter]", "each: [adaptor]"), "names 'adaptor', no list of `cross`; did you mean 'adapter'"),
        (("    over:", "    ovre:"), "unknown key 'search.ovre'; did you mean 'over'"),
        (("low: 0.001", "low: 0"), "low before high and above 0 with log"),
        (("low: 0.001", "lwo: 0.001"), "should be a list of values, or a range"),
        (("adapter.lr: {", "seed: {"), "'seed' is crossed and searched"),
    ],
)  # fmt: skip
def test_a_wrong_search_is_refused(sweep_file, change, message):
    text = sweep_file.read_text()
    assert change[0] in text
    sweep_file.write_text(text.replace(*change))
    with pytest.raises(UserError, match=message):
        read_sweep(sweep_file)


def test_lists_and_whole_numbers_are_searched(sweep_file):
    text = sweep_file.read_text().replace("tries: 8", "tries: 4")
    over = "adapter.alpha: [0.1, 1.0]\n        batch_size: {low: 4, high: 64, log: true}\n        adapter.lr:"
    sweep_file.write_text(text.replace("adapter.lr:", over))
    sweep = read_sweep(sweep_file)
    run_sweep(sweep)
    for record in records(sweep).values():
        for one in record["tries"]:
            assert one["settings"]["adapter.alpha"] in (0.1, 1.0)
            assert isinstance(one["settings"]["batch_size"], int)
            assert 4 <= one["settings"]["batch_size"] <= 64
