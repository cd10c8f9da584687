"""LoRA: low-rank changes of frozen dense layers, added to their outputs (arXiv 2106.09685)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import DENSE_LAYERS, DenseLayer, dense_layers
from mambadapter.errors import UserError
from mambadapter.methods.base import FinalNormMethod, register
from mambadapter.methods.initialisation import input_scale
from mambadapter.methods.placement import adapted_layers
from mambadapter.methods.projections import project_down
from mambadapter.validators import one_of, positive_integer, probability

# The sub-layer whose LayerNorm emits what a dense layer reads.
_READS = {"q": "attention", "k": "attention", "v": "attention", "ffn_in": "ffn"}


class LowRank(nn.Module):
    """The branch ``scale B A dropout(x)`` beside a dense layer (LoRA, arXiv 2106.09685, section 4.1).

    A starts as PyTorch's dense layers do, B at zero, as in the paper's code. With an `input_scale`, by which
    x is multiplied, A's weights are larger by the square root of the inputs, as those of a W_down are
    (`mambadapter.methods.initialisation.input_scale`).
    """

    input_scale: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rank: int,
        scale: float,
        dropout: float = 0.1,
        input_scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("input_scale", input_scale, persistent=False)
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        if input_scale is not None:
            nn.init.uniform_(self.down.weight, -1.0, 1.0)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the change of the layer's output.

        Shapes: `hidden` (B, T, inputs); returns (B, T, outputs).
        """
        low = project_down(self.dropout(hidden), self.down, self.input_scale)
        return F.linear(low, self.scale * self.up.weight)

    def fold(self, layer: nn.Linear) -> bool:
        """Add the change to the layer's weight, for inference."""
        layer.weight.add_(self.change())
        return True

    def change(self) -> Tensor:
        """What the branch without its dropout adds to the layer's weight, (outputs, inputs)."""
        product = self.scale * self.up.weight @ self.down.weight
        return product if self.input_scale is None else self.input_scale * product


@dataclass(frozen=True)
class LowRankMethod(FinalNormMethod):
    """What LoRA and DoRA share: a change of rank r of some dense layers of every Transformer layer."""

    rank: int = 8
    alpha: float = 16
    targets: Sequence[str] = ("q", "v")
    dropout: float = 0.1
    rank_stabilised: bool = False
    scaled_inputs: bool = False
    last_layers: int | None = None

    size: ClassVar[str | None] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("rank", self.rank)
        probability("dropout", self.dropout)
        if self.last_layers is not None:
            positive_integer("last_layers", self.last_layers)
        if isinstance(self.targets, str) or not self.targets:
            raise UserError(
                f"targets={self.targets!r} is impossible: give a list of {', '.join(DENSE_LAYERS)}."
            )
        for name in self.targets:
            one_of("targets", name, DENSE_LAYERS)
        # A tuple, so that equal settings are equal methods, whichever sequence YAML or JSON gave.
        object.__setattr__(self, "targets", tuple(dict.fromkeys(self.targets)))

    @property
    def scale(self) -> float:
        """What the change is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        super().adapt(encoder)
        norms = {(place.layer, place.kind): place.norm for place in encoder.sublayers}
        layers = adapted_layers(encoder, self.last_layers)
        for target in dense_layers(encoder.backbone):
            if target.kind in self.targets and target.layer in layers:
                place = target.layer, _READS.get(target.kind, "")
                known = self.scaled_inputs and place in norms
                self.insert(encoder, target, input_scale(norms[place]) if known else None)

    def insert(self, encoder: AdaptedStack, target: DenseLayer, input_scale: Tensor | None) -> None:
        """Insert the branch of a dense layer."""
        raise NotImplementedError


@register
@dataclass(frozen=True)
class LoRA(LowRankMethod):
    """LoRA: ``W x + (alpha / r) B A x`` with W frozen (Hu et al. 2022, arXiv 2106.09685).

    The change is added to the output of the dense layer, so no checkpoint key is renamed, and it acts on
    WavLM too, whose attention in transformers reads the frozen weights past their modules.

    Parameters
    ----------
    rank : int
        r of every target.
    alpha : float
        The change is scaled by ``alpha / rank``.
    targets : Sequence[str]
        Which dense layers of every Transformer layer: ``q``, ``k``, ``v``, ``o`` of the attention,
        ``ffn_in`` and ``ffn_out``.
    dropout : float
        Probability, of what A reads.
    rank_stabilised : bool
        Scale the change by ``alpha / sqrt(rank)`` instead, which keeps its size when the rank grows (rsLoRA,
        Kalajdzievski 2023, arXiv 2312.03732).
    scaled_inputs : bool
        Divide what A reads by the length that the LayerNorm in front of it gives it, as in `MambAdapters`; of
        ``o`` and ``ffn_out``, which read no LayerNorm, nothing.
    last_layers : int or None
        How many Transformer layers are adapted, counted from the last; None: all.
    norms : str
        ``final`` trains the encoder's last LayerNorm, as in every method of the paper; ``none`` none.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> LoRA(targets=["q", "v"]).alpha
    16
    """

    def insert(self, encoder: AdaptedStack, target: DenseLayer, input_scale: Tensor | None) -> None:
        """Insert the branch of a dense layer."""
        inputs, outputs = target.module.in_features, target.module.out_features
        branch = LowRank(inputs, outputs, self.rank, self.scale, self.dropout, input_scale)
        encoder.insert(target.name, target.module, branch)
