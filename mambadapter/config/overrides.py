"""The command line: run options for SpeechBrain, everything else a change to the YAML.

``--key value`` and ``--key=value`` change a key; dots go down (``--adapters.lora.lr 0.001``);
``--adapter.rank 24`` means the chosen entry of the menu, wherever in it that setting is. A path or a name is
what was typed, to the letter; any other value is read as YAML, and has the type of the one it replaces.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarbool import ScalarBoolean
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from mambadapter.config.files import CALLS, included_file, tag_of
from mambadapter.config.menus import MENUS, entries_of
from mambadapter.config.schema import KEYS, MOST, kind_of
from mambadapter.errors import UserError, did_you_mean
from mambadapter.utils.fields import defaults_of
from mambadapter.utils.values import NOT_YAML, parse_value

_STOPS = "leave it out: training stops at the first loss that is not finite"

# Run options that do not do here what SpeechBrain says of them, and what to do instead.
_REFUSED = {
    "auto_mix_prec": "write --precision fp16",
    "bfloat16_mix_prec": "write --precision bf16",
    **dict.fromkeys(
        (
            "compile_mode",
            "compile_module_keys",
            "compile_using_dynamic_shape_tracing",
            "compile_using_fullgraph",
        ),
        "write --compile layers, or step",
    ),
    "data_parallel_backend": (
        "adapters do not work under DataParallel; start one process a GPU: "
        "torchrun --nproc_per_node 2 train.py ..."
    ),
    "jit": "leave it out: TorchScript cannot compile these encoders",
    "log_config": "leave it out: the log is log.txt in the output folder, and nothing else is read",
    "nonfinite_patience": _STOPS,
    "remove_vector_weight_decay": "leave it out: the model says which parameters do not decay",
    "skip_nonfinite_grads": _STOPS,
}

# The least values of run options with which SpeechBrain would fail later.
_LEAST = {
    "grad_accumulation_factor": 1,
    "optimizer_step_limit": 1,
    "profile_steps": 1,
    "profile_warmup": 0,
}

# Times that SpeechBrain declares whole, and reads as they come.
_FRACTIONS = {"ckpt_interval_minutes"}

# What a YAML has as a key, such as max_grad_norm, is changed there.
_RUN_OPTION_TYPES = {
    name: kind
    for name, kind in get_type_hints(RunOptions).items()
    if name in HELP_TEXTS and name not in KEYS
}


@dataclass(frozen=True)
class CommandLine:
    """A command line, taken apart."""

    hparams_file: Path  # the YAML
    run_opts: RunOptions  # SpeechBrain's options
    changes: list[tuple[str, str]]  # dotted keys and what was written for them, in order


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Take a command line apart.

    Not by SpeechBrain's own parser, which accepts abbreviated options, so that a YAML key called ``log``
    or ``dev`` is swallowed without a word; takes ``--debug=false`` for ``--debug``; and leaves
    ``--optimizer_step_limit 100`` a text.
    """
    if not argv or argv[0].startswith("--"):
        raise UserError(
            "Name the recipe's YAML first: train.py hparams/train.yaml [--key value ...]."
        )
    path = Path(argv[0])
    if not path.is_file():
        raise UserError(f"There is no hparams file {path}; give the path of a recipe's YAML.")
    options: dict[str, Any] = {}
    changes = []
    rest = list(argv[1:])
    while rest:
        option = rest.pop(0)
        if not option.startswith("--") or option == "--":
            raise UserError(f"'{option}' stands alone on the command line; write --key value.")
        name, separator, text = option[2:].partition("=")
        if name in _REFUSED:
            raise UserError(f"--{name} is not supported here: {_REFUSED[name]}.")
        if not separator:
            text = "true" if _RUN_OPTION_TYPES.get(name) is bool else _next_value(rest, name)
        if name in _RUN_OPTION_TYPES:
            options[name] = _run_option(name, text)
        else:
            changes.append((name, text))
    # A flag that is off was not given, so that the experiment is the same one as without it.
    given = {name: value for name, value in options.items() if value is not False}
    run_opts = RunOptions(**given, param_file=argv[0], overridden_args=set(given))
    return CommandLine(path, run_opts, changes)


def _next_value(rest: list[str], name: str) -> str:
    if not rest or rest[0].startswith("--"):
        raise UserError(f"--{name} has no value; write --{name} VALUE.")
    return rest.pop(0)


def _run_option(name: str, text: str) -> Any:
    """The value of a run option, in the type that `RunOptions` declares for it."""
    kind = _RUN_OPTION_TYPES[name]
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UserError(f"--{name}: '{text}' is unknown; {did_you_mean(text, get_args(kind))}.")
        return text
    kinds = get_args(kind) or (kind,)  # Optional[int] is int here: there is no way to write None
    value: Any = text
    wanted = ""
    if bool in kinds:
        value = {"true": True, "false": False}.get(text)
        wanted = "true or false"
    elif name in _FRACTIONS:
        value = _number(float, text, 0)
        wanted = "a number of at least 0"
    elif int in kinds:
        least = _LEAST.get(name, -math.inf)
        value = _number(int, text, least)
        wanted = "a whole number" + (f" of at least {least}" if name in _LEAST else "")
    elif float in kinds:
        value = _number(float, text)
        wanted = "a number"
    if value is None:
        raise UserError(f"--{name}: '{text}' is not {wanted}.")
    return value


def _number(kind: type, text: str, least: float = -math.inf) -> Any:
    try:
        value = kind(text)
    except ValueError:
        return None
    return value if abs(value) < MOST and value >= least else None


def apply_changes(
    tree: CommentedMap,
    changes: Iterable[tuple[str, Any]],
    folder: Path,
    before: Mapping[tuple[str, ...], Any] | None = None,
    typed: bool = True,
) -> dict[tuple[str, ...], Any]:
    """Change a YAML tree in place, reaching into included files; what was `typed` is still to be read."""
    before = before or {}
    read = _read if typed else _given
    replaced: dict[tuple[str, ...], Any] = {}
    last = dict(changes)  # of a key given twice; each is measured by what the YAML says
    for dotted, text in sorted(last.items(), key=lambda change: "." in change[0]):
        # The choice comes before its settings.
        first, *below = dotted.split(".")
        if first not in tree:
            known = [*tree, *(HELP_TEXTS.keys() - _REFUSED.keys())]
            raise UserError(f"--{dotted}: there is no key '{first}'; {did_you_mean(first, known)}.")
        if below and first in MENUS and MENUS[first] in tree:
            below = _down_to(tree, first, below, folder)
            first = MENUS[first]
        if not below:
            old = replaced[first,] = before.get((first,), tree[first])
            tree[first] = read(dotted, text, old)
        elif included := included_file(tree[first], folder):
            value = read(dotted, text, _value_at(included, below, dotted))
            tree[first] = _overriding(tree[first], below, value)
        else:
            path, now = (first, *below), _value_at(tree[first], below, dotted)
            old = replaced[path] = before.get(path, now)
            _set(tree[first], below, read(dotted, text, old))
    return replaced


def _read(dotted: str, text: str, replaced: Any) -> Any:
    """What was typed for a key.

    A path or a name is that text: as YAML, ``/data/my #1 corpus`` would be another folder.
    """
    kind = kind_of(dotted)
    if kind.text:
        return None if text == "null" and kind.fits(None, {}) else text
    if dotted not in KEYS and isinstance(replaced, str) and not tag_of(replaced):
        return text
    try:
        value = parse_value(text)
    except NOT_YAML as error:
        raise UserError(
            f"--{dotted}: '{text}' is not valid YAML; put it in quotes, and these in others."
        ) from error
    return _given(dotted, text if isinstance(value, str) else value, replaced, shown=text)


def _given(dotted: str, value: Any, replaced: Any, shown: str | None = None) -> Any:
    """A value, if it is of the type of the one it replaces.

    YAML reads ``no``, ``off`` and ``ture`` as texts, which Python takes for true.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool | ScalarBoolean)
    number = number and not abs(value) > MOST
    kind = kind_of(dotted)
    # Below the top level the class that gets it knows better: 2 may stand for a float.
    fraction = "." in dotted or kind.fraction
    made = tag_of(replaced)
    if made.startswith(CALLS) and isinstance(value, str | int | float) and not tag_of(value):
        raise UserError(
            f"--{dotted}: {value} is no {dotted.rpartition('.')[2]}, which {made} makes; change one of its "
            f"settings, as in --{dotted}.KEY VALUE."
        )
    if kind.text:
        fits, wanted = kind.fits(value, {}), kind.wanted.format(value=value)
    elif made or (kind.word is not None and value == kind.word):
        return value  # a tag such as !PLACEHOLDER says nothing of the type
    elif isinstance(replaced, bool | ScalarBoolean):
        fits, wanted = isinstance(value, bool | ScalarBoolean), "true or false"
    elif isinstance(replaced, int):
        fits = number and (fraction or isinstance(value, int))
        wanted = "a number" if fraction else f"a whole number, as {replaced} in the YAML is"
    elif isinstance(replaced, float):
        fits, wanted = number, "a number"
        value = float(value) if fits else value
    elif isinstance(replaced, str) and dotted not in KEYS:
        fits, wanted = isinstance(value, str), "text; put it in quotes"
    else:
        return value
    if not fits:
        raise UserError(f"--{dotted}: '{value if shown is None else shown}' is not {wanted}.")
    return value


def _down_to(tree: CommentedMap, key: str, below: list[str], folder: Path) -> list[str]:
    """The path of a setting below the menu: the chosen entry, then the entry's own keys or its method's."""
    name, menu = str(tree[key]), entries_of(tree, MENUS[key], folder)
    if not isinstance(menu, Mapping):
        raise UserError(f"{MENUS[key]}: {menu!r} is no menu of names and their settings.")
    if name not in menu:
        raise UserError(f"{key}: '{name}' is not on the menu; {did_you_mean(name, menu)}.")
    entry = menu[name]
    method = entry.get("method", {})
    if below[0] not in entry and isinstance(method, dict):
        known = {**_defaults(method), **method}
        if below[0] not in known:
            settings = [k for k in entry if k != "method"] + list(known)
            raise UserError(
                f"--{key}.{'.'.join(below)}: '{name}' has no setting '{below[0]}'; "
                f"{did_you_mean(below[0], settings)}."
            )
        return [name, "method", *below]
    return [name, *below]


def _defaults(node: Any) -> dict[str, Any]:
    """What a ``!new:`` node need not say."""
    return defaults_of(tag_of(node).removeprefix("!new:"))


def _value_at(node: Any, path: Sequence[str], dotted: str) -> Any:
    for key in path:
        if isinstance(node, dict) and key not in node and key in (defaults := _defaults(node)):
            node = defaults
        if not isinstance(node, dict) or key not in node:
            known = node if isinstance(node, dict) else []
            raise UserError(
                f"--{dotted}: there is no key '{key}' there; {did_you_mean(key, known)}."
            )
        node = node[key]
    return node


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
