"""Pictures show what the results say, on a page's width."""

from itertools import pairwise

import pytest
from matplotlib.text import Text
from support.results import result, write

from mambadapter import cli
from mambadapter.report.collect import collect
from mambadapter.report.figures import (
    draw_all,
    learning_curves,
    letters,
    score_against_parameters,
    scores,
)


def test_intervals_are_drawn_within_possible_values(tmp_path):
    collection = collect(write(tmp_path, result("lora", 1, 0.05), result("lora", 2, 0.95)))
    assert score_against_parameters(collection).axes[0].dataLim.intervaly == pytest.approx((0, 100))
    assert scores(collection).axes[0].dataLim.intervalx == pytest.approx((0, 100))


def sized(names, sizes, seeds=(1,)):
    for number, name in enumerate(names):
        for size in sizes:
            for seed in seeds:
                run = result(name, seed, 0.3 + number / 100, adapter_budget=size)
                history = [{"epoch": epoch, "valid": {"accuracy": 0.5}} for epoch in (1, 2)]
                yield {**run, "parameters": {"adapted": size}, "history": history}


def test_methods_keep_their_own_looks(tmp_path):
    """A method keeps its colour, and no two curves look the same."""
    names = [f"method{n}" for n in range(5)]
    collection = collect(write(tmp_path, *sized(names, (100, 200, 300, 400))))
    curves = learning_curves(collection).axes[0]
    methods = score_against_parameters(collection).axes[0].get_legend_handles_labels()
    colours = dict(zip(methods[1], (bar[0].get_color() for bar in methods[0]), strict=True))
    assert len(curves.lines) == 20
    assert len({(line.get_color(), line.get_linestyle()) for line in curves.lines}) == 20
    handles, labels = curves.get_legend_handles_labels()
    assert dict(zip(labels, (line.get_color() for line in handles), strict=True)) == colours


def test_a_legend_has_at_most_ten_names(tmp_path):
    """Those of the best methods; the others are grey, and the caption says where they are."""
    folder = tmp_path / "runs"
    write(folder, *sized([f"method{n:02d}" for n in range(24)], (100, 1000)))
    collection = collect(folder.rglob("result.json"))
    for draw in (score_against_parameters, learning_curves):
        figure = draw(collection)
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == [f"method{n}" for n in range(23, 13, -1)]
        figure.draw_without_rendering()
        assert figure.legends[0].get_window_extent().height < figure.bbox.height / 3
    assert cli.main(["report", str(folder)]) == 0
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    assert (
        page.count("In grey: 14 more, which the table has.") == 4
    )  # in two captions, and for readers of both


def test_sizes_that_are_alike_are_no_axis(tmp_path):
    """At one budget every method would stand at the same place."""
    for sizes, pictures in (((49_854, 51_072), False), ((49_854, 100_000), True)):
        collection = collect(write(tmp_path / str(sizes[1]), *sized(["lora", "dora"], sizes)))
        assert ("parameters" in draw_all(collection)) is pictures


def test_scores_have_a_row_a_setting(tmp_path):
    """The best on top, every run as a dot, and over what the mean is."""
    runs = [result("lora", seed, 0.5 + seed / 100) for seed in (1, 2, 3)]
    collection = collect(write(tmp_path, *runs, result("dora", 1, 0.9)))
    figure = scores(collection)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["dora", "lora"]
    beside = axes.child_axes[0].get_yticklabels()
    assert [text.get_text() for text in beside] == ["1.23k, 1 seed", "1.23k, 3 seeds"]
    dots = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert list(dots[0].get_xdata()) == pytest.approx([51, 52, 53])


def test_score_is_drawn_over_cost_where_it_is_known(tmp_path):
    runs = [{**result(name, seed, 0.5), "batch_ms": 20.0} for name in "ab" for seed in (1, 2)]
    collection = collect(write(tmp_path / "new", *runs))
    panels = draw_all(collection)["score_over_cost"].axes
    assert [line.get_xdata()[0] for line in panels[0].lines] == [20.0, 20.0]
    assert [line.get_xdata()[0] for line in panels[1].lines] == [500.0, 500.0]
    old = collect(write(tmp_path / "old", result("a", 1, 0.5), result("b", 1, 0.5)))
    assert "score_over_cost" not in draw_all(old)


def test_pictures_fit_a_page(tmp_path):
    """As wide as its text, in letters of at least 8 points, with room for every name."""
    collection = collect(write(tmp_path, *(result(f"method{n}", 1, 0.5) for n in range(38))))
    with letters():
        for figure in draw_all(collection).values():
            figure.draw_without_rendering()
            assert figure.get_figwidth() == 6.5
            texts = [
                text for text in figure.findobj(Text) if text.get_text() and text.get_visible()
            ]
            assert min(text.get_fontsize() for text in texts) >= 8
            rows = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
            assert all(
                one.y0 >= two.y1 - 1 for one, two in pairwise(sorted(rows, key=lambda b: -b.y0))
            )
