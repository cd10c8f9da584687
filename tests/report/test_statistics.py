"""Tests, corrections and ranks are scipy's, statsmodels' and the literature's."""

import numpy as np
import pytest
from matplotlib.text import Text
from scipy import stats
from support.results import result, write

from mambadapter.errors import UserError
from mambadapter.report.collect import collect
from mambadapter.report.figures import (
    draw_all,
)
from mambadapter.report.ranks import Ranking, rank
from mambadapter.report.significance import compare, holm


def test_differences_are_scipys_paired_tests_on_shared_seeds(tmp_path):
    generator = np.random.default_rng(1)
    first, second = generator.uniform(0.5, 0.7, 6), generator.uniform(0.55, 0.8, 6)
    paths = write(
        tmp_path,
        *(result("lora", seed, first[seed]) for seed in range(6)),
        *(result("dora", seed, second[seed]) for seed in range(5)),
        result("bitfit", 77, 0.5),
    )
    (comparison,) = compare(collect(paths))
    expected = stats.ttest_rel(second[:5], first[:5])
    assert comparison.pairs == 5
    assert comparison.p == comparison.p_corrected == pytest.approx(expected.pvalue)
    assert comparison.difference == pytest.approx((second[:5] - first[:5]).mean())


def test_folds_of_a_seed_are_no_samples_of_their_own(tmp_path):
    """Of three seeds over five folds three pairs are tested; of one seed its folds."""
    generator = np.random.default_rng(5)
    first, second = generator.uniform(0.5, 0.7, (2, 3, 5))
    paths = write(
        tmp_path,
        *(
            result(name, seed, of[seed, fold], fold=fold)
            for name, of in (("dora", first), ("lora", second))
            for seed in range(3)
            for fold in range(5)
        ),
    )
    (comparison,) = compare(collect(paths))
    expected = stats.ttest_rel(first.mean(1), second.mean(1))
    assert comparison.pairs == 3
    assert comparison.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert comparison.difference - comparison.half_width == pytest.approx(low)
    assert comparison.difference + comparison.half_width == pytest.approx(high)
    (one_seed,) = compare(collect(paths, only={"seed": "1"}))
    assert one_seed.pairs == 5
    assert one_seed.p == pytest.approx(stats.ttest_rel(first[1], second[1]).pvalue)


def test_corrections_and_intervals_are_statsmodels(tmp_path):
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="needs statsmodels")
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    generator = np.random.default_rng(3)
    scores = {
        name: generator.uniform(0.5, 0.7, 5) for name in ("lora", "dora", "bitfit", "conformer")
    }
    paths = write(
        tmp_path,
        *(result(name, seed, of[seed]) for name, of in scores.items() for seed in range(5)),
    )
    collection = collect(paths)
    comparisons = compare(collection)
    expected = [
        weightstats.DescrStatsW(
            scores[one.one.labels[0]] - scores[one.other.labels[0]]
        ).ttest_mean()[1]
        for one in comparisons
    ]
    assert [one.p for one in comparisons] == pytest.approx(expected)
    corrected = multitest.multipletests(expected, method="holm")[1]
    assert [one.p_corrected for one in comparisons] == pytest.approx(list(corrected))
    for cell in collection.cells:
        mean, half = cell.summary("accuracy")
        interval = weightstats.DescrStatsW(scores[cell.labels[0]]).tconfint_mean(0.05)
        assert (mean - half, mean + half) == pytest.approx(interval)


def test_constant_differences_are_not_tested(tmp_path):
    paths = write(
        tmp_path,
        *(result("lora", seed, 0.5 + seed / 10) for seed in range(3)),
        *(result("dora", seed, 0.4 + seed / 10) for seed in range(3)),
        *(result("bitfit", seed, 0.3 + seed**2 / 10) for seed in range(3)),
    )
    comparisons = compare(collect(paths))
    same = comparisons[-1]
    assert {same.one.labels, same.other.labels} == {("lora",), ("dora",)}
    assert np.isnan(same.p)
    assert np.isnan(same.p_corrected)
    tested = [one.p for one in comparisons[:-1]]
    assert [one.p_corrected for one in comparisons[:-1]] == holm(tested)


def test_one_method_is_compared_with_each_other_at_its_own_task_and_budget(tmp_path):
    generator = np.random.default_rng(4)
    runs = [
        result(name, seed, generator.uniform(0.5, 0.7), adapter_budget=budget, rank=rank)
        for budget in (100, 200)
        for rank, name in enumerate(("lora", "dora", "bitfit"))
        for seed in range(4)
    ]
    collection = collect(write(tmp_path, *runs))
    comparisons = compare(collection, "dora")
    pairs = {(collection.label(one.one), collection.label(one.other)) for one in comparisons}
    assert pairs == {
        (f"dora, adapter_budget {budget}", f"{other}, adapter_budget {budget}")
        for budget in (100, 200)
        for other in ("lora", "bitfit")
    }
    assert [one.p_corrected for one in comparisons] == holm([one.p for one in comparisons])
    with pytest.raises(UserError, match="No run is of 'dorra'; did you mean 'dora'"):
        compare(collection, "dorra")


def test_holm_is_the_closed_testing_of_bonferroni():
    """Rejecting each by the corrected value is rejecting every intersection that holds it by Bonferroni."""
    generator = np.random.default_rng(2)
    for _ in range(20):
        values = list(generator.uniform(0, 0.2, 5))
        for index, corrected in enumerate(holm(values)):
            others = [p for place, p in enumerate(values) if place != index]
            worst = max(
                min(
                    1.0,
                    (1 + sum(subset))
                    * min([values[index], *np.array(others)[np.array(subset, bool)]]),
                )
                for subset in np.ndindex(*(2,) * 4)
            )
            assert corrected == pytest.approx(worst)


def ranked(folder, scores):
    """Scores by method, a list over tasks."""
    for name, values in scores.items():
        for task, value in enumerate(values):
            for seed in (1, 2):
                write(
                    folder / f"{name}{task}{seed}",
                    result(name, seed, value + 0.01 * (seed - 1.5), batch_size=task),
                )
    return collect(folder.rglob("result.json"))


def test_critical_difference_is_demsars():
    """His example: four classifiers on fourteen data sets (2006, section 3.2.4)."""
    ranking = Ranking(dict(zip("abcd", (3.143, 2.0, 2.893, 1.964), strict=True)), 14)
    assert ranking.critical_difference == pytest.approx(1.25, abs=0.01)
    assert ranking.p == pytest.approx(stats.chi2.sf(9.28, 3), abs=1e-3)


def test_ranks_are_means_over_tasks(tmp_path):
    """Ties share a place; a task of one method counts for nothing, and a method of one task has no rank."""
    scores = {"a": [0.9, 0.8, 0.7], "b": [0.5, 0.8, 0.6], "c": [0.1, 0.2, 0.3, 0.9], "d": [0.95]}
    collection = ranked(tmp_path, scores)
    ranking = rank(collection)
    assert (ranking.tasks, ranking.left_out) == (3, ("d",))
    assert "not run on every task: d." in ranking.caption
    assert ranking.ranks == pytest.approx({"a": 3.5 / 3, "b": 5.5 / 3, "c": 3})
    assert ranking.groups() == [["a", "b", "c"]]
    texts = [text.get_text() for text in draw_all(collection)["ranks"].findobj(Text)]
    assert any(text.strip() == "a  1.17" for text in texts)


def test_budgets_of_a_task_are_one_task_and_sizes_without_budgets_are_methods(tmp_path):
    def cells(folder, sizes):
        runs = [
            result(name, seed, score + seed / 1000, batch_size=task, **of)
            for task in range(3)
            for of, scores in sizes
            for name, score in zip("abc", scores, strict=True)
            for seed in (1, 2)
        ]
        return rank(collect(write(tmp_path / folder, *runs)))

    budgets = [
        ({"adapter_budget": 100}, (0.9, 0.5, 0.1)),
        ({"adapter_budget": 200}, (0.5, 0.9, 0.1)),
    ]
    ranking = cells("budgets", budgets)
    assert ranking.tasks == 3
    assert ranking.ranks == pytest.approx({"a": 1.5, "b": 1.5, "c": 3})
    ranking = cells("ranks", [({"rank": 4}, (0.9, 0.5, 0.1)), ({"rank": 8}, (0.8, 0.6, 0.2))])
    assert ranking.ranks == pytest.approx(
        {
            "a, rank 4": 1,
            "a, rank 8": 2,
            "b, rank 8": 3,
            "b, rank 4": 4,
            "c, rank 8": 5,
            "c, rank 4": 6,
        }
    )


def test_groups_are_of_neighbours_within_the_critical_difference():
    ranking = Ranking({"a": 1.0, "b": 2.0, "c": 3.4, "d": 3.6}, 14)
    assert ranking.groups() == [["a", "b"], ["c", "d"]]


def test_two_methods_make_no_ranking(tmp_path):
    assert rank(ranked(tmp_path, {"a": [0.9] * 4, "b": [0.1] * 4})) is None
