"""What a YAML names: where branches go, what is trained and what stays frozen."""

import importlib
import pkgutil
from dataclasses import asdict
from typing import Any

from mambadapter.methods.base import METHODS, Method
from mambadapter.methods.menu import read_menu
from mambadapter.validators import one_of

# A file of this folder that registers a method is all that the method needs here.
for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

# The entries of hparams/adapters.yaml, without their learning rates.
MENU: dict[str, Method] = read_menu(METHODS)


def __getattr__(name: str) -> Any:
    if name not in METHODS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return METHODS[name]


def method_to_dict(method: Method) -> dict[str, Any]:
    """Write a method down so that `method_from_dict` makes it again."""
    return {"name": type(method).__name__, **asdict(method)}


def method_from_dict(written: dict[str, Any]) -> Method:
    """Make a method from what `method_to_dict` wrote."""
    arguments = dict(written)
    name = arguments.pop("name", None)
    one_of("method", name, METHODS)
    # A knob that these had; where it was off they are what they were.
    if name in ("Bottlenecks", "Convpasses") and arguments.get("scaled_projections") is False:
        del arguments["scaled_projections"]
    return METHODS[name](**arguments)
