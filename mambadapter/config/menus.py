"""Choosing one entry of a menu; recipes call two of these through ``!applyref:``."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperpyyaml.core import recursive_update
from ruamel.yaml.comments import CommentedMap

from mambadapter.config.files import included_file, tag_of
from mambadapter.config.texts import show
from mambadapter.errors import UserError, did_you_mean

# The key that names an entry, and the menu that has it.
MENUS = {"adapter": "adapters", "encoder": "encoders"}

_REFERENCES = ("!ref", "!copy", "!include:", "!applyref:")


def entries_of(tree: Mapping[str, Any], menu: str, folder: Path) -> Any:
    """What stands under a menu's key: the file that it includes, or what the tree itself has there."""
    return included_file(tree.get(menu), folder) or tree.get(menu, {})


def choose_method(menu: Mapping[str, Any], name: str) -> Any:
    """Return the entry of ``adapters.yaml`` that a recipe names, whole."""
    name = show(name)
    if name not in menu:
        raise UserError(f"adapter: '{name}' is not on the menu; {did_you_mean(name, menu)}.")
    return {"scan_lr_scale": 1.0, **menu[name]}


def choose_source(menu: Mapping[str, Any], name: str) -> str | dict[str, Any]:
    """Return where an encoder comes from: the menu's entry, or a folder given in place of a name."""
    if name in menu:
        entry = menu[name]
        return dict(entry) if entry.keys() - {"source"} else entry["source"]
    if Path(show(name)).is_dir():
        return name
    name = show(name)
    raise UserError(
        f"encoder: '{name}' is neither on the menu nor a folder; {did_you_mean(name, menu)}."
    )


def keep_chosen(tree: CommentedMap, folder: Path) -> None:
    """Replace each menu that a tree includes by its chosen entry, with what the tree changes of it.

    Nothing reads the others, and HyperPyYAML would take and write them apart five times over. A menu whose
    entries refer to anything, or of which the tree names another entry, stays whole.
    """
    for choice, menu in MENUS.items():
        node, name = tree.get(menu), str(tree.get(choice))
        entries = included_file(node, folder)
        if entries is None or any(f"<{menu}[" in text for text in _references(tree)):
            continue
        kept = CommentedMap()
        if name in entries:
            if any(True for _ in _references(entries[name])):
                continue
            kept[name] = copy.deepcopy(entries[name])
            if isinstance(node, Mapping) and name in node:
                recursive_update(kept, {name: node[name]})
            if not isinstance(kept[name], Mapping):
                raise UserError(
                    f"{menu}.{name}: {kept[name]!r} is no entry of a menu; give one of its settings, as in "
                    f"--{choice}.lr 0.01."
                )
        elif not Path(name).is_dir():
            continue  # whoever looks for it there says what there is
        tree[menu] = kept


def _references(node: Any) -> Iterator[str]:
    """What the references within a node say."""
    if tag_of(node).startswith(_REFERENCES) or getattr(node, "merge", None):
        yield str(getattr(node, "value", ""))
    children = (
        node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    )
    for child in children:
        yield from _references(child)
