"""Trained vectors that stand beside a clip's frames: prompts, and prefixes of the attention."""

import torch
from torch import Tensor, nn


class Prompt(nn.Module):
    """Vectors in front of a clip's frames (visual prompt tuning, arXiv 2203.12119, section 3.2).

    They start with a norm of about 1.

    Parameters
    ----------
    count : int
        P.
    width : int
        Channels, d.

    Example
    -------
    >>> Prompt(25, 32)(clips=2).shape
    torch.Size([2, 25, 32])
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(count, width))
        nn.init.normal_(self.vectors, std=width**-0.5)

    def forward(self, clips: int) -> Tensor:
        """(clips, P, d)."""
        return self.vectors.expand(clips, -1, -1)


class Prefix(nn.Module):
    """Keys and values that an attention sees beside those of the frames (arXiv 2101.00190).

    Parameters
    ----------
    length : int
        P.
    width : int
        Channels of all heads, d.

    Example
    -------
    >>> keys, values = Prefix(12, 32)(clips=2, heads=4)
    >>> keys.shape
    torch.Size([2, 4, 12, 8])
    """

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
        return tuple(
            vectors.view(self.length, heads, -1).transpose(0, 1).expand(clips, -1, -1, -1)
            for vectors in (self.keys, self.values)
        )
