"""Low-rank changes of a frozen dense layer, added to its output: LoRA and DoRA."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRank(nn.Module):
    """The branch ``scale B A dropout(x)`` beside a dense layer (LoRA, arXiv 2106.09685, section 4.1).

    A starts as PyTorch's dense layers do, B at zero, as in the paper's code.

    Parameters
    ----------
    inputs, outputs : int
        Of the dense layer.
    rank : int
        r.
    scale : float
        alpha / r.
    dropout : float
        Probability, of what A reads.

    Example
    -------
    >>> branch = LowRank(32, 64, rank=4, scale=2.0)
    >>> branch(torch.randn(2, 50, 32)).shape
    torch.Size([2, 50, 64])
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the change of the layer's output.

        Parameters
        ----------
        hidden : Tensor
            (B, T, inputs), what the layer reads.
        lengths : Tensor, optional
            Not read, as frames do not mix.

        Returns
        -------
        Tensor
            (B, T, outputs).
        """
        return F.linear(self.down(self.dropout(hidden)), self.scale * self.up.weight)


class WeightDecomposed(nn.Module):
    """The change that makes a dense layer's weight W ``m (W + s B A) / ||W + s B A||`` (DoRA, 2402.09353).

    The norm is over the inputs of each output, and a constant in the backward pass (section 4.3); m starts
    as that of W, so the layer starts unchanged.

    Parameters
    ----------
    layer : nn.Linear
        The frozen layer; it is read, not owned.
    rank, scale, dropout
        As in `LowRank`.

    Example
    -------
    >>> layer = nn.Linear(32, 64)
    >>> hidden = torch.randn(2, 50, 32)
    >>> WeightDecomposed(layer, rank=4, scale=2.0)(hidden, layer(hidden)).abs().max().item()
    0.0
    """

    def __init__(self, layer: nn.Linear, rank: int, scale: float, dropout: float = 0.1) -> None:
        super().__init__()
        self.change = LowRank(layer.in_features, layer.out_features, rank, scale, dropout)
        self.magnitude = nn.Parameter(layer.weight.detach().norm(dim=1))
        # Not as a submodule: the frozen weight is the encoder's.
        self.__dict__["layer"] = layer

    def forward(self, hidden: Tensor, output: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the change of the layer's output.

        Parameters
        ----------
        hidden : Tensor
            (B, T, inputs), what the layer reads.
        output : Tensor
            (B, T, outputs), what it emits.
        lengths : Tensor, optional
            Not read, as frames do not mix.

        Returns
        -------
        Tensor
            (B, T, outputs).
        """
        with torch.no_grad():
            change = self.change.scale * self.change.up.weight @ self.change.down.weight
            norm = (self.layer.weight + change).norm(dim=1)
        ratio = self.magnitude / norm
        linear = output if self.layer.bias is None else output - self.layer.bias
        return (ratio - 1) * linear + ratio * self.change(hidden)
