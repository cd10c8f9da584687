"""A YAML that extends another: ``extends: train.yaml``, and what is different from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.tag import Tag
from speechbrain.utils.run_opts import HELP_TEXTS

from mambadapter.config.files import INCLUDE, read_yaml, tag_of
from mambadapter.config.overrides import apply_changes
from mambadapter.config.schema import KEYS
from mambadapter.errors import UserError, did_you_mean

_KEY = "extends"


@dataclass(frozen=True)
class Recipe:
    """A recipe's YAML before the command line changes it."""

    path: Path  # the file at the end of the chain of ``extends``, beside which its includes lie
    text: str  # what all files of the chain hold, the extending one first
    tree: CommentedMap  # the last file, loaded, with the changes of those that extend it
    # The values that these changes replaced, by path; for `apply_changes`.
    replaced: dict[tuple[str, ...], Any]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe's YAML, and what it extends.

    A key of a file that extends changes what it extends as the same key on the command line would; a setting
    such as ``adapter.rank`` is one of the method that this file chooses, or else the one it extends. What is
    a ``!PLACEHOLDER`` there may become anything, a tagged value or an ``!include:`` from the folder of the
    file that says it among them.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> Recipe:
    tree, text = read_yaml(path), path.read_text(encoding="utf-8")
    if _KEY not in tree:
        return Recipe(path, text, tree, {})
    base = _base(path, tree.pop(_KEY))
    if base.resolve() in (*above, path.resolve()):
        raise UserError(f"{path} extends {base}, which extends it in turn; extend another file.")
    extended = _read(base, (*above, path.resolve()))
    changes = []
    for key, value in tree.items():
        added = key in KEYS and key not in extended.tree
        if added or tag_of(extended.tree.get(key)) == "!PLACEHOLDER":
            extended.tree[key] = _from_folder(value, path.parent)
        else:
            _check_key(path, base, str(key), extended.tree)
            changes.append((str(key), _plain(path, key, value)))
    try:
        replaced = apply_changes(
            extended.tree, changes, extended.path.parent, extended.replaced, typed=False
        )
    except UserError as error:
        # The messages speak of options; in a file the same names stand without dashes.
        raise UserError(f"{path}: {str(error).removeprefix('--')}") from error
    return Recipe(
        extended.path, f"{text}\n{extended.text}", extended.tree, {**extended.replaced, **replaced}
    )


def _from_folder(node: Any, folder: Path) -> Any:
    """A node whose ``!include:`` is resolved from this folder, wherever it is put."""
    if tag_of(node).startswith(INCLUDE):
        node.yaml_set_ctag(
            Tag(suffix=INCLUDE + str((folder / tag_of(node).removeprefix(INCLUDE)).resolve()))
        )
    return node


def _base(path: Path, named: Any) -> Path:
    if not isinstance(named, str) or not named:
        raise UserError(
            f"{path}: {_KEY} should be the path of a YAML, such as `{_KEY}: train.yaml`, from the folder "
            "of the file that says it."
        )
    base = path.parent / named
    if not base.is_file():
        raise UserError(
            f"{path} extends {base}, which does not exist; give a path from the folder of "
            f"{path.name}."
        )
    return base


def _check_key(path: Path, base: Path, key: str, extended: CommentedMap) -> None:
    first = key.partition(".")[0]
    if first in extended:
        return
    if first in HELP_TEXTS:
        raise UserError(
            f"{path}: '{key}' is a run option, which a YAML cannot set; give --{key} on the command line."
        )
    raise UserError(
        f"{path}: there is no key '{first}' in {base}; {did_you_mean(first, extended)}."
    )


def _plain(path: Path, key: Any, value: Any) -> Any:
    """A value without a tag, or keys of its own."""
    if tag_of(value):
        raise UserError(
            f"{path}: {key} has the tag {tag_of(value)}; a file that extends may only give plain values."
        )
    if isinstance(value, Mapping):
        below = next(iter(value), "KEY")
        raise UserError(
            f"{path}: {key} holds keys of its own; write each by its dots, as in `{key}.{below}: VALUE`."
        )
    return value
