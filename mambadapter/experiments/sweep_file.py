"""A sweep file: a recipe, lists to cross, and what is different for some of the runs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mambadapter.errors import UserError, did_you_mean
from mambadapter.experiments.search import Group, Search, read_search, short_digest
from mambadapter.experiments.trials import Trial
from mambadapter.utils.values import NOT_YAML, picked

_KEYS = (
    "recipe", "script", "hparams", "output", "settings", "cross", "where", "exclude", "search", "processes",
    "limit",
)  # fmt: skip
_LIMIT = 1000


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes
    ----------
    name : str
        The file's, without its ending.
    recipes : tuple[Path, ...]
        Their folders.
    script : str
        The program in each.
    hparams : str
        The YAML in each.
    output : Path
        Where every run has a folder of its own.
    settings : Mapping[str, Any]
        What all runs change, as on the command line.
    cross : Mapping[str, Sequence[Any] | Mapping[str, Mapping[str, Any]]]
        Every combination of one value of each list is a run. In place of a list, names, each of which
        stands for settings.
    where : Sequence[tuple[Mapping, Mapping]]
        Pairs of a condition and settings: runs that have the values of the first get the second. The name
        of the recipe's folder is a value too, as ``recipe``.
    exclude : Sequence[Mapping[str, Any]]
        Runs that have all values of one of these are left out.
    search : Search, optional
        What is chosen on validation data before the runs.
    processes : int
        That train each run together.
    limit : int
        A sweep of more runs is refused.
    only : Mapping[str, Sequence[Any]]
        Of some lists, or of ``recipe``, the values to run. A search has the tries of the whole sweep.
    """

    name: str
    recipes: tuple[Path, ...]
    script: str
    hparams: str
    output: Path
    settings: Mapping[str, Any]
    cross: Mapping[str, Sequence[Any] | Mapping[str, Mapping[str, Any]]]
    where: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = ()
    exclude: Sequence[Mapping[str, Any]] = ()
    search: Search | None = None
    processes: int = 1
    limit: int = _LIMIT
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def part(self, wanted: Mapping[str, str]) -> "Sweep":
        """The runs that have one of these values, with commas between, of each of these lists."""
        known = {"recipe": [recipe.name for recipe in self.recipes], **self.cross}
        for key in wanted:
            if key not in known:
                raise UserError(f"--only: there is no list '{key}'; {did_you_mean(key, known)}.")
        named = {key: picked(key, text, known[key]) for key, text in wanted.items()}
        only = {key: [v for v in known[key] if str(v) in named[key]] for key in named}
        return replace(self, only=only)

    def trials(self) -> list[Trial]:
        """Every run, in the order of the lists, the last list turning fastest.

        With a search: with what it found, where it is done.
        """
        trials = [trial for trial, _ in self._runs()]
        if len(trials) > self.limit:
            raise UserError(
                f"{self.name}: the lists cross to {len(trials)} runs, more than its limit of {self.limit}; "
                "shorten a list, or raise `limit`."
            )
        return trials

    def ready(self) -> list[Trial]:
        """The runs whose search, if they have one, is done."""
        return [trial for trial, ready in self._runs() if ready]

    def _runs(self) -> Iterator[tuple[Trial, bool]]:
        found = {group.key: group.found for group in self.groups()}
        for recipe in self.recipes:
            for chosen, changes in self._crossed(recipe.name):
                if self._wanted(recipe, chosen):
                    best = found.get(self._key(recipe, chosen), {})
                    yield self._trial(recipe, chosen, {**changes, **best}), bool(best) or not found

    def groups(self) -> list[Group]:
        """The runs that share one search, each group by its first run."""
        if self.search is None:
            return []
        first: dict[tuple, Group] = {}
        wanted = set()
        for recipe in self.recipes:
            for chosen, changes in self._crossed(recipe.name):
                key = self._key(recipe, chosen)
                if key not in first:
                    trial = self._trial(recipe, chosen, {**changes, **self.search.settings})
                    first[key] = Group(key, trial, self.search, self.output / "search")
                if self._wanted(recipe, chosen):
                    wanted.add(key)
        return [group for key, group in first.items() if key in wanted]

    def chosen(self) -> list[tuple[str, dict[str, Any]]]:
        """Of each run the name of its folder without the digest, and its values of the lists."""
        return [
            (without_digest(self._trial(recipe, values, changes).name), values)
            for recipe in self.recipes
            for values, changes in self._crossed(recipe.name)
        ]

    def _wanted(self, recipe: Path, chosen: Mapping[str, Any]) -> bool:
        return _has({"recipe": recipe.name, **chosen}, self.only)

    def _key(self, recipe: Path, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        each = self.search.each if self.search else ()
        return recipe.name, *(str(chosen[key]) for key in each)

    def _crossed(self, recipe: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """For each run its values of the lists, and all that it changes."""
        for combination in itertools.product(*self.cross.values()):
            chosen = dict(zip(self.cross, combination, strict=True))
            point = {"recipe": recipe, **chosen}
            if any(_has(point, excluded) for excluded in self.exclude):
                continue
            added = [changes for condition, changes in self.where if _has(point, condition)]
            merged: dict[str, Any] = dict(self.settings)
            for key, value in chosen.items():
                values = self.cross[key]
                merged |= values[value] if isinstance(values, Mapping) else {key: value}
            for changes in added:
                merged |= changes
            yield chosen, {key: value for key, value in merged.items() if value is not None}

    def _trial(self, recipe: Path, chosen: Mapping[str, Any], changes: Mapping[str, Any]) -> Trial:
        # Several processes make other batches, so another run; of one nothing is said.
        together = [self.processes] if self.processes > 1 else []
        digest = short_digest([self.hparams, changes, *together])
        values = [
            str(chosen[key] if isinstance(listed, Mapping) else changes.get(key, ""))
            for key, listed in self.cross.items()
        ]
        name = "-".join([recipe.name, *(Path(part).name for part in values if part), digest])
        output = self.output / name
        return Trial(
            name, recipe, changes, output, self.hparams, self.script, processes=self.processes
        )


def without_digest(name: str) -> str:
    """The name of a run's folder in front of the digest of its settings."""
    return name.rpartition("-")[0]


@dataclass(frozen=True)
class _Reader:
    """One sweep file while it is read."""

    path: Path
    tree: Mapping[str, Any]
    used: set[str] = field(default_factory=set)

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        self.used.add(key)
        value = self.tree.get(key, default)
        if value is None:
            raise UserError(f"{self.path} lacks the key '{key}'.")
        if not isinstance(value, kind):
            raise UserError(f"{self.path}: {key} should be {_CALLED[kind]}.")
        return value


_CALLED = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file; its paths are from the folder in which the command runs."""
    if not path.is_file():
        raise UserError(f"There is no sweep file {path}.")
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except NOT_YAML as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} should hold keys and values; it holds none.")
    for key in tree:
        if key not in _KEYS:
            raise UserError(f"{path}: unknown key '{key}'; {did_you_mean(str(key), _KEYS)}.")
    reader = _Reader(path, tree)
    named = tree.get("recipe")
    recipes = tuple(
        Path(one).expanduser() for one in (named if isinstance(named, list) else [named or ""])
    )
    script = reader.get("script", str, "train.py")
    hparams = reader.get("hparams", str, "hparams/train.yaml")
    for recipe in recipes:
        for needed in (script, hparams):
            if not (recipe / needed).is_file():
                raise UserError(
                    f"{path}: recipe '{recipe}' has no {needed}; give its folder from where you run this, "
                    "such as recipes/ESC50."
                )
    processes = reader.get("processes", int, 1)
    if processes < 1:
        raise UserError(f"{path}: processes should be at least 1.")
    cross = reader.get("cross", dict)
    for key, values in cross.items():
        named = isinstance(values, dict) and all(isinstance(one, dict) for one in values.values())
        if not (isinstance(values, list) or named) or not values:
            raise UserError(
                f"{path}: cross.{key} should be a list of values, or names with settings for each."
            )
    return Sweep(
        name=path.stem,
        recipes=tuple(recipe.resolve() for recipe in recipes),
        script=script,
        hparams=hparams,
        output=Path(reader.get("output", str, f"results/sweeps/{path.stem}"))
        .expanduser()
        .resolve(),
        settings=reader.get("settings", dict, {}),
        cross=cross,
        where=[_condition(path, one) for one in reader.get("where", list, [])],
        exclude=reader.get("exclude", list, []),
        search=read_search(path, tree["search"], cross) if "search" in tree else None,
        processes=processes,
        limit=reader.get("limit", int, _LIMIT),
    )


def _condition(path: Path, one: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if not isinstance(one, dict) or set(one) != {"if", "set"}:
        raise UserError(f"{path}: each entry of `where` should have the keys `if` and `set`.")
    return one["if"], one["set"]


def _has(chosen: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a run has these values; a list stands for any of its members."""
    return all(
        key in chosen and chosen[key] in (value if isinstance(value, list) else [value])
        for key, value in wanted.items()
    )
