"""Choosing one entry of a menu; recipes call these through ``!applyref:``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambadapter.config.texts import show
from mambadapter.errors import UserError, did_you_mean


def choose_method(menu: Mapping[str, Any], name: str) -> Any:
    """Return the entry of ``adapters.yaml`` that a recipe names."""
    if name not in menu:
        raise UserError(f"adapter: '{name}' is not on the menu; {did_you_mean(name, menu)}.")
    return menu[name]


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
