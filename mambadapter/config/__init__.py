"""From a command line and a recipe's YAML to an experiment: overrides, checks, output folder."""

from mambadapter.config.experiment import (
    Experiment,
    load_experiment,
    read_experiment,
    recipe_main,
    start_experiment,
)
from mambadapter.config.menus import choose_method, choose_source

__all__ = [
    "Experiment",
    "choose_method",
    "choose_source",
    "load_experiment",
    "read_experiment",
    "recipe_main",
    "start_experiment",
]
