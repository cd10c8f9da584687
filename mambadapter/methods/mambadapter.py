"""MambAdapter: down-projection, a small Mamba block, up-projection (arXiv 2606.15638, section 2)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.errors import UserError
from mambadapter.methods.base import register
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.initialisation import official_mamba, unit_gain
from mambadapter.methods.projections import ProjectedBranch
from mambadapter.methods.shared_projections import Projections, SharedProjections, rank_scale
from mambadapter.ssm import GatedConvolution, Mamba
from mambadapter.ssm.arguments import check_lookahead
from mambadapter.validators import one_of, positive_integer, whole_number

Block = Mamba | GatedConvolution


class MambAdapter(ProjectedBranch):
    """The branch ``delta = alpha * W_up(dropout(Mamba(batch_norm(W_down(input_scale * x)))))``.

    Without `batch_norm` and `input_scale` it is the paper's; with an `input_scale` what W_up emits is scaled
    by the rank (`rank_scale`), and with `skip` what enters the Mamba block is added to what it emits. A
    `GatedConvolution` may stand for the Mamba block. The branch holds its projections by reference: hand the
    same two to every branch of an encoder and they are shared, as in the paper; hand each its own and they
    are not.
    """

    def __init__(
        self,
        down: nn.Linear,
        up: nn.Linear,
        mamba: Block,
        backward_mamba: Block | None = None,
        alpha: nn.Parameter | None = None,
        dropout: float = 0.1,
        input_scale: Tensor | None = None,
        batch_norm: FrameBatchNorm | None = None,
        skip: bool = False,
    ) -> None:
        super().__init__(down, up, alpha, input_scale, rank_scale(up, input_scale), batch_norm)
        self.mamba = mamba
        self.backward_mamba = backward_mamba
        self.skip = skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the branch's contribution.

        Shapes: `hidden` (B, T, d), `lengths` (B,); returns (B, T, d).
        """
        low = self.low(hidden, lengths)
        mixed = self.mamba(low, lengths)
        if self.backward_mamba is not None:
            mixed = mixed + self.backward_mamba(low, lengths, reverse=True)
        if self.skip:
            mixed = low + mixed
        return self.out(self.dropout(mixed))

    def fold(self, module: nn.Module) -> bool:
        """As any projected branch; the scans prepare what they read too."""
        for block in (self.mamba, self.backward_mamba):
            if isinstance(block, Mamba):
                block.fold()
        return super().fold(module)


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
        Taps of its convolution, in frames. The kernels are made for up to 32.
    lookahead : int
        How many of the taps read frames that are yet to come; in a decoder none does. 0 is causal, as in the
        paper.
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
    scan : bool
        False leaves the scan out: a gated convolution stands where the Mamba block does
        (`mambadapter.ssm.GatedConvolution`).
    skip : bool
        Add what enters the Mamba block to what it emits, and start its out_proj at zero: the branch begins as
        two projections with nothing in between.
    alpha : float
        Start of the scales.
    dropout : float
        Probability, between the Mamba block and W_up.
    initialisation : str
        ``unit_variance``: of what enters the blocks, which start as mamba_ssm's. ``unit_gain``: also of what
        they emit. ``official``: the paper's code's (`mambadapter.methods.initialisation`).
    scaled_projections : bool
        Let the weights of W_down and W_up be of order one at every insertion point of every encoder: divide
        what the point reads by the length that the LayerNorm in front of it gives it, so that blocks all
        start alike, and what W_up emits by the rank (`rank_scale`). False scales the weights of W_down
        instead, by the mean over insertion points.
    small_weights : bool
        With scaled_projections, divide by the root mean square in place of the length, so that W_down's
        weights are as small as in a fresh dense layer, and turn further at the same rate.
    batch_norm : bool
        Normalise what W_down emits, at each insertion point by itself, over the frames of a batch
        (`mambadapter.methods.batch_norm.FrameBatchNorm`): blocks start alike, and W_down may turn far
        without what it emits growing. In place of scaled_projections.
    norms : str
        ``adapted`` trains the LayerNorm in front of each adapted sub-layer and the final one, which
        is what the paper counts. ``none`` trains none.
    last_layers : int or None
        How many Transformer layers are adapted, counted from the last; None: all, as in the paper.

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
    lookahead: int = 0
    expand: float = 2
    bidirectional: bool = False
    backward_parameters: str = "own"
    scan: bool = True
    skip: bool = False

    initialisations: ClassVar[tuple[str, ...]] = ("unit_variance", "unit_gain", "official")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("backward_parameters", self.backward_parameters, ("own", "shared"))
        if self.backward_parameters == "shared" and not self.bidirectional:
            raise UserError(
                "backward_parameters: shared is of a scan backward in time; set bidirectional to true, or "
                "leave it out."
            )
        for name in ("d_state", "d_conv"):
            positive_integer(name, getattr(self, name))
        whole_number("lookahead", self.lookahead)
        check_lookahead(self.lookahead, self.d_conv)
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

    def around(self, projections: Projections, causal: bool) -> MambAdapter:
        """Make a branch around these projections; `causal` if a frame must see none that is to come."""
        # A YAML reader's numbers are of a subclass, which torch.compile does not take.
        lookahead = 0 if causal else int(self.lookahead)
        forward = self._block(lookahead)
        backward = None
        if self.bidirectional:
            backward = forward if self.backward_parameters == "shared" else self._block(lookahead)
        down, up, alpha, scale, norm = projections
        return MambAdapter(down, up, forward, backward, alpha, self.dropout, scale, norm, self.skip)

    def _block(self, lookahead: int) -> Block:
        if self.scan:
            block: Block = Mamba(
                self.rank, self.d_state, self.d_conv, self.expand, lookahead=lookahead
            )
        else:
            block = GatedConvolution(self.rank, self.d_conv, self.expand, lookahead)
        if self.initialisation == "official":
            official_mamba(block)
        elif self.initialisation == "unit_gain":
            unit_gain(block)
        if self.skip:
            nn.init.zeros_(block.out_proj.weight)
        return block
