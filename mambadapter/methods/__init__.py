"""What a YAML names: where branches go, what is trained and what stays frozen."""

from dataclasses import asdict
from typing import Any

from mambadapter.methods.base import Method
from mambadapter.methods.bitfit import BitFit
from mambadapter.methods.bottleneck import Bottlenecks
from mambadapter.methods.conformer import ConformerAdapters
from mambadapter.methods.convpass import Convpasses
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.dora import DoRA
from mambadapter.methods.full_finetuning import FullFinetuning
from mambadapter.methods.identity_bottleneck import IdentityBottlenecks
from mambadapter.methods.linear_probe import LinearProbe
from mambadapter.methods.lora import LoRA
from mambadapter.methods.mambadapter import MambAdapters
from mambadapter.methods.menu import read_menu
from mambadapter.methods.prefix_tuning import PrefixTuning
from mambadapter.methods.prompts import PromptTuning
from mambadapter.methods.weighted_sum import WeightedSum
from mambadapter.validators import one_of

METHODS: dict[str, type[Method]] = {
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
MENU: dict[str, Method] = read_menu(METHODS)

__all__ = ["MENU", "METHODS", "TrainedCount", *METHODS, "method_from_dict", "method_to_dict"]


def method_to_dict(method: Method) -> dict[str, Any]:
    """Write a method down so that `method_from_dict` makes it again.

    Example
    -------
    >>> method_from_dict(method_to_dict(LinearProbe())) == LinearProbe()
    True
    """
    return {"name": type(method).__name__, **asdict(method)}


def method_from_dict(written: dict[str, Any]) -> Method:
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
