"""Load a recipe's YAML into an experiment with a folder of its own."""

import copy
import functools
import gc
import hashlib
import io
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from speechbrain.utils.distributed import ddp_init_group, if_main_process
from speechbrain.utils.run_opts import RunOptions

from mambadapter.config.checks import (
    check_calls,
    check_menus,
    check_placeholders,
    check_read,
    check_top_level,
)
from mambadapter.config.extends import read_recipe
from mambadapter.config.files import tag_of
from mambadapter.config.logs import start_logging
from mambadapter.config.menus import keep_chosen
from mambadapter.config.overrides import apply_changes, parse_command_line
from mambadapter.config.schema import KEYS, kind_of
from mambadapter.config.texts import hide, show_all
from mambadapter.errors import UserError, user_error
from mambadapter.utils.devices import check_device
from mambadapter.utils.files import read_json, write_json

logger = logging.getLogger(__name__)

# Keys of every recipe that are read here.
_OWN_KEYS = ("seed", "output_root", "output_folder")

# Run options that change the result.
_RUN_OPTIONS = (
    "precision",
    "eval_precision",
    "grad_accumulation_factor",
    "optimizer_step_limit",
    "debug",
    "debug_batches",
    "debug_epochs",
)

_RECORD = "experiment.json"


@dataclass(frozen=True)
class Experiment:
    """A recipe's YAML with a command line applied.

    Attributes
    ----------
    path : Path
        The YAML.
    run_opts : RunOptions
        SpeechBrain's run options.
    tree : CommentedMap
        What the YAML and the files that it extends say, with the command line's changes; nothing resolved.
    base : Path
        The file beside which its includes lie.
    folder : Path
        Where the run writes.
    config : dict
        All that defines the experiment, JSON-able: the resolved YAML with the chosen menu entries only,
        and the run options that change results; nothing that belongs to the machine.
    digest : str
        Eight hexadecimal digits of `config`.
    """

    path: Path
    run_opts: RunOptions
    tree: CommentedMap
    base: Path
    folder: Path
    config: dict[str, Any]
    digest: str

    @functools.cached_property
    def text(self) -> str:
        """The YAML with everything resolved."""
        return _resolve(self.tree, self.base)

    @functools.cached_property
    def hparams(self) -> dict[str, Any]:
        """The loaded YAML, for SpeechBrain; made when it is first asked for."""
        try:
            return load_hyperpyyaml(self.text)
        except UserError:
            raise
        except (TypeError, ValueError, ImportError, OSError) as error:
            if str(getattr(error, "filename", "")).startswith(str(self.folder)):
                raise _cannot_be_made(self.folder, error) from error
            raise UserError(f"{self.path}: {_plain_message(error)}") from error


def read_experiment(argv: Sequence[str], contract: Iterable[str]) -> Experiment:
    """Read a command line and the YAML it names, and make none of its objects yet.

    ``output_folder: auto`` becomes ``<output_root>/<encoder>-<adapter>-seed<seed>-<digest>``, without
    the first two where a recipe has none, so that two different experiments never share checkpoints.
    Writes nothing; SpeechBrain's checkpointer makes its folder when `Experiment.hparams` is first read.
    """
    line = parse_command_line(argv)
    if "device" in line.run_opts.overridden_args:
        check_device(str(line.run_opts["device"]))
    recipe = read_recipe(line.hparams_file)
    tree, path = recipe.tree, recipe.path
    apply_changes(tree, line.changes, path.parent, recipe.replaced)
    check_placeholders(tree, recipe.text)
    check_menus(tree, path.parent)
    check_read(tree, path.parent, [name for name, _ in line.changes])
    check_top_level(tree, recipe.text, [*_OWN_KEYS, *contract])
    _settle_texts(tree)

    config = _definition(tree, path, line.run_opts)
    digest = hashlib.sha256(_written(config).encode()).hexdigest()[:8]
    if tree["output_folder"] == "auto":
        chosen = [Path(str(tree[key])).name for key in ("encoder", "adapter") if key in tree]
        name = "-".join([*chosen, f"seed{tree['seed']}", digest])
        tree["output_folder"] = str(Path(tree["output_root"]) / name)
    _check_folder(Path(tree["output_folder"]), digest, config)
    folder = Path(str(tree["output_folder"]))
    return Experiment(line.hparams_file, line.run_opts, tree, path, folder, config, digest)


def load_experiment(argv: Sequence[str], contract: Iterable[str]) -> Experiment:
    """As `read_experiment`, and make the objects of the YAML, or say what is wrong with them."""
    experiment = read_experiment(argv, contract)
    _ = experiment.hparams
    return experiment


def start_experiment(experiment: Experiment) -> None:
    """Join the other processes, make the output folder, write down what runs in it, start logging.

    ``experiment.json`` holds the configuration and its digest, ``hyperparams.yaml`` the YAML with
    everything resolved. Only the main process writes.
    """
    try:
        if not torch.distributed.is_initialized():  # by a run before, in the same process
            ddp_init_group(experiment.run_opts)
    except ValueError as error:
        raise UserError(
            "There are fewer GPUs than processes; start fewer, or add --device cpu "
            "--distributed_backend gloo."
        ) from error
    if if_main_process():
        record = {"digest": experiment.digest, "config": experiment.config}
        write_json(experiment.folder / _RECORD, record)
        (experiment.folder / "hyperparams.yaml").write_text(experiment.text, encoding="utf-8")
    start_logging(experiment.folder)
    logger.info("Output folder: %s", experiment.folder)


def recipe_main(main: Callable[..., None]) -> Callable[..., None]:
    """Let `main` end as a command should.

    On a `UserError` or a full disk: one line on stderr and exit status 2, without a traceback. On success:
    the process group is closed while the interpreter is whole; PyTorch does not do so by itself, and gloo's
    threads abort the process when they free a tensor while it shuts down. Not after an error, where the
    other processes may never come to close theirs.
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            main(*args, **kwargs)
        except Exception as error:
            shown = user_error(error)
            if shown is None:
                raise
            # A process that loads data hands its errors over as one text, its traceback in front.
            message = str(shown).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2]
            print(f"error: {message.strip()}", file=sys.stderr)
            sys.exit(2)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gc.collect()  # models in cycles of references hold the group, whose threads would live on
            torch.distributed.destroy_process_group()

    return wrapped


def _definition(tree: CommentedMap, path: Path, run_opts: RunOptions) -> dict[str, Any]:
    """What makes this experiment another one than the next; checks it on the way."""
    neutral = copy.deepcopy(tree)
    omitted = {key.name for key in KEYS.values() if not key.in_digest}
    for key in omitted & neutral.keys():
        if (stand_in := KEYS[key].neutral) is not None:
            neutral[key] = stand_in
    resolved = YAML().load(_resolve(neutral, path))
    check_calls(resolved)
    run = {name: run_opts[name] for name in _RUN_OPTIONS if name in run_opts.overridden_args}
    # Each process takes batches of its own.
    run["processes"] = int(os.environ.get("WORLD_SIZE", "1"))
    config = {key: _plain(node) for key, node in resolved.items() if key not in omitted}
    return {**config, "run_options": run}


def _written(config: dict[str, Any]) -> str:
    """By the names of classes and functions, not of their modules: code that moves is no other experiment."""
    return re.sub(r'"(!\w+:)[\w.]+\.', r'"\1', json.dumps(config, sort_keys=True))


def _settle_texts(tree: CommentedMap) -> None:
    """Expand ``~``, as no YAML does and not every shell; refuse paths and names that no YAML can hold."""
    for key, value in tree.items():
        kind = kind_of(str(key))
        if not kind.text or not isinstance(value, str):
            continue
        strange = [c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n"]
        if strange:
            raise UserError(
                f"{key}: {value!a} holds characters that no YAML can ({strange[0]!a}); rename it, "
                "or give a link to it."
            )
        if kind.path and value.startswith("~"):
            tree[key] = os.path.expanduser(value)
            if tree[key].startswith("~"):
                raise UserError(f"{key}: {value}: there is no such home folder; write ./{value}.")


def _resolve(tree: CommentedMap, path: Path) -> str:
    """The YAML without references; paths and names in it are as they were given."""
    tree = copy.deepcopy(tree)
    keep_chosen(tree, path.parent)
    hidden = False
    for key, value in tree.items():
        if kind_of(str(key)).text and isinstance(value, str):
            tree[key] = hide(value)
            hidden |= tree[key] != value
    stream = io.StringIO(_dump(tree))
    stream.name = str(path)  # HyperPyYAML looks for included files beside it
    try:
        resolved = resolve_references(stream).getvalue()
    except UserError:
        raise
    except (ValueError, KeyError, ImportError, OSError) as error:
        raise UserError(f"{path}: {_plain_message(error)}") from error
    return _dump(show_all(YAML().load(resolved))) if hidden else resolved


def _dump(tree: CommentedMap) -> str:
    stream = io.StringIO()
    YAML().dump(tree, stream)
    return stream.getvalue()


def _plain(node: Any) -> Any:
    """A YAML node as JSON can hold it; a tagged mapping becomes ``{tag: mapping}``."""
    tag = tag_of(node)
    if isinstance(node, Mapping):
        plain: Any = {str(key): _plain(child) for key, child in node.items()}
    elif isinstance(node, list):
        plain = [_plain(child) for child in node]
    elif isinstance(node, bool) or node is None:
        plain = node
    elif isinstance(node, int):
        plain = int(node)
    elif isinstance(node, float):
        plain = float(node)
    else:
        plain = str(getattr(node, "value", node))
    return {tag: plain} if tag.startswith("!") else plain


def _check_folder(folder: Path, digest: str, config: dict[str, Any]) -> None:
    record = folder / _RECORD
    try:
        if not record.is_file():
            return
    except OSError as error:
        raise _cannot_be_made(folder, error) from error
    mend = "give another --output_folder, or delete this one"
    there = read_json(record, mend)
    if not isinstance(there.get("digest"), str) or not isinstance(there.get("config"), dict):
        raise UserError(f"{record} is of something else; {mend}.")
    if there["digest"] == digest:
        return
    old, new = (_flat(json.loads(_written(each))) for each in (there["config"], config))
    changed = [
        f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ] or ["of another version of this toolkit"]
    raise UserError(
        f"{folder} holds another experiment ({'; '.join(changed[:5])}{'; ...' if len(changed) > 5 else ''}). "
        "Give another --output_folder, or delete this one."
    )


def _cannot_be_made(folder: Path, error: Exception) -> UserError:
    why = getattr(error, "strerror", error)
    return UserError(
        f"output_folder: {folder} cannot be made ({why}); give another --output_folder."
    )


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {path: node}
    return {
        below: value
        for key, child in node.items()
        for below, value in _flat(child, f"{path}.{key}" if path else key).items()
    }


def _plain_message(error: Exception) -> str:
    return " ".join(str(part) for part in error.args) or type(error).__name__
