"""MambAdapter: down-projection, a small Mamba block, up-projection (arXiv 2606.15638, section 2)."""

from dataclasses import dataclass

from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.errors import UserError
from mambadapter.methods.base import register
from mambadapter.methods.initialisation import official_mamba
from mambadapter.methods.shared_projections import SharedProjections, project_up
from mambadapter.ssm import Mamba
from mambadapter.validators import one_of, positive_integer


class MambAdapter(nn.Module):
    """The branch ``delta = alpha * W_up(dropout(Mamba(W_down(x))))``.

    The branch holds its projections by reference: hand the same two to every branch of an encoder
    and they are shared, as in the paper; hand each its own and they are not.
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

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, d).
        """
        low = self.down(hidden)
        mixed = self.mamba(low, lengths)
        if self.backward_mamba is not None:
            mixed = mixed + self.backward_mamba(low, lengths, reverse=True)
        return project_up(self.dropout(mixed), self.up, self.alpha)


@register
@dataclass(frozen=True)
class MambAdapters(SharedProjections):
    """MambAdapter branches beside the sub-layers of a frozen encoder (arXiv 2606.15638, section 2).

    Parameters
    ----------
    placement : str
        ``pfeiffer``: beside every FFN. ``houlsby``: beside every attention and every FFN.
    rank : int
        r, the width between the projections.
    d_state : int
        N, states per channel of the Mamba block.
    d_conv : int
        Taps of its causal convolution, in frames.
    expand : float
        Its inner width is ``int(expand * rank)``.
    shared : bool
        One W_down and one W_up for all insertion points, with a learnable scale alpha at each, as in
        the paper. False gives each its own pair, whose W_up then carries the scale: no alpha.
    insertion : str
        ``parallel``: a branch reads what its sub-layer reads. ``sequential``: what it emits.
    bidirectional : bool
        Add a scan backward in time; not in a decoder.
    backward_parameters : str
        ``own`` or ``shared`` with the forward scan; only read when bidirectional.
    alpha : float
        Start of the scales.
    dropout : float
        Probability, between the Mamba block and W_up.
    initialisation : str
        ``unit_variance``, or ``official``, the paper's code's (`mambadapter.methods.initialisation`).
    norms : str
        ``adapted`` trains the LayerNorm in front of each adapted sub-layer and the final one, which
        is what the paper counts. ``none`` trains none.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> MambAdapters(placement="houlsby", rank=24).rank
    24
    """

    d_state: int = 16
    d_conv: int = 4
    expand: float = 2
    bidirectional: bool = False
    backward_parameters: str = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("backward_parameters", self.backward_parameters, ("own", "shared"))
        for name in ("d_state", "d_conv"):
            positive_integer(name, getattr(self, name))
        if int(self.expand * self.rank) < 1:
            raise UserError(
                f"expand={self.expand} leaves rank {self.rank} no inner channel; raise it."
            )

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        if self.bidirectional and encoder.causal:
            raise UserError(
                "A bidirectional scan would show a decoder the tokens that it is to write; leave "
                "bidirectional out there."
            )
        super().adapt(encoder)

    def around(self, down: nn.Linear, up: nn.Linear, alpha: nn.Parameter | None) -> MambAdapter:
        """Make a branch around these projections."""
        forward = self._block()
        backward = None
        if self.bidirectional:
            backward = forward if self.backward_parameters == "shared" else self._block()
        return MambAdapter(down, up, forward, backward, alpha, self.dropout)

    def _block(self) -> Mamba:
        block = Mamba(self.rank, self.d_state, self.d_conv, self.expand)
        if self.initialisation == "official":
            official_mamba(block)
        return block
