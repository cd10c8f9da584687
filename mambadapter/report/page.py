"""Tables, tests and pictures of results, and one page that holds them all."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.experiments.sweep_file import Sweep
from mambadapter.report.collect import Collection, collect
from mambadapter.report.figures import draw_all, letters, unnamed
from mambadapter.report.significance import Comparison, compare
from mambadapter.report.tables import (
    difference_rows,
    differences_to_markdown,
    rows_of,
    to_csv,
    to_json_lines,
    to_latex,
    to_markdown,
)

_CAPTIONS = {
    "scores": "Means with their 95 % intervals, and each run as a dot. On the right: trained parameters, the "
    "head left out, and over what the mean is.",
    "parameters": "Score against trained parameters; intervals are 95 %.",
    "curves": "Validation after every epoch, means over runs.",
    "score_over_cost": "Mean score over what training costs: the median time of a batch, and peak memory.",
    "ranks": "Mean ranks over tasks, of each the mean over its budgets; 1 is the best. Methods that a red "
    "bar joins are not significantly apart (Nemenyi's critical difference at 0.05; Demšar 2006). Tasks that "
    "share recordings are not independent, and make that difference too small.",
    "cost": "Time of a run, peak memory and size of the saved adapter, means over runs.",
    "grid": "Mean score over two settings.",
}
_MOST_DIFFERENCES = 20  # shown of those between all
_WITH_LEGEND = ("parameters", "curves", "score_over_cost")

_STYLE = """\
:root { color-scheme: light dark; --text: #222; --page: #fff; --line: #ddd; --problem: #a40000; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --page: #181a1b; --line: #444; --problem: #ff9a8a; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--text); } td { border-bottom: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; } td.best { font-weight: 700; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
img { width: 100%; max-width: 48rem; background: #fff; border-radius: 6px; } /* drawn for white */
.missing { color: var(--problem); }
"""


def write_report(
    source: Path,
    output: Path,
    metric: str | None = None,
    sweep: Sweep | None = None,
    against: str | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write ``runs.csv``, ``runs.jsonl``, ``table.md``, ``table.tex``, pictures and ``index.html``.

    Where there are comparisons, also ``differences.md``: all with one method, or the 20 of the smallest p.
    """
    paths = set(source.rglob("result.json")) if source.is_dir() else {source}
    # Below a search's result lie those of its candidates, below one over folds those of its folds.
    inner = {
        p for p in paths if any((above / "result.json") in paths for above in list(p.parents)[1:])
    }
    collection = collect(paths - inner, metric, only)
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
    missing = [] if sweep is None else [trial.name for trial in sweep.trials() if not trial.done]
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
        _problems(collection, missing),
        _table(*rows_of(collection)),
        "<p>Bold: the best mean of those over at least two seeds.</p>",
    ]
    for name, figure in figures.items():
        caption = html.escape(_CAPTIONS[name] + _grey(collection, name))
        parts.append(
            f'<figure><img alt="{caption}" src="{_embedded(figure)}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    if differences:
        some = f"; the {len(differences)} smallest" if len(differences) < corrected_for else ""
        parts.append(
            "<h2>Differences</h2><p>Paired t-tests on the seeds and folds that both have, corrected by "
            f"Holm's method for {corrected_for} comparisons{some}.</p>"
        )
        parts.append(_table(*difference_rows(collection, differences)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _grey(collection: Collection, name: str) -> str:
    """What a caption says of those that the legend has no room for."""
    rest = unnamed(collection) if name in _WITH_LEGEND else 0
    return f" In grey: {rest} more, which the table has." if rest else ""


def _problems(collection: Collection, missing: list[str]) -> str:
    listed = [f"{where} cannot be read" for where in collection.unreadable]
    listed += [f"{name}: the same setting, seed and fold again" for name in collection.repeated]
    listed += [f"{name} is not done" for name in missing]
    if not listed:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in listed)
    return f'<div class="missing"><p>{len(listed)} runs are not in this report:</p><ul>{items}</ul></div>'


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(
        f'<th class="{_kind(next(filter(None, column), ""))}">{html.escape(cell)}</th>'
        for cell, column in zip(header, zip(*rows, strict=True), strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cell(text: str) -> str:
    kinds = _kind(text) + (" best" if text.endswith(" *") else "")
    return f'<td class="{kinds}">{html.escape(text.removesuffix(" *"))}</td>'


def _kind(text: str) -> str:
    return "number" if text[:1].isdigit() or text[:1] in "-+" else ""


def _embedded(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
