"""YAML files as they are written, with their tags and comments."""

import functools
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from mambadapter.errors import UserError
from mambadapter.utils.values import NOT_YAML

INCLUDE = "!include:"

# The tags of what a class or a function makes.
CALLS = ("!new:", "!name:", "!apply:")


def read_yaml(path: Path) -> CommentedMap:
    """Read a YAML of keys and values; nothing in it is resolved."""
    try:
        tree = YAML().load(path.read_text(encoding="utf-8"))
    except NOT_YAML as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, CommentedMap) or not tree:
        raise UserError(f"{path} should hold keys and values; it holds none.")
    return tree


def included_file(node: Any, folder: Path) -> CommentedMap | None:
    """The file that an ``!include:`` node names, loaded, not to be changed; None for any other node."""
    tag = tag_of(node)
    if not tag.startswith(INCLUDE):
        return None
    path = folder / tag.removeprefix(INCLUDE)
    if not path.is_file():
        raise UserError(f"The YAML includes {path}, which does not exist.")
    return _read_once(path, path.stat().st_mtime_ns)


@functools.cache
def _read_once(path: Path, changed: int) -> CommentedMap:
    """A menu is looked into many times for one command."""
    return read_yaml(path)


def tag_of(node: Any) -> str:
    """The tag of a YAML node, such as ``!ref``; empty when it has none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""
