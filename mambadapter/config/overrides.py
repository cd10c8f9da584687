"""The command line: run options for SpeechBrain, everything else a change to the YAML.

``--key value`` and ``--key=value`` change a key; dots go down (``--adapters.lora.lr 0.001``);
``--adapter.rank 24`` means the chosen entry of the menu, wherever in it that knob is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from mambadapter.errors import UserError, did_you_mean

# `--adapter.rank` goes down from the key on the right, at the entry that the key on the left names.
_CHOSEN = {"adapter": "adapters", "encoder": "encoders"}

_INCLUDE = "!include:"


@dataclass(frozen=True)
class CommandLine:
    """A command line, taken apart.

    Attributes
    ----------
    hparams_file : Path
        The YAML.
    run_opts : RunOptions
        SpeechBrain's options.
    changes : list of (str, Any)
        Dotted keys and values, in order.
    """

    hparams_file: Path
    run_opts: RunOptions
    changes: list[tuple[str, Any]]


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Take a command line apart.

    SpeechBrain's own parser accepts abbreviated options, so that a YAML key called ``log`` or ``dev``
    is swallowed without a word; only options spelt out reach it from here.

    Parameters
    ----------
    argv : Sequence[str]
        ``HPARAMS.yaml [--key value ...]``.

    Returns
    -------
    CommandLine

    Raises
    ------
    UserError
        If the YAML is not named or not there, or an option has no value.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
    ...     line = parse_command_line([file.name, "--precision", "bf16", "--adapter.lr", "1e-3"])
    >>> line.run_opts["precision"], line.changes
    ('bf16', [('adapter.lr', 0.001)])
    """
    if not argv or argv[0].startswith("--"):
        raise UserError(
            "Name the recipe's YAML first: train.py hparams/train.yaml [--key value ...]."
        )
    path = Path(argv[0])
    if not path.is_file():
        raise UserError(f"There is no hparams file {path}; give the path of a recipe's YAML.")
    flags = {f.name for f in fields(RunOptions) if f.name in HELP_TEXTS and f.default is False}
    run_arguments, changes = [argv[0]], []
    rest = list(argv[1:])
    while rest:
        option = rest.pop(0)
        if not option.startswith("--") or option == "--":
            raise UserError(f"'{option}' stands alone on the command line; write --key value.")
        name, separator, value = option[2:].partition("=")
        if name in flags and not separator:
            run_arguments.append(option)
            continue
        if not separator:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"--{name} has no value; write --{name} VALUE.")
            value = rest.pop(0)
        if name in HELP_TEXTS:
            run_arguments += [f"--{name}"] if name in flags else [f"--{name}={value}"]
        else:
            changes.append((name, parse_value(value)))
    try:
        run_opts = RunOptions.from_command_line_args(run_arguments)[1]
    except SystemExit as error:
        raise UserError("A run option has an impossible value; see the line above.") from error
    return CommandLine(path, run_opts, changes)


def parse_value(text: str) -> Any:
    """Read a value as YAML, and numbers such as ``1e-3`` always as numbers.

    Example
    -------
    >>> [parse_value(text) for text in ("1e-3", "12", "true", "ab", "[1, 2]")]
    [0.001, 12, True, 'ab', [1, 2]]
    """
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return YAML(typ="safe", pure=True).load(text)


def apply_changes(tree: CommentedMap, changes: Iterable[tuple[str, Any]], folder: Path) -> None:
    """Change a YAML tree in place, reaching into included files.

    Parameters
    ----------
    tree : CommentedMap
        A recipe's YAML, loaded with its tags.
    changes : Iterable of (str, Any)
        Dotted keys and values.
    folder : Path
        Where the YAML lies, for the files it includes.

    Raises
    ------
    UserError
        If a key does not exist.
    """
    ordered = sorted(changes, key=lambda change: "." in change[0])  # the choice before its knobs
    for dotted, value in ordered:
        first, *below = dotted.split(".")
        if first not in tree:
            known = [*tree, *HELP_TEXTS]
            raise UserError(f"--{dotted}: there is no key '{first}'; {did_you_mean(first, known)}.")
        if below and first in _CHOSEN and _CHOSEN[first] in tree:
            below = _down_to(tree, first, below, folder)
            first = _CHOSEN[first]
        if not below:
            tree[first] = value
        elif included := included_file(tree[first], folder):
            _check_path(included, below, dotted)
            tree[first] = _overriding(tree[first], below, value)
        else:
            _check_path(tree[first], below, dotted)
            _set(tree[first], below, value)


def _down_to(tree: CommentedMap, key: str, below: list[str], folder: Path) -> list[str]:
    """The path of a knob below the menu: the chosen entry, then the entry's own keys or its method's."""
    name, menu = str(tree[key]), included_file(tree[_CHOSEN[key]], folder) or tree[_CHOSEN[key]]
    if name not in menu:
        raise UserError(f"{key}: '{name}' is not on the menu; {did_you_mean(name, menu)}.")
    entry = menu[name]
    method = entry.get("method", {})
    if below[0] not in entry and isinstance(method, dict):
        knobs = [k for k in entry if k != "method"] + list(method)
        if below[0] not in method:
            raise UserError(
                f"--{key}.{'.'.join(below)}: '{name}' has no knob '{below[0]}'; "
                f"{did_you_mean(below[0], knobs)}."
            )
        return [name, "method", *below]
    return [name, *below]


def included_file(node: Any, folder: Path) -> CommentedMap | None:
    """The file that an ``!include:`` node names, loaded; None for any other node."""
    tag = tag_of(node)
    if not tag.startswith(_INCLUDE):
        return None
    path = folder / tag.removeprefix(_INCLUDE)
    if not path.is_file():
        raise UserError(f"The YAML includes {path}, which does not exist.")
    return YAML().load(path.read_text(encoding="utf-8"))


def _check_path(node: Any, path: Sequence[str], dotted: str) -> None:
    for key in path:
        if not isinstance(node, dict) or key not in node:
            known = node if isinstance(node, dict) else []
            raise UserError(
                f"--{dotted}: there is no key '{key}' there; {did_you_mean(key, known)}."
            )
        node = node[key]


def _overriding(node: Any, path: Sequence[str], value: Any) -> CommentedMap:
    """An ``!include:`` node whose body overrides one key of the included file."""
    if not isinstance(node, CommentedMap):
        tag, node = node.tag, CommentedMap()
        node.yaml_set_ctag(tag)
    _set(node, path, value)
    return node


def _set(node: CommentedMap, path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for key in parents:
        node = node.setdefault(key, CommentedMap())
    node[last] = value


def tag_of(node: Any) -> str:
    """The tag of a YAML node, such as ``!ref``; empty when it has none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""
