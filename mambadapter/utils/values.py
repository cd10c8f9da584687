"""Values that were typed on a command line."""

from typing import Any

from ruamel.yaml import YAML


def parse_value(text: str) -> Any:
    """Read a value as YAML, and numbers such as ``1e-3`` always as numbers."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return YAML(typ="safe", pure=True).load(text)
