"""Write what these documents have from the code: python docs/generate.py.

What stands between ``<!-- name -->`` and ``<!-- end -->`` is made by the function of that name.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mambadapter.budget.count import counter
from mambadapter.methods import MENU
from mambadapter.methods.menu import MENU_FILE
from mambadapter.report.sources import read_results

DOCS = Path(__file__).parent


def methods() -> str:
    """A row for every entry of the menu; what it does is the line above it there."""
    does = re.findall(r"^# (.*)\n(\w+):", MENU_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    lines = {name: line for line, name in does}
    count = counter("ast")
    rows = ["| `--adapter` | what learns | class | size | on AST-base |", "|---|---|---|---|---:|"]
    for name, method in MENU.items():
        kind = type(method).__name__
        size = f"`{method.size}`" if method.size else ""
        link = f"[`{kind}`](reference.md#mambadapter.{kind})"
        rows.append(f"| `{name}` | {lines[name]} | {link} | {size} | {count(method).adapted:,} |")
    return "\n".join(rows)


def rates() -> str:
    """The menu's rate of every method beside those that its tries on validation data chose, task by task."""
    saved = sorted(DOCS.parent.glob("recipes/**/saved_runs/evidence_*.jsonl"))
    menu = YAML().load(MENU_FILE.read_text(encoding="utf-8"))
    # A method's on a task, by parameters.
    chosen: dict[tuple[str, Path], dict[int, set[float]]] = {}
    for path in saved:
        for _, run in read_results(path):
            if run and as_in_the_menu(run):
                of_task = chosen.setdefault((run["config"]["adapter"], path), {})
                of_task.setdefault(run["parameters"]["adapted"], set()).add(run["lr"])
    saved = [path for path in saved if any(path == of for _, of in chosen)]
    stems = [path.stem for path in saved]
    tasks = [
        stem.removeprefix("evidence_").replace("_", " ")
        + (f", {path.parents[1].name}" if stems.count(stem) > 1 else "")
        for path, stem in zip(saved, stems, strict=True)
    ]
    rows = [
        f"| `--adapter` | the menu's | {' | '.join(tasks)} |",
        "|---|---:|" + "---:|" * len(tasks),
    ]
    for name in dict.fromkeys(name for name in MENU for path in saved if (name, path) in chosen):
        found = [chosen.get((name, path), {}) for path in saved]
        cells = [", ".join(_span(of) for _, of in sorted(one.items())) for one in found]
        rows.append(f"| `{name}` | {menu[name]['lr']} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _span(found: set[float]) -> str:
    """A rate, or from which to which where a task has several parts, as speakers."""
    ends = dict.fromkeys((min(found), max(found)))
    return " to ".join(str(rate) for rate in ends)


def as_in_the_menu(run: dict[str, Any]) -> bool:
    """Whether a run had the menu's settings, but for its size; older runs lack those that came later."""
    method = MENU[run["config"]["adapter"]]
    entry, plain = (json.loads(json.dumps(asdict(m))) for m in (method, type(method)()))  # as saved
    return all(
        entry[key] == run["method"].get(key, plain[key]) for key in entry if key != method.size
    )


GENERATED: dict[str, Callable[[], str]] = {"methods": methods, "rates": rates}


def up_to_date(text: str) -> str:
    """A document with its generated parts as they should be."""
    for name, make in GENERATED.items():
        part = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(
            part, lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text, flags=re.S
        )
    return text


if __name__ == "__main__":
    for document in DOCS.glob("*.md"):
        text = document.read_text(encoding="utf-8")
        document.write_text(up_to_date(text), encoding="utf-8")
