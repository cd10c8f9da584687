"""From one command to the runs it stands for: one, every fold, or several learning rates."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from mambadapter.config import Experiment, load_experiment, read_experiment, start_experiment
from mambadapter.config.files import tag_of
from mambadapter.errors import DivergedError, UserError
from mambadapter.experiments.trials import VALIDATE_ONLY
from mambadapter.metrics.confusion import pooled
from mambadapter.metrics.intervals import mean_and_half_width
from mambadapter.metrics.names import headline
from mambadapter.training.result import read_result
from mambadapter.training.selection import validation_rank
from mambadapter.utils.files import write_json

logger = logging.getLogger(__name__)

Train = Callable[[Experiment, bool], None]

# What a run's result says of its own clips, of which a result over folds has a list.
_OF_EACH_FOLD = ("calibration", "labels")


def run(argv: Sequence[str], contract: Iterable[str], train: Train) -> None:
    """Train what a command line asks for.

    With ``test_fold: all`` every fold, one after the other, each in ``fold<k>`` below the output folder,
    with fresh weights; ``result.json`` then holds the mean over folds. With ``lr_search: N`` at N learning
    rates, each in ``lr/<lr>``; the best on validation data is tested, and no other ever is. Both together
    search in each fold. With ``--validate_only`` nothing is tested; the same command without it then tests,
    and trains nothing again. What is done is not done again.
    """
    contract = tuple(contract)
    test = VALIDATE_ONLY not in argv
    argv = [part for part in argv if part != VALIDATE_ONLY]
    experiment = read_experiment(argv, contract)
    if experiment.config.get("test_fold") != "all" or not experiment.config.get("folds"):
        _run_one(experiment, argv, contract, train, test)
    elif test:
        _run_folds(experiment, argv, contract, train)
    else:
        raise UserError(
            f"{VALIDATE_ONLY} leaves nothing to average over folds; give --test_fold 1."
        )


def candidates(lr: float, tries: int) -> list[float]:
    """Learning rates around one, a factor of 2 apart; an odd number of them holds it."""
    return [float(f"{lr * 2 ** (index - (tries - 1) / 2):.3g}") for index in range(tries)]


def _run_one(
    experiment: Experiment,
    argv: Sequence[str],
    contract: Sequence[str],
    train: Train,
    test: bool = True,
) -> None:
    if experiment.config["lr_search"]:
        _search(experiment, argv, contract, train, test)
    else:
        _train(argv, contract, train, test)


def _train(argv: Sequence[str], contract: Sequence[str], train: Train, test: bool) -> None:
    experiment = load_experiment(argv, contract)
    start_experiment(experiment)
    train(experiment, test)
    ddp_barrier()  # the others read what the main process wrote


def _run_folds(
    experiment: Experiment, argv: Sequence[str], contract: Sequence[str], train: Train
) -> None:
    results = []
    for fold in range(1, experiment.config["folds"] + 1):
        below = [
            *argv,
            "--test_fold",
            str(fold),
            "--output_folder",
            str(experiment.folder / f"fold{fold}"),
        ]
        one = read_experiment(below, contract)
        if read_result(one) is None:
            _run_one(one, below, contract, train)
        results.append(_result(one))
    start_experiment(experiment)
    scores = [result["metrics"]["test"] for result in results]
    summary = {
        name: _spread([score[name] for score in scores])
        for name in scores[0]
        if name != "clips" and not name.endswith(("_low", "_high"))
        if all(name in score for score in scores)  # earlier versions wrote fewer
    }
    _write(experiment, {
        **results[0],
        "metrics": {"test": {**_flattened(summary), "clips": sum(s["clips"] for s in scores)}},
        "best_epoch": [result["best_epoch"] for result in results],
        "wall_time_s": round(sum(result["wall_time_s"] for result in results), 1),
        "folds": scores,
        **{name: [one.get(name) for one in results] for name in _OF_EACH_FOLD if name in results[0]},
        **_confused(results),
        "learned": all(result.get("learned", True) for result in results),
    })  # fmt: skip
    shown = cast(str, headline(summary))
    for fold, score in enumerate(scores, start=1):
        logger.info("fold %d: test %s %.2f %%", fold, shown, 100 * score[shown])
    mean, std, low, high = summary[shown]
    logger.info(
        "%d folds: test %s %.2f %%, std %.2f, 95 %% interval %.2f to %.2f",
        len(scores), shown, 100 * mean, 100 * std, 100 * low, 100 * high,
    )  # fmt: skip


def _confused(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The worst pairs over folds, of a task that has some."""
    lists = [result["worst_confused"] for result in results if "worst_confused" in result]
    return {"worst_confused": pooled(lists)} if lists else {}


def _spread(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean, standard deviation, and the ends of the mean's 95 % interval."""
    mean, half = mean_and_half_width(values)
    return mean, float(np.std(values, ddof=1)), mean - half, mean + half


def _flattened(summary: dict[str, tuple[float, float, float, float]]) -> dict[str, float]:
    ends = ("", "_std", "_low", "_high")
    return {
        f"{name}{end}": value
        for name, values in summary.items()
        for end, value in zip(ends, values, strict=True)
    }


def _search(
    experiment: Experiment,
    argv: Sequence[str],
    contract: Sequence[str],
    train: Train,
    test: bool,
) -> None:
    tried = dict(_tried(experiment, argv, contract, train))
    finished = {lr: result for lr, (_, result) in tried.items() if "diverged" not in result}
    if not finished:
        raise UserError(
            f"Training diverged at every learning rate of the search ({', '.join(map(str, tried))}); "
            f"give a smaller {_rate_option(experiment)}."
        )
    # Ties by loss, then the smaller rate, which comes first.
    best = max(finished, key=lambda lr: validation_rank(finished[lr]["metrics"]["valid"]))
    below, _ = tried[best]
    winner = read_experiment(below, contract)
    if test and "test" not in finished[best]["metrics"]:
        _train(below, contract, train, test=True)
    start_experiment(experiment)
    result = _result(winner)
    search = [
        {"lr": lr, "valid": one["metrics"]["valid"]}
        if lr in finished
        else {"lr": lr, **_failure(one)}
        for lr, (_, one) in tried.items()
    ]
    seconds = sum(one.get("wall_time_s", 0) for _, one in tried.values())
    if if_main_process():
        shutil.copytree(
            winner.folder / "adapter", experiment.folder / "adapter", dirs_exist_ok=True
        )
    _write(experiment, {**result, "wall_time_s": round(seconds, 1), "lr_search": search})
    edges = [lr for lr in (min(tried), max(tried)) if lr == best] if len(tried) > 1 else []
    logger.info("Best of %d learning rates on validation data: %g", len(tried), best)
    if edges:
        logger.warning(
            "%g is at the edge of the learning rates tried; a better one may lie beyond. Search around it: "
            "%s %g --lr_search %d", best, _rate_option(experiment), best, len(tried),
        )  # fmt: skip


def _rate_option(experiment: Experiment) -> str:
    # A rate of the whole run goes before the method's.
    return "--adapter.lr" if tag_of(experiment.tree["lr"]) else "--lr"


def _tried(
    experiment: Experiment, argv: Sequence[str], contract: Sequence[str], train: Train
) -> Iterator[tuple[float, tuple[list[str], dict[str, Any]]]]:
    """For each learning rate its command line and its result, trained unless it is there."""
    option = _rate_option(experiment)
    for lr in candidates(experiment.config["lr"], experiment.config["lr_search"]):
        folder = experiment.folder / "lr" / f"{lr:g}"
        below = [*argv, option, str(lr), "--lr_search", "0", "--output_folder", str(folder)]
        one = read_experiment(below, contract)
        if read_result(one) is None:
            try:
                _train(below, contract, train, test=False)
            except DivergedError as error:
                logger.warning("Learning rate %g: %s", lr, error)
                _write(one, {"diverged": str(error)})
        yield lr, (below, _result(one))


def _result(experiment: Experiment) -> dict[str, Any]:
    """What an experiment that was run wrote."""
    result = read_result(experiment)
    assert result is not None
    return result


def _failure(result: dict[str, Any]) -> dict[str, str]:
    return {"diverged": result["diverged"]}


def _write(experiment: Experiment, result: dict[str, Any]) -> None:
    if if_main_process():
        made = {"digest": experiment.digest, "config": experiment.config}
        write_json(experiment.folder / "result.json", {**result, **made})
    ddp_barrier()
