"""The ablation of the MambAdapter: the identity where each Mamba block stands."""

from dataclasses import dataclass

from torch import Tensor, nn

from mambadapter.methods.base import register
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.projections import ProjectedBranch
from mambadapter.methods.shared_projections import Projections, SharedProjections, rank_scale


class IdentityBottleneck(ProjectedBranch):
    """The branch ``delta = alpha * W_up(dropout(W_down(x)))``.

    It is linear in what it reads, and no frame sees another. Projections are held by reference, as in
    `mambadapter.methods.mambadapter.MambAdapter`.
    """

    def __init__(
        self,
        down: nn.Linear,
        up: nn.Linear,
        alpha: nn.Parameter | None = None,
        dropout: float = 0.1,
        input_scale: Tensor | None = None,
        batch_norm: FrameBatchNorm | None = None,
    ) -> None:
        super().__init__(down, up, alpha, input_scale, rank_scale(up, input_scale), batch_norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, d).
        """
        return self.out(self.dropout(self.low(hidden, lengths)))


@register
@dataclass(frozen=True)
class IdentityBottlenecks(SharedProjections):
    """The ablation of `MambAdapters`: the identity where each Mamba block stands, all else the same.

    Built from the same seed, the shared projections start with the same weights.

    Parameters
    ----------
    placement, rank, shared, insertion, alpha, dropout, norms, last_layers
        As in `MambAdapters`; the dropout is between the projections.
    scaled_projections, small_weights, batch_norm
        As in `MambAdapters`.
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

    def around(self, projections: Projections, causal: bool) -> IdentityBottleneck:
        """Make a branch around these projections."""
        down, up, alpha, input_scale, batch_norm = projections
        return IdentityBottleneck(down, up, alpha, self.dropout, input_scale, batch_norm)
