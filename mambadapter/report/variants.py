"""What a sweep's file plans, and calls the runs that a report has read."""

from collections import Counter
from collections.abc import Collection, Mapping

from mambadapter.errors import UserError
from mambadapter.experiments.sweep_file import Sweep, without_digest
from mambadapter.report.collect import is_own


def variants_of(sweep: Sweep) -> dict[str, dict[str, str]]:
    """By the name of each run's folder without its digest: the names of its method, by the list's key.

    In the order of the file. Named are the lists of which every name stands for settings of a method, such as
    ``variant: {plain: {adapter: lora}, wide: {adapter: lora, adapter.rank: 64}}``.

    Raises
    ------
    UserError
        If folders of different variants are called the same.

    Example
    -------
    >>> from pathlib import Path
    >>> sweep = Sweep("small", (Path("recipe"),), "train.py", "train.yaml", Path("results"), {},
    ...               {"variant": {"plain": {"adapter": "lora"}}, "seed": [1]})
    >>> variants_of(sweep)
    {'recipe-plain-1': {'variant': 'plain'}}
    """
    lists = [
        key
        for key, named in sweep.cross.items()
        if isinstance(named, Mapping) and all(map(_of_a_method, named.values()))
    ]
    names: dict[str, dict[str, str]] = {}
    for folder, values in sweep.chosen():
        named = {key: str(values[key]) for key in lists}
        if names.setdefault(folder, named) != named:
            raise UserError(
                f"{sweep.name}: runs of {named} and of {names[folder]} are both called '{folder}'; give them "
                "names that differ after the last '/', and not in where a '-' is."
            )
    return names


def missing_of(sweep: Sweep, names: Collection[str]) -> list[str]:
    """The runs that a sweep plans and that are not among these, whatever their digests."""
    planned = [trial.name for trial in sweep.trials()]
    others = Counter(map(without_digest, set(names) - set(planned)))
    missing = []
    for name in planned:
        if name in names:
            continue
        others[without_digest(name)] -= 1
        if others[without_digest(name)] < 0:
            missing.append(name)
    return missing


def _of_a_method(settings: Mapping[str, object]) -> bool:
    return all(key.startswith("adapter.") or is_own(key) for key in settings)
