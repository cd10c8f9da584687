"""Settings chosen on validation data before the runs of a sweep, with the same effort for every method.

The first tries are spread evenly over the ranges, alike for every method, so that none is favoured by where
they happen to lie. Optuna proposes the others (Akiba et al. 2019), by a Gaussian process: of its samplers the
one that comes closest to the best value of one setting in three to eight tries.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError, did_you_mean
from mambadapter.experiments.trials import VALIDATE_ONLY, Outcome, Trial
from mambadapter.metrics.names import headline
from mambadapter.training.selection import validation_rank
from mambadapter.utils.files import read_json, write_json

_KEYS = ("tries", "each", "over", "settings")
_RANGE_KEYS = ("low", "high", "log")

_SPREAD = 3  # tries that are spread over the ranges

# How much the second validation metric weighs in what the sampler learns from; the choice compares them
# one after the other.
_SECOND = 1e-3


@dataclass(frozen=True)
class Search:
    """What a sweep file says of its search.

    Attributes
    ----------
    tries : int
        Runs on validation data, the same number for every group.
    each : tuple[str, ...]
        Lists of the sweep; every combination of their values is a group with a search of its own, made
        at the first values of the other lists.
    over : Mapping[str, Any]
        For each setting its values as a list, or a range ``{low: ..., high: ..., log: true}``.
    settings : Mapping[str, Any]
        Of the tries alone, such as fewer epochs.
    """

    tries: int
    each: tuple[str, ...]
    over: Mapping[str, Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """The runs of a sweep that share one search.

    Attributes
    ----------
    key : tuple[str, ...]
        The name of the recipe's folder, and the values of the search's lists.
    first : Trial
        The run that is varied.
    search : Search
        How.
    folder : Path
        Where its tries are, and what came out.
    """

    key: tuple[str, ...]
    first: Trial
    search: Search
    folder: Path

    @property
    def name(self) -> str:
        """For messages and files."""
        return "-".join(Path(part).name for part in self.key)

    @property
    def record(self) -> Path:
        """The file that says what was tried and what was found."""
        said = [self.search.tries, self.search.over, self.first.settings]
        return self.folder / f"{self.name}-{short_digest(said)}.json"

    @property
    def found(self) -> Mapping[str, Any]:
        """The best settings; empty before the search is done."""
        if not self.record.is_file():
            return {}
        mend = "delete it; what is done of the search stays done"
        best = read_json(self.record, mend).get("best")
        if not isinstance(best, dict):
            raise UserError(f"{self.record} has no best settings; {mend}.")
        return best

    def attempt(self, settings: Mapping[str, Any]) -> Trial:
        """The first run with other settings, on validation data alone."""
        changes = {**self.first.settings, **settings}
        name = f"{self.name}-try-{short_digest([self.first.hparams, changes])}"
        output = self.folder / name
        return replace(
            self.first, name=name, settings=changes, output=output, flags=(VALIDATE_ONLY,)
        )


def read_search(path: Path, tree: Any, cross: Mapping[str, Sequence[Any]]) -> Search:
    """Check what a sweep file says of its search."""
    if not isinstance(tree, dict):
        raise UserError(f"{path}: search should have the keys {', '.join(_KEYS)}.")
    for key in tree:
        if key not in _KEYS:
            raise UserError(f"{path}: unknown key 'search.{key}'; {did_you_mean(str(key), _KEYS)}.")
    tries, over = tree.get("tries"), tree.get("over")
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
        raise UserError(f"{path}: search.tries should be a whole number of at least 1.")
    if not isinstance(over, dict) or not over:
        raise UserError(f"{path}: search.over should give a range for each setting.")
    each = tuple(tree.get("each", ["adapter"]))
    for key in each:
        if key not in cross:
            raise UserError(
                f"{path}: search.each names '{key}', no list of `cross`; {did_you_mean(key, cross)}."
            )
    for key, values in over.items():
        if key in cross:
            raise UserError(f"{path}: '{key}' is crossed and searched; take it out of one.")
        _check_range(f"{path}: search.over.{key}", values)
    return Search(tries, each, over, tree.get("settings") or {})


def _check_range(where: str, values: Any) -> None:
    if isinstance(values, list) and values:
        return
    if isinstance(values, dict) and {"low", "high"} <= set(values) <= set(_RANGE_KEYS):
        low, high = values["low"], values["high"]
        numbers = all(isinstance(one, int | float) for one in (low, high))
        if numbers and low < high and (low > 0 or not values.get("log")):
            return
    raise UserError(
        f"{where} should be a list of values, or a range such as {{low: 0.001, high: 0.1, log: true}}, low "
        "before high and above 0 with log."
    )


def run_search(
    group: Group, execute: Callable[[Trial], Outcome], say: Callable[[str], None]
) -> str | None:
    """Try settings on validation data, and write down what was tried and what did best.

    The sampler is seeded and hears the tries in order, so a search that was killed proposes the same again;
    those that are done are read, not run.
    """
    if group.found:
        return None
    study = _study()
    for settings in spread(group.search.over, min(group.search.tries, _SPREAD)):
        study.enqueue_trial(settings)
    tried: list[dict[str, Any]] = []
    for number in range(1, group.search.tries + 1):
        asked = study.ask()
        settings = {key: _proposed(asked, key, of) for key, of in group.search.over.items()}
        outcome = execute(group.attempt(settings))
        result = outcome.trial.read()
        values = ", ".join(f"{key} {value}" for key, value in settings.items())
        if result is None:
            study.tell(asked, state=_failed())
            tried.append({"settings": settings, "failed": outcome.log})
        else:
            valid = result["metrics"]["valid"]
            study.tell(asked, _score(valid))
            tried.append({"settings": settings, "valid": valid})
        score = outcome.status if result is None else f"validation {_shown(valid)}"
        say(f"{group.name}, try {number} of {group.search.tries}: {values}: {score}")
    finished = [one for one in tried if "valid" in one]
    if not finished:
        return tried[-1]["failed"]
    best = max(finished, key=lambda one: validation_rank(one["valid"]))
    write_json(group.record, {"best": best["settings"], "tries": tried})
    for key, of in group.search.over.items():
        given, chosen = [one["settings"][key] for one in finished], best["settings"][key]
        if isinstance(of, dict) and len(finished) > 1 and chosen in (min(given), max(given)):
            say(f"{group.name}: the best {key}, {chosen}, is at the edge of those tried.")
    return None


def spread(over: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Settings in the middle of `count` equal parts of every range, by a Latin hypercube.

    Example
    -------
    >>> spread({"adapter.lr": {"low": 0.001, "high": 1.0, "log": True}}, 1)
    [{'adapter.lr': 0.0316}]
    """
    from scipy.stats import qmc

    points = qmc.LatinHypercube(len(over), scramble=False, rng=0).random(count)
    return [
        {key: _at(share, values) for share, (key, values) in zip(point, over.items(), strict=True)}
        for point in points
    ]


def _at(share: float, values: Any) -> Any:
    """The value at a share of the way through a list or a range."""
    if isinstance(values, list):
        return values[int(share * len(values))]
    low, high = values["low"], values["high"]
    value = low * (high / low) ** share if values.get("log") else low + share * (high - low)
    both = isinstance(low, int) and isinstance(high, int)
    return round(value) if both else float(f"{value:.3g}")


def short_digest(value: Any) -> str:
    """Eight hexadecimal digits that tell settings apart."""
    written = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()[:8]


def _study() -> Any:
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.GPSampler(seed=0, n_startup_trials=_SPREAD)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _failed() -> Any:
    return _optuna().trial.TrialState.FAIL


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "A sweep with a search needs the package optuna; install it: pip install optuna."
        ) from error
    return optuna


def _proposed(asked: Any, key: str, values: Any) -> Any:
    if isinstance(values, list):
        return asked.suggest_categorical(key, values)
    low, high = values["low"], values["high"]
    if isinstance(low, int) and isinstance(high, int):
        return asked.suggest_int(key, low, high, log=values.get("log", False))
    proposed = asked.suggest_float(key, low, high, log=values.get("log", False))
    return float(f"{proposed:.3g}")


def _score(valid: Mapping[str, float]) -> float:
    first, second, *_ = validation_rank(valid)
    return first + _SECOND * second


def _shown(valid: Mapping[str, float]) -> str:
    name = headline(valid) or "loss"
    return f"{name} {100 * valid[name]:.1f} %"
