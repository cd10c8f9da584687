"""Refuse what a YAML should not say: unknown keys, unset placeholders, arguments that no one takes,
impossible values.
"""

import inspect
import pydoc
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from mambadapter.config.files import CALLS, INCLUDE, tag_of
from mambadapter.config.menus import entries_of
from mambadapter.config.schema import KEYS, kind_of
from mambadapter.encoders.families import ENCODER_SETTINGS
from mambadapter.errors import UserError, did_you_mean

# Untagged mappings that become the arguments of a call.
_ARGUMENTS = {"loader_options": "torch.utils.data.DataLoader"}

# What an entry of each menu must hold, and what it may.
ENTRY_KEYS = {"adapters": ("method", "lr"), "encoders": ("source",)}
_OPTIONAL = {"adapters": ("scan_lr_scale",), "encoders": tuple(sorted(ENCODER_SETTINGS))}

# Settings of a method that are read only where another of them is true.
_NEEDED = {"scan_lr_scale": "scan", "d_state": "scan", "alpha": "shared"}


def check_placeholders(tree: CommentedMap, text: str) -> None:
    """Refuse keys still marked ``!PLACEHOLDER``, quoting the example in their comment."""
    for key, node in tree.items():
        if tag_of(node) == "!PLACEHOLDER":
            raise UserError(f"{key} is not set: add --{key} VALUE{_comment(text, key)}.")


def check_top_level(tree: CommentedMap, text: str, contract: Iterable[str]) -> None:
    """Refuse a top-level key that neither the program nor another key reads, or with an impossible value."""
    contract = set(contract)
    optional = {key.name for key in KEYS.values() if key.optional}
    referenced = {name for line in text.splitlines() for name in _references(line)}
    for key in tree:
        if key not in contract | optional | referenced:
            known = contract | set(tree) - {key}
            raise UserError(
                f"Unknown key '{key}' in the YAML: nothing reads it; {did_you_mean(key, known)}."
            )
    for key in sorted((contract | referenced) - set(tree)):
        raise UserError(f"The YAML lacks the key '{key}'; {did_you_mean(key, tree)}.")
    _check_values(tree)


def check_menus(tree: CommentedMap, folder: Path) -> None:
    """Refuse menus that are not there, and unknown or missing keys in their entries."""
    for menu, keys in ENTRY_KEYS.items():
        entries = entries_of(tree, menu, folder)
        if not isinstance(entries, Mapping):
            raise UserError(f"{menu} should be a mapping of names to {', '.join(keys)}.")
        for name, entry in entries.items():
            path = f"{menu}.{name}"
            if not isinstance(entry, Mapping):
                raise UserError(f"{path} should be a mapping with {', '.join(keys)}.")
            known = [*keys, *_OPTIONAL[menu]]
            for key in entry:
                if key not in known:
                    raise UserError(f"Unknown key '{key}' in {path}; {did_you_mean(key, known)}.")
            for key in keys:
                if key not in entry:
                    raise UserError(f"{path} lacks '{key}'.")


def check_read(tree: CommentedMap, folder: Path, changed: Iterable[str]) -> None:
    """Refuse a setting of the chosen method that nothing reads.

    A learning rate (``adapter.lr`` in `changed`, or in a file that extends) beside one of the whole run,
    which goes before it; and what another setting switches off, such as the states of a scan left out.
    """
    menu, name = tree.get("adapters"), str(tree.get("adapter"))
    entry = entries_of(tree, "adapters", folder).get(name)
    included = isinstance(menu, Mapping) and tag_of(menu).startswith(INCLUDE)
    changes = menu.get(name, {}) if included else {}
    written = [found.get("method") for found in (changes, entry or {})]
    methods = [node if isinstance(node, Mapping) else {} for node in written]
    changed = {*changed, *(f"adapter.{key}" for key in (*changes, *methods[0]))}
    given = [key for key in ("lr", "scan_lr_scale") if key in tree and not tag_of(tree[key])]
    for key in given:
        if f"adapter.{key}" in changed:
            raise UserError(
                f"--adapter.{key}: nothing reads it, for {key} is {tree[key]} in the YAML or on the command "
                "line; leave one of the two out."
            )
    key = "scan_lr_scale"
    if key in given and entry and key not in entry:
        raise UserError(
            f"{key} is {tree[key]}, but '{name}' has no scan; leave it out, or give its entry of the menu a "
            f"{key} if it has one."
        )
    for key, needed in _NEEDED.items():
        read = next((method[needed] for method in methods if needed in method), True)
        if not read and (key in given or f"adapter.{key}" in changed):
            raise UserError(
                f"{key}: nothing reads it, for adapter.{needed} of '{name}' is false; leave one of the two "
                "out."
            )


def check_calls(node: Any, path: str = "") -> None:
    """Refuse arguments that the class or function of a ``!new:``, ``!name:`` or ``!apply:`` does not take.

    At the root of a resolved YAML, also what its references turned out to be, such as a negative ``lr``.
    """
    if not path and isinstance(node, Mapping):
        _check_values(node)
    tag = tag_of(node)
    if path in _ARGUMENTS:
        _check_arguments(_ARGUMENTS[path], node, path)
    for prefix in CALLS:
        if tag.startswith(prefix) and isinstance(node, Mapping):
            _check_arguments(tag.removeprefix(prefix), node, path)
    for key, child in _children(node):
        check_calls(child, f"{path}.{key}" if path else str(key))


def _check_values(tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        kind = kind_of(key)
        if not tag_of(value) and not kind.fits(value, tree):
            wanted = kind.wanted.format(value=value, folds=tree.get("folds", 0))
            raise UserError(f"{key}: {str(value)!r} is not {wanted}.")


def _check_arguments(name: str, arguments: Mapping[str, Any], path: str) -> None:
    target = _locate(name, path)
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # some C functions have none
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in arguments:
        if key not in parameters:
            raise UserError(
                f"Unknown key '{key}' in {path} ({name}); {did_you_mean(key, parameters)}."
            )


def _locate(name: str, path: str) -> Any:
    try:
        target = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise UserError(f"{path}: importing {name} failed: {error}.") from error
    if target is None:
        raise UserError(f"{path}: there is no class or function '{name}'.")
    return target


def _children(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def _references(line: str) -> Iterator[str]:
    code = line.split("#")[0]
    if "!ref" in code or "!copy" in code or "!applyref" in code:
        yield from re.findall(r"<\s*([A-Za-z_]\w*)", code)


def _comment(text: str, key: str) -> str:
    found = re.search(rf"^{re.escape(key)}:[^#\n]*#\s*(.+)$", text, re.MULTILINE)
    return f" ({found[1].strip()})" if found else ""
