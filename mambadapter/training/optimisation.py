"""Parameter groups and the learning-rate schedule."""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.errors import UserError
from mambadapter.ssm import Mamba

_FUSED_ON = ("cpu", "cuda")


def parameter_groups(
    model: nn.Module, settings: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Gather what learns into groups, each with its learning rate and weight decay.

    Only matrices decay. Of a Mamba block, A_log and D never do: pulled to zero they would change the memory
    of the scan, not its size (Gu & Dao 2023, official code).

    Parameters
    ----------
    model : nn.Module
        Encoder and head.
    settings : Mapping[str, Mapping[str, float]]
        ``lr`` and ``weight_decay`` of `mambadapter.config.schema.PARAMETER_GROUPS`.

    Returns
    -------
    list[dict[str, Any]]
        What a torch optimiser takes, each group under its ``name``.

    Raises
    ------
    UserError
        If a group that learns has no settings.
    """
    kinds = _kinds(model)
    members = defaultdict(list)
    for name in sorted({kinds[id(p)] for p in model.parameters() if p.requires_grad}):
        if name not in settings:
            raise UserError(f"parameter_groups lacks '{name}', which this model trains.")
    for parameter in model.parameters():
        if parameter.requires_grad:
            kept = parameter.dim() < 2 or getattr(parameter, "_no_weight_decay", False)
            members[kinds[id(parameter)], kept].append(parameter)
    return [
        {
            "name": name,
            "params": parameters,
            "lr": settings[name]["lr"],
            "weight_decay": 0.0 if kept else settings[name]["weight_decay"],
        }
        for (name, kept), parameters in members.items()
    ]


def _kinds(model: nn.Module) -> dict[int, str]:
    """The group of each parameter, by its identity; of several, the innermost."""
    kinds = {id(p): "head" for p in model.parameters()}
    for stack in (part for part in model.modules() if isinstance(part, AdaptedStack)):
        kinds.update({id(p): "encoder" for p in stack.backbone.parameters()})
        norms = (part for part in stack.backbone.modules() if isinstance(part, nn.LayerNorm))
        kinds.update({id(p): "norms" for norm in norms for p in norm.parameters()})
        kinds.update({id(p): "branches" for p in stack.branches.parameters()})
    blocks = (part for part in model.modules() if isinstance(part, Mamba))
    kinds.update({id(p): "scan" for block in blocks for p in block.scan_parameters()})
    return kinds


def optimiser_of(
    opt_class: Callable[..., torch.optim.Optimizer], groups: list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """The optimiser of parameter groups, with torch's one kernel for all of them where its class has one.

    A method trains many small tensors: one at a time, a step on them costs a CPU five times as much, and a
    GPU as many launches.

    Parameters
    ----------
    opt_class : Callable
        The class, or a partial of it; one that says ``fused`` or ``foreach`` keeps that.
    groups : list[dict[str, Any]]
        Of `parameter_groups`.

    Example
    -------
    >>> optimiser_of(torch.optim.AdamW, [{"params": [nn.Parameter(torch.zeros(2))]}]).defaults["fused"]
    True
    """
    given = getattr(opt_class, "keywords", {})
    known = inspect.signature(opt_class).parameters
    parameters = (parameter for group in groups for parameter in group["params"])
    served = all(one.is_floating_point() and one.device.type in _FUSED_ON for one in parameters)
    if served and "fused" in known and not {"fused", "foreach"} & given.keys():
        return opt_class(groups, fused=True)
    return opt_class(groups)


def schedule(
    name: str, warmup: float, total_steps: int, least_warmup: int = 0
) -> Callable[[int], float]:
    """What each optimiser step multiplies the learning rates by: a function of the step alone.

    So resuming needs no state. The shapes are transformers'.

    Parameters
    ----------
    name : str
        ``cosine`` or ``linear``, down to 0 at the end, or ``constant``.
    warmup : float
        Share of the steps over which the factor rises from 0 to 1; 0: it begins at 1.
    total_steps : int
        Steps of the run.
    least_warmup : int
        Steps that a warm-up has at the least, or a third of the run. Adam's first steps are as long as its
        later ones, on averages of few gradients, however short the run is (Ma and Yarats 2021, arXiv
        1910.04209).

    Example
    -------
    >>> factor = schedule("cosine", 0.1, 100)
    >>> factor(0), factor(10), round(factor(55), 6)
    (0.0, 1.0, 0.5)
    """
    placeholder = torch.optim.SGD([torch.zeros(1)])
    name = "constant_with_warmup" if name == "constant" else name
    steps = warmup_steps(warmup, total_steps, least_warmup)
    scheduler = get_scheduler(name, placeholder, steps, total_steps)
    return scheduler.lr_lambdas[0]


def warmup_steps(warmup: float, total_steps: int, least_warmup: int) -> int:
    """Over how many steps learning rates rise: a share, or the least in short runs (`schedule`).

    Example
    -------
    >>> warmup_steps(0.1, 400, 15), warmup_steps(0.1, 48, 15), warmup_steps(0.1, 30, 15)
    (40, 15, 10)
    """
    steps = math.floor(warmup * total_steps)
    return max(steps, min(least_warmup, total_steps // 3)) if warmup else 0
