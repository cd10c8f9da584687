"""What a sweep's file calls the methods that it compares, where it gives them names."""

from collections.abc import Mapping

from mambadapter.experiments.sweep_file import Sweep
from mambadapter.report.collect import is_own


def variants_of(sweep: Sweep) -> dict[str, dict[str, str]]:
    """By the name of each run's folder without its digest: the names of its method, by the list's key.

    In the order of the file. Named are the lists of which every name stands for settings of a method, such as
    ``variant: {plain: {adapter: lora}, wide: {adapter: lora, adapter.rank: 64}}``.

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
    return {name: {key: values[key] for key in lists} for name, values in sweep.chosen()}


def _of_a_method(settings: Mapping[str, object]) -> bool:
    return all(key.startswith("adapter.") or is_own(key) for key in settings)
