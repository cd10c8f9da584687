"""What a dataclass takes for granted."""

import dataclasses
import functools
import pydoc
from typing import Any


@functools.cache
def defaults_of(path: str) -> dict[str, Any]:
    """The fields of a dataclass that have a default; of anything else, or what cannot be imported, none."""
    try:
        made = pydoc.locate(path)
    except pydoc.ErrorDuringImport:
        return {}
    fields = dataclasses.fields(made) if dataclasses.is_dataclass(made) else ()
    return {f.name: f.default for f in fields if f.init and f.default is not dataclasses.MISSING}
