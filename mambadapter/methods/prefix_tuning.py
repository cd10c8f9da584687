"""Prefix tuning: trained keys and values that every attention sees (arXiv 2101.00190)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mambadapter.encoders.prefixing import attend_to_prefixes
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.methods.base import FinalNormMethod, register
from mambadapter.validators import positive_integer


class Prefix(nn.Module):
    """Keys and values that an attention sees beside those of the frames (arXiv 2101.00190)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.empty(length, width))
        self.values = nn.Parameter(torch.empty(length, width))
        for parameter in (self.keys, self.values):
            nn.init.normal_(parameter, std=width**-0.5)

    @property
    def length(self) -> int:
        """P."""
        return self.keys.shape[0]

    def forward(self, clips: int, heads: int) -> tuple[Tensor, Tensor]:
        """Keys and values, each (clips, heads, P, d / heads)."""
        keys, values = (
            vectors.view(self.length, heads, -1).transpose(0, 1).expand(clips, -1, -1, -1)
            for vectors in (self.keys, self.values)
        )
        return keys, values


@register
@dataclass(frozen=True)
class PrefixTuning(FinalNormMethod):
    """Trained keys and values that every attention sees (Li & Liang 2021, arXiv 2101.00190).

    They are trained directly, without the paper's reparametrisation through an MLP.

    Parameters
    ----------
    length : int
        P, how many keys, and how many values, in each layer. 12 give the count of "24 prefixes".
    norms : str
        As in `PromptTuning`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> PrefixTuning(length=12).norms
    'final'
    """

    length: int = 12

    starts_as_frozen: ClassVar[bool] = False
    size: ClassVar[str | None] = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("length", self.length)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the prefixes and set free what learns."""
        attend_to_prefixes(encoder, lambda: Prefix(self.length, encoder.width))
        super().adapt(encoder)
