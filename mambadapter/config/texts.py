"""Paths and names that pass through HyperPyYAML as they are.

In what a reference becomes, HyperPyYAML looks for further references and for arithmetic: a folder
``runs <seed>`` would become another one, and ``9**9**9`` would be worked out. So they go through it as
letters and digits.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z~./_][\w./~-]*", re.ASCII)
_HIDDEN = re.compile(r"__text_([0-9a-f]*)__")


def hide(text: str) -> str:
    """A text as HyperPyYAML leaves it alone; most are as they are."""
    if _PLAIN.fullmatch(text) and not _HIDDEN.search(text):
        return text
    return f"__text_{os.fsencode(text).hex()}__"


def show(text: str) -> str:
    """A text in which `hide` hid some, as it was.

    Example
    -------
    >>> show(hide("/data/my #1 corpus") + "/save")
    '/data/my #1 corpus/save'
    """
    return _HIDDEN.sub(lambda found: os.fsdecode(bytes.fromhex(found[1])), text)


def show_all(node: Any) -> Any:
    """A YAML tree in which `hide` hid texts, changed in place."""
    if isinstance(node, str):
        return show(node)
    if isinstance(getattr(node, "value", None), str):  # of a tag
        node.value = show(node.value)
    for key, child in node.items() if isinstance(node, Mapping) else ():
        node[key] = show_all(child)
    for place, child in enumerate(node if isinstance(node, list) else ()):
        node[place] = show_all(child)
    return node
