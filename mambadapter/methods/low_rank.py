"""Low-rank changes of the frozen dense layers: LoRA and DoRA."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import DENSE_LAYERS, DenseLayer, dense_layers
from mambadapter.errors import UserError
from mambadapter.methods.branches.low_rank import LowRank, WeightDecomposed
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.placement import norm_count, train_norms
from mambadapter.validators import check_types, one_of, positive_integer, probability


@dataclass(frozen=True)
class LoRA:
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
    norms : str
        ``final`` trains the encoder's last LayerNorm, as in every method of the paper; ``none`` none.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> LoRA(rank=7).count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    259584
    """

    rank: int = 8
    alpha: float = 16
    targets: Sequence[str] = ("q", "v")
    dropout: float = 0.1
    norms: str = "final"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_low_rank(self)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        for target in _targets(encoder, self):
            branch = LowRank(
                target.module.in_features,
                target.module.out_features,
                self.rank,
                self.alpha / self.rank,
                self.dropout,
            )
            encoder.insert(target.name, target.module, branch)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: r (in + out) for each target; ``4Ldr`` for q and v."""
        per_layer = sum(self.rank * sum(_sizes(shape, name)) for name in self.targets)
        return TrainedCount(shape.layers * per_layer, _final_norm(shape, self))


@dataclass(frozen=True)
class DoRA:
    """DoRA: LoRA on the direction of each weight, and a magnitude (Liu et al. 2024, arXiv 2402.09353).

    ``m (W + s B A) / ||W + s B A||`` with one magnitude an output channel. The norm is a constant in the
    backward pass (section 4.3).

    Parameters
    ----------
    rank, alpha, targets, dropout, norms
        As in `LoRA`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> DoRA(rank=7).count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    278016
    """

    rank: int = 8
    alpha: float = 16
    targets: Sequence[str] = ("q", "v")
    dropout: float = 0.1
    norms: str = "final"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        _check_low_rank(self)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the branches and set free what learns."""
        for target in _targets(encoder, self):
            branch = WeightDecomposed(
                target.module, self.rank, self.alpha / self.rank, self.dropout
            )
            encoder.insert(target.name, target.module, branch, "both")

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: r (in + out) + out for each target; ``4Ldr + 2Ld`` for q and v."""
        per_layer = sum(
            self.rank * (inner + outer) + outer
            for inner, outer in (_sizes(shape, name) for name in self.targets)
        )
        return TrainedCount(shape.layers * per_layer, _final_norm(shape, self))


def _check_low_rank(method: LoRA | DoRA) -> None:
    check_types(method)
    positive_integer("rank", method.rank)
    probability("dropout", method.dropout)
    one_of("norms", method.norms, ("final", "none"))
    if isinstance(method.targets, str) or not method.targets:
        raise UserError(
            f"targets={method.targets!r} is impossible: give a list of {', '.join(DENSE_LAYERS)}."
        )
    for name in method.targets:
        one_of("targets", name, DENSE_LAYERS)
    # A tuple, so that equal settings are equal methods, whichever sequence YAML or JSON gave.
    object.__setattr__(method, "targets", tuple(dict.fromkeys(method.targets)))


def _targets(encoder: AdaptedStack, method: LoRA | DoRA) -> list[DenseLayer]:
    if method.norms == "final":
        train_norms(encoder)
    return [layer for layer in dense_layers(encoder.backbone) if layer.kind in method.targets]


def _sizes(shape: EncoderShape, name: str) -> tuple[int, int]:
    """Inputs and outputs of a dense layer."""
    return {"ffn_in": (shape.width, shape.ffn), "ffn_out": (shape.ffn, shape.width)}.get(
        name, (shape.width, shape.width)
    )


def _final_norm(shape: EncoderShape, method: LoRA | DoRA) -> int:
    return norm_count(shape) if method.norms == "final" else 0
