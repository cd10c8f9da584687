"""Bottlenecks: the field's, and what MambAdapter is when the identity stands where Mamba does."""

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class Bottleneck(nn.Module):
    """The branch ``W_up(dropout(act(W_down(x))))`` (Houlsby et al. 2019, arXiv 1902.00751, section 2.1).

    Parameters
    ----------
    width : int
        Channels, d.
    rank : int
        r.
    activation : str
        A name in `ACTIVATIONS`.
    dropout : float
        Probability, before W_up.

    Example
    -------
    >>> import torch
    >>> Bottleneck(32, 4)(torch.randn(2, 50, 32)).shape
    torch.Size([2, 50, 32])
    """

    def __init__(
        self, width: int, rank: int, activation: str = "relu", dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(rank, width)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Parameters
        ----------
        hidden : Tensor
            (B, T, d).
        lengths : Tensor, optional
            (B,) valid frames; not read, as frames do not mix.

        Returns
        -------
        Tensor
            (B, T, d), to be added to the sub-layer's output.
        """
        return self.up(self.dropout(self.activation(self.down(hidden))))


class IdentityBottleneck(nn.Module):
    """The branch ``delta = alpha * W_up(dropout(W_down(x)))``.

    It is linear in what it reads, and no frame sees another. Projections are held by reference, as in
    `mambadapter.methods.branches.MambAdapter`.

    Parameters
    ----------
    down : nn.Linear
        W_down, d to r.
    up : nn.Linear
        W_up, r to d.
    alpha : nn.Parameter, optional
        Scalar scale of this branch. None leaves the scale to W_up.
    dropout : float
        Probability, between the projections.

    Example
    -------
    >>> import torch
    >>> branch = IdentityBottleneck(nn.Linear(32, 4), nn.Linear(4, 32))
    >>> branch(torch.randn(2, 50, 32), lengths=torch.tensor([50, 20])).shape
    torch.Size([2, 50, 32])
    """

    def __init__(
        self,
        down: nn.Linear,
        up: nn.Linear,
        alpha: nn.Parameter | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.down = down
        self.dropout = nn.Dropout(dropout)
        self.up = up
        self.alpha = alpha

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Parameters
        ----------
        hidden : Tensor
            (B, T, d).
        lengths : Tensor, optional
            (B,) valid frames; not read, as frames do not mix.

        Returns
        -------
        Tensor
            (B, T, d), to be added to the sub-layer's output.
        """
        return project_up(self.dropout(self.down(hidden)), self.up, self.alpha)


def project_up(low: Tensor, up: nn.Linear, alpha: Tensor | None) -> Tensor:
    """Compute ``alpha * W_up(low)``.

    Parameters
    ----------
    low : Tensor
        (B, T, r).
    up : nn.Linear
        W_up, r to d.
    alpha : Tensor or None
        Scalar; None for 1.

    Returns
    -------
    Tensor
        (B, T, d).

    Example
    -------
    >>> import torch
    >>> low, up = torch.randn(2, 50, 4), nn.Linear(4, 32)
    >>> torch.allclose(project_up(low, up, torch.tensor(0.5)), 0.5 * up(low), atol=1e-6)
    True
    """
    if alpha is None:
        return up(low)
    # Scaling the small matrix instead of the (B, T, d) product saves a pass over the activations.
    return F.linear(low, alpha * up.weight, alpha * up.bias)
