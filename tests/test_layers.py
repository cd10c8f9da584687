"""Imports point one way: a package imports from its own layer's left and from the layers below alone."""

import ast
import re
from pathlib import Path

import pytest

import mambadapter

ROOT = Path(mambadapter.__file__).parent

# The lowest first.
LAYERS = (
    ("errors", "validators", "utils"),
    ("ssm",),
    ("encoders",),
    ("methods",),
    ("heads", "text", "metrics", "data", "decoding", "budget"),
    ("inference", "cost"),
    ("export",),
    ("config",),
    ("training",),
    ("experiments",),
    ("tasks", "report"),
    ("demo",),
    ("cli",),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(
    path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__"
)


def place_of(path: Path) -> str:
    """The package, or loose file, at the root that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Those that it imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("mambadapter.")]
    return {part[1] for part in parts}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    """Nothing is imported from a higher layer."""
    here = place_of(path)
    upward = {name for name in imported(path) if HEIGHT[name] > HEIGHT[here]}
    assert not upward, (
        f"{path.relative_to(ROOT)} imports {sorted(upward)}, which stand above {here}"
    )


def test_packages_of_a_layer_form_no_circle():
    """Those of one layer may import each other one way."""
    arrows = {
        (place_of(path), name)
        for path in FILES
        for name in imported(path)
        if name != place_of(path) and HEIGHT[name] == HEIGHT[place_of(path)]
    }
    assert not {(one, other) for one, other in arrows if (other, one) in arrows}


def test_the_picture_in_the_documents_is_true():
    """Its arrows are imports, none goes without saying, and every import follows them."""
    document = (ROOT.parent / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", document, re.MULTILINE))
    imports = {
        (place_of(path), name) for path in FILES for name in imported(path) - {place_of(path)}
    }
    assert drawn <= imports
    assert {arrow for arrow in imports if arrow[1] not in reached(arrow[0], drawn)} == set()
    assert {arrow for arrow in drawn if arrow[1] in reached(arrow[0], drawn - {arrow})} == set()
    assert {name for arrow in drawn for name in arrow} == set(HEIGHT)


def reached(start: str, arrows: set[tuple[str, str]]) -> set[str]:
    """What arrows lead to, directly or through others."""
    found, waiting = set(), [start]
    while waiting:
        here = waiting.pop()
        fresh = {end for begin, end in arrows if begin == here} - found
        found |= fresh
        waiting += fresh
    return found


def test_the_root_holds_what_all_layers_use():
    """No other loose file, and no package without a layer."""
    loose = {path.stem for path in ROOT.glob("*.py")}
    assert loose == {"__init__", "errors", "validators"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages | loose - {"__init__"} == set(HEIGHT)
