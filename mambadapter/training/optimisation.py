"""Parameter groups and the learning-rate schedule."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn


def weight_decay_groups(parameters: Iterable[nn.Parameter]) -> list[dict]:
    """Split parameters into those that decay and those that must not.

    A Mamba block marks its A_log and D with ``_no_weight_decay``: pulled to zero they would change
    the memory of the scan, not its size (Gu & Dao 2023, official code).
    """
    learning = [p for p in parameters if p.requires_grad]
    kept = [p for p in learning if getattr(p, "_no_weight_decay", False)]
    decayed = [p for p in learning if not getattr(p, "_no_weight_decay", False)]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def cosine_factor(step: int, total_steps: int) -> float:
    """Cosine annealing from 1 to 0, a function of the step alone, so resuming needs no state."""
    progress = min(step / max(total_steps, 1), 1.0)
    return 0.5 * (1.0 + math.cos(math.pi * progress))
