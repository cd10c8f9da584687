"""Write what these documents have from the code: python docs/generate.py.

What stands between ``<!-- name -->`` and ``<!-- end -->`` is made by the function of that name.
"""

import re
from collections.abc import Callable
from pathlib import Path

from mambadapter.budget.count import counter
from mambadapter.methods import MENU
from mambadapter.methods.menu import MENU_FILE

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


GENERATED: dict[str, Callable[[], str]] = {"methods": methods}


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
