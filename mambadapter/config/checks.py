"""Refuse what a YAML should not say: unknown keys, unset placeholders, arguments that no one takes,
impossible values.
"""

import inspect
import math
import pydoc
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarbool import ScalarBoolean

from mambadapter.config.files import included_file, tag_of
from mambadapter.encoders.families import ENCODER_SETTINGS
from mambadapter.errors import UserError, did_you_mean

_CALLS = ("!new:", "!name:", "!apply:")

# Untagged mappings that become the arguments of a call.
_ARGUMENTS = {"loader_options": "torch.utils.data.DataLoader"}

# Top-level keys that recipes share, where a wrong value would fail late or not at all.
_SWITCHES = (
    "skip_unusable_audio",
    "tensorboard",
    "proof_of_life",
    "adapter_budget_norms",
    "waveform_augmentation",
    "spec_augment",
)
_WHOLE = {  # least and greatest
    "seed": (0, 2**32 - 1),  # beyond it SpeechBrain takes 0
    "number_of_epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "num_workers": (0, math.inf),
    "folds": (2, math.inf),
    "lr_search": (0, math.inf),
}
_WHOLE_OR_NULL = ("adapter_budget", "shots_per_class")  # at least 1
_NOT_NEGATIVE = ("lr", "weight_decay")
_PATHS = ("data_folder", "output_root", "output_folder")

# What an entry of each menu may hold.
ENTRY_KEYS = {"adapters": ("method", "lr"), "encoders": ("source",)}


def check_placeholders(tree: CommentedMap, text: str) -> None:
    """Refuse keys still marked ``!PLACEHOLDER``, quoting the example in their comment."""
    for key, node in tree.items():
        if tag_of(node) == "!PLACEHOLDER":
            raise UserError(f"{key} is not set: add --{key} VALUE{_comment(text, key)}.")


def check_top_level(
    tree: CommentedMap, text: str, contract: Iterable[str], optional: Iterable[str] = ()
) -> None:
    """Refuse a top-level key that neither the program nor another key reads, or with an impossible value.

    Parameters
    ----------
    tree : CommentedMap
        The recipe's YAML.
    text : str
        The same as text, in which references are looked for.
    contract : Iterable[str]
        The keys the program reads; they must all be there.
    optional : Iterable[str]
        Keys it reads where they are there.
    """
    contract, optional = set(contract), set(optional)
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
        entries = included_file(tree.get(menu), folder) or tree.get(menu, {})
        if not isinstance(entries, Mapping):
            raise UserError(f"{menu} should be a mapping of names to {', '.join(keys)}.")
        for name, entry in entries.items():
            path = f"{menu}.{name}"
            if not isinstance(entry, Mapping):
                raise UserError(f"{path} should be a mapping with {', '.join(keys)}.")
            known = [*keys, *(sorted(ENCODER_SETTINGS) if menu == "encoders" else ())]
            for key in entry:
                if key not in known:
                    raise UserError(f"Unknown key '{key}' in {path}; {did_you_mean(key, known)}.")
            for key in keys:
                if key not in entry:
                    raise UserError(f"{path} lacks '{key}'.")


def check_calls(node: Any, path: str = "") -> None:
    """Refuse arguments that the class or function of a ``!new:``, ``!name:`` or ``!apply:`` does not take.

    At the root of a resolved YAML, also what its references turned out to be, such as a negative ``lr``.
    """
    if not path and isinstance(node, Mapping):
        _check_values(node)
    tag = tag_of(node)
    if path in _ARGUMENTS:
        _check_arguments(_ARGUMENTS[path], node, path)
    for prefix in _CALLS:
        if tag.startswith(prefix) and isinstance(node, Mapping):
            _check_arguments(tag.removeprefix(prefix), node, path)
    for key, child in _children(node):
        check_calls(child, f"{path}.{key}" if path else str(key))


def _check_values(tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        wanted = None if tag_of(value) else _wanted_instead(key, value, tree)
        if wanted:
            raise UserError(f"{key}: {str(value)!r} is not {wanted}.")


def _wanted_instead(key: str, value: Any, tree: Mapping[str, Any]) -> str | None:
    """What this top-level key should be; None if it is."""
    switch = isinstance(value, bool | ScalarBoolean)
    if key in _SWITCHES:
        return None if switch else "true or false"
    if key in _WHOLE:
        least, greatest = _WHOLE[key]
        if isinstance(value, int) and not switch and least <= value <= greatest:
            return None
        limit = f" and at most {greatest}" if greatest < math.inf else ""
        return f"a whole number of at least {least}{limit}"
    whole = isinstance(value, int) and not switch
    if key in _WHOLE_OR_NULL:
        fits = value is None or (whole and value >= 1)
        return None if fits else "a whole number of at least 1, or null"
    if key == "test_fold":
        folds = tree.get("folds", 0)
        fits = value == "all" or (whole and 1 <= value <= folds)
        return None if fits else f"a fold from 1 to {folds}, or all"
    if key in _NOT_NEGATIVE:
        number = isinstance(value, int | float) and not switch
        return None if number and 0 <= value < math.inf else "a number of at least 0"
    if key in _PATHS:
        return f"a path; write ./{value}" if isinstance(value, int | float) else None
    return None


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
