"""Values that someone wrote, in a YAML or on a command line."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

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
