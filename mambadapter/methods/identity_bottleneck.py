"""The ablation of the MambAdapter: the identity where each Mamba block stands."""

from dataclasses import dataclass

from torch import Tensor, nn

from mambadapter.methods.base import register
from mambadapter.methods.shared_projections import SharedProjections, project_up


class IdentityBottleneck(nn.Module):
    """The branch ``delta = alpha * W_up(dropout(W_down(x)))``.

    It is linear in what it reads, and no frame sees another. Projections are held by reference, as in
    `mambadapter.methods.mambadapter.MambAdapter`.

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


@register
@dataclass(frozen=True)
class IdentityBottlenecks(SharedProjections):
    """The ablation of `MambAdapters`: the identity where each Mamba block stands, all else the same.

    Built from the same seed, the shared projections start with the same weights.

    Parameters
    ----------
    placement, rank, shared, insertion, alpha, dropout, norms
        As in `MambAdapters`; the dropout is between the projections.
    initialisation : str
        Of the projections: ``unit_variance`` or ``official``, as in `MambAdapters`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> IdentityBottlenecks(placement="houlsby").rank
    12
    """

    def around(
        self, down: nn.Linear, up: nn.Linear, alpha: nn.Parameter | None
    ) -> IdentityBottleneck:
        """Make a branch around these projections."""
        return IdentityBottleneck(down, up, alpha, self.dropout)
