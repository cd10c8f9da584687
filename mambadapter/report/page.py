"""Tables, tests and pictures of results, and one page that holds them all."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.experiments.sweep_file import Sweep
from mambadapter.report.collect import Collection, collect
from mambadapter.report.figures import draw_all, label_of
from mambadapter.report.significance import Comparison, compare
from mambadapter.report.tables import rows_of, to_csv, to_json_lines, to_latex, to_markdown

_CAPTIONS = {
    "parameters": "Score against trained parameters; intervals are 95 %.",
    "curves": "Validation after every epoch, means over runs.",
    "cost": "Time of a run, peak memory and size of the saved adapter, means over runs.",
    "grid": "Mean score over two settings.",
}

_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; color: #222; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .8rem; text-align: left; }
th { border-bottom: 2px solid #222; } td { border-bottom: 1px solid #ddd; } td.number { text-align: right; }
td.best { font-weight: 600; } figure { margin: 1.5rem 0; } img { max-width: 100%; }
.missing { color: #a40000; }
"""


def write_report(
    source: Path, output: Path, metric: str | None = None, sweep: Sweep | None = None
) -> Path:
    """Write ``runs.csv``, ``runs.jsonl``, ``table.md``, ``table.tex``, pictures and ``index.html``."""
    paths = set(source.rglob("result.json")) if source.is_dir() else {source}
    # Below a search's result lie those of its candidates, below one over folds those of its folds.
    inner = {
        p for p in paths if any((above / "result.json") in paths for above in list(p.parents)[1:])
    }
    collection = collect(paths - inner, metric)
    comparisons = compare(collection.cells, collection.metric)
    output.mkdir(parents=True, exist_ok=True)
    (output / "runs.csv").write_text(to_csv(collection), encoding="utf-8")
    (output / "runs.jsonl").write_text(to_json_lines(collection), encoding="utf-8")
    (output / "table.md").write_text(to_markdown(collection), encoding="utf-8")
    (output / "table.tex").write_text(to_latex(collection), encoding="utf-8")
    figures = draw_all(collection)
    for name, figure in figures.items():
        figure.savefig(output / f"{name}.pdf")
        figure.savefig(output / f"{name}.png", dpi=150)
    missing = [] if sweep is None else [trial.name for trial in sweep.trials() if not trial.done]
    page = output / "index.html"
    page.write_text(_page(source.name, collection, comparisons, figures, missing), encoding="utf-8")
    return page


def _page(
    title: str,
    collection: Collection,
    comparisons: list[Comparison],
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
    ]
    for name, figure in figures.items():
        parts.append(
            f'<figure><img alt="{html.escape(_CAPTIONS[name])}" src="{_embedded(figure)}">'
            f"<figcaption>{html.escape(_CAPTIONS[name])}</figcaption></figure>"
        )
    if comparisons:
        parts.append(
            "<h2>Differences</h2><p>Paired t-tests on the seeds and folds that both have, corrected by "
        )
        tested = sum(comparison.p == comparison.p for comparison in comparisons)
        parts.append(f"Holm's method for {tested} comparisons; the 20 smallest.</p>")
        parts.append(_differences(collection, comparisons[:20]))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _problems(collection: Collection, missing: list[str]) -> str:
    listed = [f"{where} cannot be read" for where in collection.unreadable]
    listed += [f"{name} is not done" for name in missing]
    if not listed:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in listed)
    return f'<div class="missing"><p>{len(listed)} runs are not in this report:</p><ul>{items}</ul></div>'


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    kinds = ["number"] if text[:1].isdigit() or text[:1] in "-+" else []
    kinds += ["best"] if text.endswith(" *") else []
    return f'<td class="{" ".join(kinds)}">{html.escape(text.removesuffix(" *"))}</td>'


def _differences(collection: Collection, comparisons: list[Comparison]) -> str:
    header = ["setting", "other setting", "pairs", "difference, points", "p", "p, corrected"]
    rows = [
        [
            label_of(collection, comparison.one),
            label_of(collection, comparison.other),
            str(comparison.pairs),
            f"{100 * comparison.difference:+.1f}",
            *(_probability(p) for p in (comparison.p, comparison.p_corrected)),
        ]
        for comparison in comparisons
    ]
    return _table(header, rows)


def _probability(p: float) -> str:
    return "" if p != p else f"{p:.2g}"


def _embedded(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
