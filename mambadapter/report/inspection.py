"""What `mambadapter.data.own.inspection` found, as text and as one page."""

import html
from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.data.own.inspection import Finding, Inspection
from mambadapter.data.own.rows import listed
from mambadapter.report.html import document, embedded, facts, table
from mambadapter.utils.files import shown

_IN_TEXT, _ON_PAGE = 3, 50  # examples of a finding


def inspection_text(found: Inspection) -> str:
    """For a terminal."""
    said = dict(found.facts)
    if found.counts:
        largest = sorted(found.counts, key=lambda c: -sum(found.counts[c].values()))
        clips = [f"{label} {sum(found.counts[label].values())}" for label in largest]
        said["clips of each class"] = listed(clips, 20)
    if found.letters:
        said["from the most frequent"] = " ".join(found.letters)
    width = max(map(len, said))
    lines = [*(f"{what:<{width}}  {fact}" for what, fact in said.items()), ""]
    for finding in found.findings:
        lines.append(f"! {finding.what}: {finding.mend}.")
        lines += [f"    {example}" for example in finding.examples[:_IN_TEXT]]
        if len(finding.examples) > _IN_TEXT:
            lines.append(f"    ... and {len(finding.examples) - _IN_TEXT} more")
    if not found.findings:
        lines.append("Nothing is wrong with it that could be found.")
    return "\n".join(map(shown, lines)) + f"\n\n{found.command}\n"


def write_inspection(found: Inspection, path: Path) -> Path:
    """Write the page."""
    parts = [
        f"<h1>{html.escape(found.source)}</h1>",
        facts(found.facts),
        "<h2>What is wrong</h2>",
        *map(_finding, found.findings),
        "" if found.findings else "<p>Nothing that could be found.</p>",
        "<h2>Train on it</h2>",
        f"<pre>{html.escape(found.command)}</pre>",
    ]
    if len({f"{seconds:.2f}" for seconds in found.seconds}) > 1:
        picture = embedded(_lengths(found))
        parts += [
            "<h2>Lengths</h2>",
            f'<figure class="narrow"><img alt="Lengths of the clips" src="{picture}"></figure>',
        ]
    if found.counts:
        rows = [
            [label, str(sum(of.values())), *(str(count) for split, count in of.items() if split)]
            for label, of in found.counts.items()
        ]
        splits = [split for split in next(iter(found.counts.values())) if split]
        parts += ["<h2>Classes</h2>", table(["class", "clips", *splits], rows)]
    if found.letters:
        rows = [[f"{c} (U+{ord(c):04X})", str(count)] for c, count in found.letters.items()]
        parts += ["<h2>Characters</h2>", table(["character", "times"], rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(found.source, parts), encoding="utf-8")
    return path


def _finding(finding: Finding) -> str:
    examples = [*finding.examples[:_ON_PAGE]]
    if len(finding.examples) > _ON_PAGE:
        examples.append(f"... and {len(finding.examples) - _ON_PAGE} more")
    items = "".join(f"<li>{html.escape(shown(example))}</li>" for example in examples)
    return (
        f'<p class="missing"><b>{html.escape(finding.what)}</b>: {html.escape(finding.mend)}.</p>'
        f"<ul>{items}</ul>"
    )


def _lengths(found: Inspection) -> Figure:
    figure = Figure(figsize=(4.5, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(found.seconds, bins=40)
    axes.set(xlabel="seconds", ylabel="clips")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
