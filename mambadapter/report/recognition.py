"""The worst recognised clips of a test, each aligned with what was said, on one page."""

import html
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.utils.distributed import if_main_process

from mambadapter.metrics.error_rates import ErrorRates
from mambadapter.report.html import document, table

logger = logging.getLogger(__name__)

_WORST = 20

# SpeechBrain's edit operations: what they are called, and a mark for who does not see the colour.
_EDITS = {"S": ("substitution", "\u2260"), "D": ("deletion", "\u2212"), "I": ("insertion", "+")}

# Colours that are told apart without red and green (Okabe and Ito).
_STYLE = """\
.said { display: flex; flex-wrap: wrap; gap: .2rem .5rem; margin: .5rem 0; }
.said > span, .names > span { display: inline-grid; text-align: center; }
.said > span, .names > span { border-radius: 4px; padding: 0 .2rem; }
.said > span > * { min-height: 1.5em; text-decoration: none; }
.mark { font-size: .8rem; font-weight: 700; }
.substitution { background: #e69f0055; }
.deletion { background: #d55e0055; }
.insertion { background: #56b4e955; }
.where { font-size: .9rem; overflow-wrap: anywhere; }
"""


def write_worst_clips(
    folder: str | Path, rates: ErrorRates, clips: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Write ``worst_clips.html``: the 20 clips with the most word errors for each word that was said.

    Of equally bad ones those with the most character errors come first. Only the main process writes.

    Parameters
    ----------
    folder : str or Path
        Where it goes.
    rates : ErrorRates
        Of the test.
    clips : Mapping[str, Mapping[str, Any]]
        The manifest's entries, by the names that `rates` knows: where the audio is.

    Returns
    -------
    Path
        The page.
    """
    path = Path(folder) / "worst_clips.html"
    if not if_main_process():
        return path
    words, characters = rates.scores("wer"), rates.scores("cer")
    order = sorted(
        (name for name in words if words[name]["num_edits"]),
        key=lambda name: (-_rate(words[name]), -_rate(characters[name]), name),
    )[:_WORST]
    metrics = rates.metrics()
    summary = [
        [
            what,
            *(f"{100 * metrics[f'{name}{end}']:.2f} %" for end in ("", "_low", "_high")),
            *(str(sum(one[edit] for one in scores.values())) for edit in _COUNTS),
        ]
        for what, name, scores in (("words", "wer", words), ("characters", "cer", characters))
    ]
    names = "".join(
        f'<span class="{what}"><span>{what} <b class="mark">{mark}</b></span></span> '
        for what, mark in _EDITS.values()
    )
    parts = [
        "<h1>Worst recognised clips</h1>",
        table(["of", "error rate", "95 % from", "to", *_COUNTS], summary),
        f"<p>{len(order)} of {len(words)} clips: the most word errors for each word that was said. Above "
        f'what was said, below what was recognised.</p><p class="names">{names}</p>',
    ]
    for name in order:
        parts += [
            f"<h2>{html.escape(name)}</h2>",
            f'<p class="where">Errors: {_errors(words[name])} words, {_errors(characters[name])} characters. '
            f"{_where(clips[name])}</p>",
            _aligned(words[name]),
        ]
    path.write_text(document("Worst recognised clips", parts, _STYLE), encoding="utf-8")
    logger.info("The %d worst recognised clips: %s", len(order), path)
    return path


_COUNTS = ("insertions", "deletions", "substitutions")


def _rate(score: Mapping[str, Any]) -> float:
    """Errors for each token that was said; of none that was, as if it were one."""
    return score["num_edits"] / max(score["num_ref_tokens"], 1)


def _errors(score: Mapping[str, Any]) -> str:
    return f"{score['num_edits']} in {score['num_ref_tokens']}"


def _where(clip: Mapping[str, Any]) -> str:
    """A link to the audio, and which part of it."""
    path = Path(clip["wav"])
    start, end = clip.get("start"), clip.get("end")
    part = "" if start is None and end is None else f", {start or 0:g} to {_end(end)} s"
    address = html.escape(path.absolute().as_uri(), quote=True)
    return f'<a href="{address}">{html.escape(str(path))}</a>{part}'


def _end(end: float | None) -> str:
    return "the last" if end is None else f"{end:g}"


def _aligned(score: Mapping[str, Any]) -> str:
    """A column for each word: what was said, what was recognised, and the mark of an error."""
    columns = []
    for edit, said, recognised in score["alignment"]:
        what, mark = _EDITS.get(edit, ("", ""))
        above = _word(score["ref_tokens"], said, "del" if what else "span")
        below = _word(score["hyp_tokens"], recognised, "ins" if what else "span")
        named = f' class="{what}" title="{what}"' if what else ""
        columns.append(f'<span{named}>{above}{below}<span class="mark">{mark}</span></span>')
    # Which way it is read is that of its first letter.
    return f'<div class="said" dir="auto">{" ".join(columns)}</div>'


def _word(tokens: Sequence[str], place: int | None, tag: str) -> str:
    return "<span></span>" if place is None else f"<{tag}>{html.escape(tokens[place])}</{tag}>"
