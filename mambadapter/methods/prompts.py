"""Prompt tuning: trained vectors in front of a clip's frames (arXiv 2203.12119)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mambadapter.encoders.prompting import prepend_prompts
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.methods.base import FinalNormMethod, register
from mambadapter.validators import positive_integer


class Prompt(nn.Module):
    """Vectors in front of a clip's frames (visual prompt tuning, arXiv 2203.12119, section 3.2).

    They start with a norm of about 1.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(count, width))
        nn.init.normal_(self.vectors, std=width**-0.5)

    def forward(self, clips: int) -> Tensor:
        """(clips, P, d)."""
        return self.vectors.expand(clips, -1, -1)


@register
@dataclass(frozen=True)
class PromptTuning(FinalNormMethod):
    """Trained vectors in front of a clip's frames (visual prompt tuning, Jia et al. 2022, arXiv 2203.12119).

    Their outputs are dropped, so the encoder's frames stay as many.

    Parameters
    ----------
    prompts : int
        P, how many vectors; each is as wide as the encoder.
    deep : bool
        False: they enter the first Transformer layer and pass through all (shallow). True: every layer
        gets P vectors of its own in place of those of the layer below.
    norms : str
        ``final`` trains the encoder's last LayerNorm, as in every method of the paper; ``none`` none.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> PromptTuning(prompts=25, deep=True).norms
    'final'
    """

    prompts: int = 25
    deep: bool = False

    starts_as_frozen: ClassVar[bool] = False
    size: ClassVar[str | None] = "prompts"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("prompts", self.prompts)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the prompts and set free what learns."""
        layers = len(encoder.layers) if self.deep else 1
        prepend_prompts(encoder, [Prompt(self.prompts, encoder.width) for _ in range(layers)])
        super().adapt(encoder)
