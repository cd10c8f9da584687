"""What is left of a Mamba block without its scan: a convolution and a gate."""

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.ssm.arguments import check_lookahead
from mambadapter.utils.masks import valid_only


class GatedConvolution(nn.Module):
    """Input projection, convolution, gate, output projection: `Mamba` with ``y = u`` for the scan.

    Computes ``out_proj(silu(conv(x)) * silu(z))`` with ``x, z = in_proj(input)``. Names, shapes and
    initialisation are `Mamba`'s; there is no x_proj, dt_proj, A_log and D.

    Parameters
    ----------
    d_model : int
        Channels of input and output.
    d_conv : int
        Taps of the convolution.
    expand : float
        Inner channels are ``int(expand * d_model)``.
    lookahead : int
        How many of its taps read frames that are yet to come.

    Raises
    ------
    UserError
        If all taps would.

    Example
    -------
    >>> import torch
    >>> block = GatedConvolution(d_model=12, d_conv=16)
    >>> block(torch.randn(2, 50, 12), lengths=torch.tensor([50, 20]), reverse=True).shape
    torch.Size([2, 50, 12])
    """

    def __init__(
        self, d_model: int, d_conv: int = 4, expand: float = 2, lookahead: int = 0
    ) -> None:
        super().__init__()
        d_inner = int(expand * d_model)
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)
        check_lookahead(lookahead, d_conv)
        self.lookahead = lookahead

    def forward(self, x: Tensor, lengths: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Mix a batch of sequences over time.

        Parameters
        ----------
        x : Tensor
            (B, T, d_model).
        lengths : Tensor, optional
            (B,) valid frames of sequences padded on the right; None when nothing is padded.
        reverse : bool
            The taps look the other way, which is the same over frames from last to first.

        Returns
        -------
        Tensor
            (B, T, d_model).
        """
        value, gate = self.in_proj(x).chunk(2, dim=-1)
        # Taps that look ahead must find beyond a clip's end what they find beyond the batch's: zeros.
        value = valid_only(value, lengths)
        before, after = self.conv1d.kernel_size[0] - 1 - self.lookahead, self.lookahead
        weight = self.conv1d.weight.flip(-1) if reverse else self.conv1d.weight
        padded = F.pad(value.mT, (after, before) if reverse else (before, after))
        mixed = F.conv1d(padded, weight, self.conv1d.bias, groups=self.conv1d.groups).mT
        return self.out_proj(F.silu(mixed) * F.silu(gate))
