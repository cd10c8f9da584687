"""MambAdapter: parameter-efficient transfer learning for speech and audio.

The names below are the public API; each is imported when it is first asked for, so that `import mambadapter`
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambadapter.budget.count import ParameterCount, count_parameters
    from mambadapter.budget.search import fit_to_budget
    from mambadapter.encoders.adapt import adapt
    from mambadapter.encoders.adapted import AdaptedEncoder
    from mambadapter.encoders.trained import load, save
    from mambadapter.errors import UserError
    from mambadapter.heads import CTCHead, PooledClassifier
    from mambadapter.methods import (
        BitFit,
        Bottlenecks,
        ConformerAdapters,
        Convpasses,
        DoRA,
        FullFinetuning,
        IdentityBottlenecks,
        LinearProbe,
        LoRA,
        MambAdapters,
        PrefixTuning,
        PromptTuning,
        WeightedSum,
    )

__version__ = "0.1.0"

_METHODS = """
BitFit Bottlenecks ConformerAdapters Convpasses DoRA FullFinetuning IdentityBottlenecks LinearProbe LoRA
MambAdapters PrefixTuning PromptTuning WeightedSum
""".split()

# Where each public name is defined.
_HOMES = {
    "adapt": "encoders.adapt",
    "AdaptedEncoder": "encoders.adapted",
    "CTCHead": "heads",
    "ParameterCount": "budget.count",
    "PooledClassifier": "heads",
    "UserError": "errors",
    "count_parameters": "budget.count",
    "fit_to_budget": "budget.search",
    "load": "encoders.trained",
    "save": "encoders.trained",
    **dict.fromkeys(_METHODS, "methods"),
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mambadapter' has no attribute '{name}'")
    return getattr(import_module(f"mambadapter.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
