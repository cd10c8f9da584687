"""Tables, tests and pictures of results, and one page that holds them all."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.experiments.sweep_file import Sweep
from mambadapter.report.collect import Collection, collect
from mambadapter.report.confusions import confusion_rows
from mambadapter.report.figures import draw_all, letters, unnamed
from mambadapter.report.html import captioned, document, table
from mambadapter.report.ranks import rank
from mambadapter.report.significance import Comparison, compare
from mambadapter.report.sources import results_in
from mambadapter.report.tables import (
    difference_rows,
    differences_to_markdown,
    rows_of,
    to_csv,
    to_json_lines,
    to_latex,
    to_markdown,
)
from mambadapter.report.variants import missing_of, variants_of

_CAPTIONS = {
    "scores": "Means with their 95 % intervals, and each run as a dot. On the right: trained parameters, the "
    "head left out, and over what the mean is.",
    "parameters": "Score against trained parameters; intervals are 95 %.",
    "curves": "Validation after every epoch, means over runs.",
    "score_over_cost": "Mean score over what training costs: the median time of a batch, and peak memory. "
    "What ran beside a run, such as another of its sweep, is in its time.",
    "cost": "Time of a run, peak memory and size of the saved adapter, means over runs.",
    "grid": "Mean score over two settings.",
}
_MACHINE = ("processor", "cores", "threads", "gpu")
_MOST_DIFFERENCES = 20  # shown of those between all
_TIMES = ("score_over_cost", "cost")
_WITH_LEGEND = ("parameters", "curves", "score_over_cost")


def write_report(
    source: Path,
    output: Path,
    metric: str | None = None,
    sweep: Sweep | None = None,
    against: str | None = None,
    only: Mapping[str, str] | None = None,
) -> Path:
    """Write ``runs.csv``, ``runs.jsonl``, ``table.md``, ``table.tex``, pictures and ``index.html``.

    A `sweep` says what is missing, and names the methods. Where there are comparisons, also
    ``differences.md``: all with one method, or the 20 of the smallest p.
    """
    variants = None if sweep is None else variants_of(sweep)
    collection = collect(results_in(source), metric, only, variants)
    comparisons = compare(collection, against)
    tested = sum(comparison.p == comparison.p for comparison in comparisons)
    shown = comparisons if against else comparisons[:_MOST_DIFFERENCES]
    output.mkdir(parents=True, exist_ok=True)
    (output / "runs.csv").write_text(to_csv(collection), encoding="utf-8")
    (output / "runs.jsonl").write_text(to_json_lines(collection), encoding="utf-8")
    (output / "table.md").write_text(to_markdown(collection), encoding="utf-8")
    (output / "table.tex").write_text(to_latex(collection), encoding="utf-8")
    if shown:
        (output / "differences.md").write_text(differences_to_markdown(collection, shown), "utf-8")
    read = {run.name for cell in collection.cells for run in cell.runs}
    missing = [] if sweep is None else missing_of(sweep, read)
    with letters():
        figures = draw_all(collection)
        for name, figure in figures.items():
            figure.savefig(output / f"{name}.pdf")
            figure.savefig(output / f"{name}.png", dpi=200)
        text = _page(source.name, collection, tested, shown, figures, missing)
    page = output / "index.html"
    page.write_text(text, encoding="utf-8")
    return page


def _page(
    title: str,
    collection: Collection,
    corrected_for: int,
    differences: Sequence[Comparison],
    figures: Mapping[str, Figure],
    missing: list[str],
) -> str:
    runs = sum(len(cell.runs) for cell in collection.cells)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{runs} runs of {len(collection.cells)} settings; test {collection.metric}, mean and 95 % "
        "interval by Student's t over seeds (over folds where there is one seed, over clips where there is "
        "one run).</p>",
        problems(collection, missing),
        _mixed(collection),
        table(*rows_of(collection)),
        "<p>Bold: the best mean of each task, of those over at least two seeds or folds.</p>",
    ]
    for name, figure in figures.items():
        parts.append(captioned(figure, _caption(collection, name)))
    if differences:
        some = f"; the {len(differences)} smallest" if len(differences) < corrected_for else ""
        parts.append(
            "<h2>Differences</h2><p>Paired t-tests on the seeds that both have, of each the mean over its "
            "folds, with 95 % intervals; where there is one seed, on its folds, which share most of their "
            "training clips, so that their p is too small; corrected by "
            f"Holm's method for {corrected_for} comparisons{some}.</p>"
        )
        parts.append(table(*difference_rows(collection, differences)))
    header, confused = confusion_rows(collection)
    if confused:
        parts.append(
            "<h2>Most confused</h2><p>The pairs of classes that a setting's runs confuse most. Each run, or "
            "fold, names its ten worst, and these are sums over those that name the pair.</p>"
        )
        parts.append(table(header, confused))
    return document(title, parts)


def _caption(collection: Collection, name: str) -> str:
    """What a picture shows, and what its legend has no room for."""
    if name == "ranks" and (ranking := rank(collection)) is not None:
        return ranking.caption
    rest = unnamed(collection) if name in _WITH_LEGEND else 0
    grey = f" In grey: {rest} more, which the table has." if rest else ""
    some = _machines(collection) if name in _TIMES else 1
    mixed = f" The runs are from {some} machines, so that times do not compare." if some > 1 else ""
    return _CAPTIONS[name] + grey + mixed


def _mixed(collection: Collection) -> str:
    """That scores are from several machines, if they are."""
    some = _machines(collection)
    if some < 2:
        return ""
    return (
        f"<p>The runs are from {some} machines. Sums are rounded otherwise on another processor, which at "
        "few clips is worth several points of a seed.</p>"
    )


def _machines(collection: Collection) -> int:
    """On how many machines the runs were, of those that their results tell apart."""
    described = [run.result.get("machine", {}) for cell in collection.cells for run in cell.runs]
    # Results of before the processor was written may be of any of them.
    known = [machine for machine in described if machine.get("processor")]
    return len({tuple(one.get(key) for key in _MACHINE) for one in known or described})


def problems(collection: Collection, missing: list[str]) -> str:
    """Which runs are not in the tables, and why; nothing if all are."""
    listed = [*collection.unreadable]
    listed += [f"{name}: the same setting, seed and fold again" for name in collection.repeated]
    listed += [f"{name} is not done" for name in missing]
    if not listed:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in listed)
    return f'<div class="missing"><p>{len(listed)} runs are not in this report:</p><ul>{items}</ul></div>'
