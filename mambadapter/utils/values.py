"""Values that someone wrote, in a YAML or on a command line."""

from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mambadapter.errors import UserError, did_you_mean

# What ruamel.yaml raises of a text that is no YAML: its own, of numbers and dates that cannot be, of bytes
# that are no UTF-8, of mappings that are merged with something else, of too deep a nesting.
NOT_YAML = (YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError)


def parse_value(text: str) -> Any:
    """Read a value as YAML, and numbers such as ``1e-3`` always as numbers; or raise one of `NOT_YAML`."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return YAML(typ="safe", pure=True).load(text)


def picked(setting: str, text: str, known: Iterable[Any]) -> list[str]:
    """The values that ``--only setting=text`` names: one, or several with commas between; each is known."""
    values = {str(value) for value in known}
    wanted = [text] if text in values else text.split(",")
    for value in wanted:
        if value not in values:
            raise UserError(
                f"--only: no run has {setting} '{value}'; {did_you_mean(value, values)}."
            )
    return wanted
