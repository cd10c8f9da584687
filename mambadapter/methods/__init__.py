"""What a YAML names: where branches go, what is trained and what stays frozen."""

from dataclasses import asdict
from typing import Any

from mambadapter.methods.backbone import BitFit, FullFinetuning, LinearProbe, WeightedSum
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.low_rank import DoRA, LoRA
from mambadapter.methods.menu import read_menu
from mambadapter.methods.mamba import IdentityBottlenecks, MambAdapters
from mambadapter.methods.prompts import PrefixTuning, PromptTuning
from mambadapter.methods.side import Bottlenecks, ConformerAdapters, Convpasses
from mambadapter.validators import one_of

METHODS = {
    method.__name__: method
    for method in (
        MambAdapters,
        IdentityBottlenecks,
        Bottlenecks,
        ConformerAdapters,
        Convpasses,
        LoRA,
        DoRA,
        PromptTuning,
        PrefixTuning,
        BitFit,
        WeightedSum,
        LinearProbe,
        FullFinetuning,
    )
}

# The entries of hparams/adapters.yaml, without their learning rates.
MENU: dict[str, Any] = read_menu(METHODS)

__all__ = ["MENU", "METHODS", "TrainedCount", *METHODS, "method_from_dict", "method_to_dict"]


def method_to_dict(method: Any) -> dict[str, Any]:
    """Write a method down so that `method_from_dict` makes it again.

    Example
    -------
    >>> method_from_dict(method_to_dict(LinearProbe())) == LinearProbe()
    True
    """
    return {"name": type(method).__name__, **asdict(method)}


def method_from_dict(written: dict[str, Any]) -> Any:
    """Make a method from what `method_to_dict` wrote.

    Raises
    ------
    UserError
        If the method is unknown to this version.
    """
    arguments = dict(written)
    name = arguments.pop("name", None)
    one_of("method", name, METHODS)
    return METHODS[name](**arguments)
