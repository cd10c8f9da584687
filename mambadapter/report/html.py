"""Pages of one file: their style, their tables and their pictures."""

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """\
:root { color-scheme: light dark; --text: #222; --page: #fff; --line: #ddd; --problem: #a40000; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --page: #181a1b; --line: #444; --problem: #ff9a8a; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h1, li, dd { overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
h2 { margin: 1.8rem 0 .5rem; } ul { padding-left: 1.5rem; }
dl { display: grid; grid-template-columns: fit-content(11rem) 1fr; gap: .2rem 1rem; font-size: .9rem; }
dt { font-weight: 700; } dd { margin: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--text); } td { border-bottom: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; } td.best { font-weight: 700; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
img { width: 100%; max-width: 48rem; background: #fff; border-radius: 6px; } /* drawn for white */
.narrow img { max-width: 30rem; }
.missing { color: var(--problem); }
"""


# A number, alone or with words behind it; what goes on without a space is a name, such as 1-100032-A-0.wav.
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(e[-+]?\d+)?( |%|$)")


def document(title: str, parts: Iterable[str], style: str = "") -> str:
    """A whole page in UTF-8, whatever the bytes of a file's name in it are."""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        f"<style>{_STYLE}{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    return page.encode("utf-8", "backslashreplace").decode()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; columns that begin with a number stand on the right."""
    head = "".join(
        f'<th class="{_kind(next(filter(None, column), ""))}">{html.escape(cell)}</th>'
        for cell, column in zip(header, zip(*rows, strict=True), strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def facts(content: Mapping[str, str]) -> str:
    """Names of things and what is said of each, a line each."""
    lines = (
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(fact)}</dd>"
        for name, fact in content.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _cell(text: str) -> str:
    kinds = _kind(text) + (" best" if text.endswith(" *") else "")
    return f'<td class="{kinds}">{html.escape(text.removesuffix(" *"))}</td>'


def _kind(text: str) -> str:
    return "number" if _NUMBER.match(text) else ""


def captioned(figure: "Figure", caption: str) -> str:
    """A picture that the page holds, and what is said below it."""
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="{embedded(figure)}"><figcaption>{text}</figcaption></figure>'


def embedded(figure: "Figure") -> str:
    """A picture as an address that holds it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
