"""The menu of methods: hparams/adapters.yaml, read without a recipe around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import mambadapter
from mambadapter.methods.base import Method
from mambadapter.validators import one_of

# `mambadapter/hparams` is a link to `hparams/` of a checkout, and a copy of it in an installed package.
MENU_FILE = Path(mambadapter.__file__).parent / "hparams/adapters.yaml"


def read_menu(methods: Mapping[str, type[Method]]) -> dict[str, Method]:
    """Make the method of every entry of the menu."""
    menu = {}
    for name, entry in YAML().load(MENU_FILE.read_text(encoding="utf-8")).items():
        node = entry["method"]
        kind = node.tag.value.rpartition(".")[2]
        one_of(f"{MENU_FILE}: {name}", kind, methods)
        menu[name] = methods[kind](**{key: _plain(value) for key, value in node.items()})
    return menu


def _plain(value: Any) -> Any:
    """Without the reader's memory of how a number was written, which torch.compile cannot trace."""
    return float(value) if isinstance(value, float) else value
