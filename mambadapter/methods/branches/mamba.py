"""MambAdapter: down-projection, a small Mamba block, up-projection (arXiv 2606.15638, section 2)."""

from torch import Tensor, nn

from mambadapter.methods.branches.bottleneck import project_up
from mambadapter.ssm import Mamba


class MambAdapter(nn.Module):
    """The branch ``delta = alpha * W_up(dropout(Mamba(W_down(x))))``.

    The branch holds its projections by reference: hand the same two to every branch of an encoder
    and they are shared, as in the paper; hand each its own and they are not.

    Parameters
    ----------
    down : nn.Linear
        W_down, d to r.
    up : nn.Linear
        W_up, r to d.
    mamba : Mamba
        The block that scans forward in time, d_model = r.
    backward_mamba : Mamba, optional
        A block that scans backward in time, added to the forward one; the same object as `mamba`
        shares its parameters. Beyond the paper: the encoders adapted here are not causal.
    alpha : nn.Parameter, optional
        Scalar scale of this branch. None leaves the scale to W_up.
    dropout : float
        Probability, between the Mamba block and W_up.

    Example
    -------
    >>> import torch
    >>> branch = MambAdapter(nn.Linear(32, 4), nn.Linear(4, 32), Mamba(4))
    >>> branch(torch.randn(2, 50, 32), lengths=torch.tensor([50, 20])).shape
    torch.Size([2, 50, 32])
    """

    def __init__(
        self,
        down: nn.Linear,
        up: nn.Linear,
        mamba: Mamba,
        backward_mamba: Mamba | None = None,
        alpha: nn.Parameter | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.down = down
        self.mamba = mamba
        self.backward_mamba = backward_mamba
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
            (B,) valid frames; None when nothing is padded.

        Returns
        -------
        Tensor
            (B, T, d), to be added to the sub-layer's output.
        """
        low = self.down(hidden)
        mixed = self.mamba(low, lengths)
        if self.backward_mamba is not None:
            mixed = mixed + self.backward_mamba(low, lengths, reverse=True)
        return project_up(self.dropout(mixed), self.up, self.alpha)
