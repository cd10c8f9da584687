"""Read many results, find what sets them apart, and gather the runs that differ in seed and fold alone."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mambadapter.config.schema import KEYS
from mambadapter.errors import UserError, did_you_mean
from mambadapter.experiments.sweep_file import without_digest
from mambadapter.metrics.intervals import mean_and_half_width
from mambadapter.metrics.learning import learned
from mambadapter.metrics.names import HEADLINES, headline
from mambadapter.report.sources import read_results
from mambadapter.utils.fields import defaults_of
from mambadapter.utils.values import picked

# What tells repetitions of one setting apart.
_REPEATED = tuple(name for name, key in KEYS.items() if key.report == "repetition")

# What says on which data a run was trained and tested.
_DATA = ("recipe", "corpus", "language")

# Columns in this order; others follow by name.
_FIRST = (*_DATA, "encoder", "adapter", "adapter_budget")

# What follows from the rest.
_DERIVED = {name for name, key in KEYS.items() if key.report == "derived"}

# Settings that belong to a method, beside its own knobs: how it is trained.
_OWN = {
    *("adapter", "lr", "head_lr", "norm_lr_scale", "scan_lr_scale"),
    *("warmup", "least_warmup", "schedule", "max_grad_norm", "weight_decay"),
}

# Where the settings of a method and the names that a sweep's file has for it begin, so that no two are alike.
METHOD, VARIANT = "method.", "variant."

# Of its knobs those that a budget sets.
SIZES = {"method.rank", "method.prompts", "method.length"}


@dataclass(frozen=True)
class Run:
    """One result.

    Attributes
    ----------
    name : str
        Its folder's, or the one that its line gives.
    result : Mapping[str, Any]
        What it holds.
    settings : Mapping[str, Any]
        Its settings, flat, by dotted keys; its recipe and its corpus among them where they are known.
    """

    name: str
    result: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def repetition(self) -> tuple[Any, ...]:
        """Its seed and fold."""
        return tuple(self.settings.get(key) for key in _REPEATED)

    @property
    def data(self) -> tuple[Any, ...]:
        """What it was trained and tested on: its recipe, corpus and language."""
        return tuple(self.settings[key] for key in _DATA)

    def score(self, metric: str) -> float:
        """A test metric."""
        return self.result["metrics"]["test"][metric]

    @property
    def not_numbers(self) -> list[str]:
        """Of the test metrics that papers report those that are not finite numbers."""
        test = self.result["metrics"].get("test", {})
        return [name for name in HEADLINES if name in test and not _is_finite(test[name])]

    @property
    def lr(self) -> float | None:
        """The learning rate that it was trained with, given or found."""
        return self.result.get("lr", self.result["config"].get("lr"))

    @property
    def searched(self) -> bool:
        """Whether it found its learning rate itself."""
        return bool(self.result["config"].get("lr_search"))

    @property
    def learned(self) -> bool:
        """Whether it learned, by what the result says and, if an earlier version wrote it, by its epochs."""
        # Of a result over folds those are the first fold's.
        epochs = [] if "folds" in self.result else self.result.get("history", [])
        return self.result.get("learned", True) and learned(epochs)

    @property
    def folds(self) -> int:
        """Over how many its score is a mean; 0 where the corpus has none."""
        one = self.settings.get("test_fold") is not None
        return len(self.result.get("folds", ())) or int(one)


@dataclass(frozen=True)
class Cell:
    """The runs of one setting, over seeds and folds."""

    labels: tuple[Any, ...]  # the setting, by the report's columns
    runs: tuple[Run, ...]  # in the order of seeds and folds

    def samples(self, metric: str) -> dict[Any, float]:
        """A test metric by seed, of each the mean over its folds; of one seed, by fold."""
        by_seed: dict[Any, list[float]] = defaultdict(list)
        for run in self.runs:
            by_seed[run.settings.get("seed")].append(run.score(metric))
        folds = self.runs[0].result.get("folds", ()) if len(self.runs) == 1 else ()
        if folds and all(metric in fold for fold in folds):
            return {number: fold[metric] for number, fold in enumerate(folds, start=1)}
        if len(by_seed) == 1:
            return {run.repetition: run.score(metric) for run in self.runs}
        return {seed: sum(scores) / len(scores) for seed, scores in by_seed.items()}

    def summary(self, metric: str) -> tuple[float, float]:
        """Mean over seeds of the mean over folds, and half its 95 % interval; of one seed, over its folds."""
        return mean_and_half_width(list(self.samples(metric).values()))

    @property
    def repeated(self) -> bool:
        """Whether it has several seeds, or folds."""
        return len(self.runs) > 1 or self.runs[0].folds > 1

    @property
    def seeds(self) -> int:
        """How many seeds it was trained with."""
        return len({run.settings.get("seed") for run in self.runs})

    @property
    def repetitions(self) -> str:
        """Over what its scores are means, as `extent`, and how many of these did not learn."""
        return self.extent + (f", {self.failed} did not learn" if self.failed else "")

    @property
    def extent(self) -> str:
        """Its seeds and folds, such as ``3 seeds`` or ``1 seed x 5 folds``."""
        over = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        if folds := sum(run.folds for run in self.runs):
            whole, rest = divmod(folds, self.seeds)
            each = f" x {whole} fold{'s' if whole > 1 else ''}"
            over += each if not rest else f", {folds} folds in all"
        return over

    @property
    def failed(self) -> int:
        """How many of its runs did not learn, as `mambadapter.metrics.learning.learned` has it."""
        return sum(not run.learned for run in self.runs)

    @property
    def learning_rate(self) -> str:
        """The rates that its runs were trained with, and if they were searched."""
        rates = sorted({run.lr for run in self.runs if run.lr is not None})
        found = sum(run.searched for run in self.runs)
        some = "" if found == len(self.runs) else f" in {found} of {len(self.runs)} runs"
        how = f" (searched{some})" if found else ""
        return " to ".join(f"{rate:g}" for rate in dict.fromkeys([*rates[:1], *rates[-1:]])) + how

    @property
    def adapted(self) -> int:
        """Trained parameters, the head left out."""
        return self.runs[0].result["parameters"]["adapted"]


@dataclass(frozen=True)
class Collection:
    """What a folder of results holds."""

    columns: tuple[str, ...]  # the settings that set the cells apart
    cells: tuple[Cell, ...]  # sorted by their labels
    # The test metric that is reported, then others that papers report and all runs have.
    metrics: tuple[str, ...]
    unreadable: tuple[str, ...] = field(default=())  # results that say nothing, and why
    # Of runs that repeat another one's setting, seed and fold: two of a kind are no two samples.
    repeated: tuple[str, ...] = field(default=())

    @property
    def metric(self) -> str:
        """The test metric that is reported."""
        return self.metrics[0]

    def label(self, cell: Cell) -> str:
        """A cell's setting in a few words."""
        parts = []
        for column, label in zip(self.columns, cell.labels, strict=True):
            if isinstance(label, str):
                # Of a path its end, which leaves room in a picture; the table has all of it.
                parts.append(label.rpartition("/")[2] or label)
            elif label is not None:
                whole = isinstance(label, int) and not isinstance(label, bool)
                shown = f"{label:,}" if whole else f"{label}"
                parts.append(f"{heading(column)} {shown}")
        return ", ".join(parts)

    def method_of(self, cell: Cell) -> str:
        """The name of a cell's method, and what sets it apart from others of that name at its budget."""
        found = SIZES if "adapter_budget" in self.columns else ()
        named = zip(self.columns, cell.labels, strict=True)
        parts = [
            label if isinstance(label, str) else f"{heading(column)} {label}"
            for column, label in named
            if is_own(column) and column not in found and label is not None
        ]
        if not any(column == "adapter" or column.startswith(VARIANT) for column in self.columns):
            parts.insert(0, str(cell.runs[0].settings.get("adapter")))
        return ", ".join(parts)

    def task_of(self, cell: Cell) -> tuple[Any, ...]:
        """A cell's task: all settings but its method's own and its budget."""
        named = zip(self.columns, cell.labels, strict=True)
        return tuple(
            label for column, label in named if not is_own(column) and column != "adapter_budget"
        )

    def rivals_of(self, cell: Cell) -> list[Cell]:
        """The cells of its task; where no task has two, as in a comparison of encoders, of its data."""
        if len({self.task_of(one) for one in self.cells}) == len(self.cells):
            return [one for one in self.cells if one.runs[0].data == cell.runs[0].data]
        return [one for one in self.cells if self.task_of(one) == self.task_of(cell)]

    def budget_of(self, cell: Cell) -> int | None:
        """A cell's budget, where budgets set cells apart."""
        return dict(zip(self.columns, cell.labels, strict=True)).get("adapter_budget")


def is_own(column: str) -> bool:
    """Whether a setting belongs to a method."""
    return column in _OWN or column.startswith((METHOD, VARIANT))


def heading(column: str) -> str:
    """What a column is called."""
    return column.removeprefix(METHOD).removeprefix(VARIANT)


def collect(
    paths: Iterable[Path],
    metric: str | None = None,
    only: Mapping[str, str] | None = None,
    variants: Mapping[str, Mapping[str, str]] | None = None,
) -> Collection:
    """Read results, of some settings `only` those with one of these values, by commas, and gather them.

    `variants` names their methods (`mambadapter.report.variants.variants_of`); a run that is not among them
    goes by the name of its adapter.
    """
    variants = variants or {}
    lists = list(dict.fromkeys(key for names in variants.values() for key in names))
    runs, unreadable = [], []
    for name, result in (pair for path in sorted(paths) for pair in read_results(path)):
        run = None if result is None else _run(name, result)
        if run is not None and lists:
            adapter = dict.fromkeys(lists, run.settings.get("adapter"))
            names = variants.get(without_digest(name), adapter)
            named = {f"{VARIANT}{key}": names[key] for key in lists}
            run = replace(run, settings={**run.settings, **named})
        if run is None:
            unreadable.append(f"{name} cannot be read")
        elif bad := run.not_numbers:
            unreadable.append(f"{name} has no number for {', '.join(bad)}")
        elif "test" in run.result["metrics"]:
            runs.append(run)
    if not runs:
        raise UserError(
            "There is no result of a tested run there; give the folder of a sweep or of results."
            + "".join(f"\n{said}" for said in unreadable)
        )
    for key, wanted in (only or {}).items():
        runs = _with(runs, key, wanted)
    shared = set.intersection(*(set(run.result["metrics"]["test"]) for run in runs))
    metric = metric or headline(dict.fromkeys(shared))
    if metric is None or metric not in shared:
        raise UserError(
            f"The results do not share the metric '{metric}'; they share {', '.join(sorted(shared))}."
        )
    others = (name for name in HEADLINES if name in shared and name != metric)
    runs, repeated = _settle_rates(_with_seeds_in_names(runs))
    columns = _columns(runs, first=[f"{VARIANT}{key}" for key in lists])
    grouped: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        grouped[tuple(run.settings.get(column) for column in columns)].append(run)
    cells = (
        Cell(labels, tuple(sorted(group, key=lambda run: _sortable(run.repetition))))
        for labels, group in grouped.items()
    )
    said = dict.fromkeys(name for names in variants.values() for name in names.values())
    place = {name: number for number, name in enumerate(said)}

    def in_order(cell: Cell) -> tuple:
        named = zip(columns, cell.labels, strict=True)
        return _sortable(
            [
                place.get(label, label) if column.startswith(VARIANT) else label
                for column, label in named
            ]
        )

    ordered = tuple(sorted(cells, key=in_order))
    return Collection(columns, ordered, (metric, *others), tuple(unreadable), tuple(repeated))


def _with(runs: Sequence[Run], key: str, text: str) -> list[Run]:
    """The runs that have one of these values, as texts, of a setting; each value is one of some run."""
    known = {name for run in runs for name in run.settings}
    called = {heading(name): name for name in sorted(known, key=lambda name: heading(name) == name)}
    if key not in known | called.keys():
        raise UserError(f"--only: there is no setting '{key}'; {did_you_mean(key, known)}.")
    key = key if key in known else called[key]
    wanted = picked(key, text, (run.settings.get(key) for run in runs))
    return [run for run in runs if str(run.settings.get(key)) in wanted]


def _run(name: str, result: Mapping[str, Any]) -> Run | None:
    try:
        settings = dict(_flat(result["config"]))
        # Results of before `method` was written have it as the YAML does, below the class.
        ((made, written),) = (result["config"].get("method") or {"": result["method"]}).items()
        method = result.get("method") or written
        # Of before a setting came they have its default, which leaves a method as it was. What else a file
        # of results names is not imported.
        if made.startswith("!new:mambadapter."):
            method = {**defaults_of(made.removeprefix("!new:")), **method}
        settings |= {f"{METHOD}{key}": _hashable(value) for key, value in method.items()}
        _ = result["metrics"], result["parameters"]["adapted"]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    prepared = next((key for key in result["config"].get("prepare", {})), "")
    settings["recipe"] = prepared.rpartition(".prepare_")[2] or None
    # The name of its folder: where a corpus lies is no setting, but another corpus is another task.
    settings["corpus"] = result.get("corpus")
    if settings.get("head_lr") == settings.get("lr"):
        settings.pop("head_lr", None)  # it is the method's, and no setting beside it
    return Run(name, result, settings)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _hashable(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _flat(node: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Plain top-level settings; what hangs below others follows from these or from the method."""
    yield "language", node.get("language", {}).get("code")
    yield from ((f"hours.{split}", hours) for split, hours in node.get("hours", {}).items())
    for key, value in node.items():
        if key not in _DERIVED and not isinstance(value, dict | list):
            yield key, value


def _with_seeds_in_names(runs: Sequence[Run]) -> list[Run]:
    """Give encoders that differ by the seed of their run alone, ``random-1`` and ``random-2``, one name."""
    names = [
        re.sub(rf"\b{run.settings.get('seed')}$", "{seed}", str(run.settings.get("encoder")))
        for run in runs
    ]
    encoders: dict[str, set] = defaultdict(set)
    for run, name in zip(runs, names, strict=True):
        encoders[name].add(run.settings.get("encoder"))
    return [
        replace(run, settings={**run.settings, "encoder": name}) if len(encoders[name]) > 1 else run
        for run, name in zip(runs, names, strict=True)
    ]


def _settle_rates(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Decide where the learning rate is a setting, and leave out runs that repeat others; name these.

    It is one in a grid, where some seed was set to several rates. Elsewhere it belongs to the method, however
    it was found: a seed that searched for it and seeds that were set to what was found are one row.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[_setting({k: v for k, v in run.settings.items() if k != "lr"})].append(run)
    kept: dict[str, Run] = {}
    repeated = []
    for group in groups.values():
        grid = _is_grid(group)
        # What was searched first: of two runs of one seed it had no hint from elsewhere.
        for run in sorted(group, key=lambda run: not run.searched):
            settings = {key: value for key, value in run.settings.items() if key != "lr"}
            if grid:
                settings["lr"] = run.lr
            key = json.dumps(settings, sort_keys=True, default=str)
            if key in kept:
                repeated.append(f"{run.name} (as {kept[key].name})")
            else:
                kept[key] = replace(run, settings=settings)
    return list(kept.values()), repeated


def _is_grid(group: Sequence[Run]) -> bool:
    rates: dict[tuple, set] = defaultdict(set)
    for run in group:
        if not run.searched:
            rates[run.repetition].add(run.lr)
    return any(len(of_one) > 1 for of_one in rates.values())


def _setting(settings: Mapping[str, Any]) -> str:
    """What is trained, seeds and folds aside."""
    kept = {key: value for key, value in settings.items() if key not in _REPEATED}
    return json.dumps(kept, sort_keys=True, default=str)


def _columns(runs: Sequence[Run], first: Sequence[str]) -> tuple[str, ...]:
    """Settings that differ, less those that follow from the ones before."""
    keys = {key for run in runs for key in run.settings} - set(_REPEATED)
    ordered = [key for key in (*first, *_FIRST) if key in keys]
    ordered += sorted(
        keys - {*first, *_FIRST}, key=lambda key: (key == "lr", key.startswith(METHOD), key)
    )
    columns: list[str] = []
    for key in ordered:
        values: dict[tuple, set] = defaultdict(set)
        for run in runs:
            kept = tuple(run.settings.get(column) for column in columns)
            values[kept].add(json.dumps(run.settings.get(key), default=str))
        if any(len(different) > 1 for different in values.values()):
            columns.append(key)
    # A single setting still has a name.
    return tuple(columns or [key for key in ("adapter",) if key in keys])


def _sortable(values: Sequence[Any]) -> tuple:
    return tuple((isinstance(v, str), v is not None, v if v is not None else 0) for v in values)
