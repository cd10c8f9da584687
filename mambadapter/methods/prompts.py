"""Trained vectors that the attention sees: prompts and prefixes."""

from dataclasses import dataclass
from typing import ClassVar

from mambadapter.encoders.prefixing import attend_to_prefixes
from mambadapter.encoders.prompting import prepend_prompts
from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.methods.branches.prompts import Prefix, Prompt
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.placement import norm_count, train_norms
from mambadapter.validators import check_types, one_of, positive_integer


@dataclass(frozen=True)
class PromptTuning:
    """Trained vectors in front of a clip's frames (visual prompt tuning, Jia et al. 2022, arXiv 2203.12119).

    Their outputs are dropped, so the encoder's frames stay as many.

    Parameters
    ----------
    prompts : int
        P, how many vectors; each is as wide as the encoder.
    deep : bool
        False: they enter the first Transformer layer and pass through all (shallow). True: every layer
        gets P vectors of its own in place of those of the layer below.
    norms : str
        ``final`` trains the encoder's last LayerNorm, as in every method of the paper; ``none`` none.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> PromptTuning(prompts=25, deep=True).count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    231936
    """

    prompts: int = 25
    deep: bool = False
    norms: str = "final"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = False
    size: ClassVar[str] = "prompts"

    def __post_init__(self) -> None:
        check_types(self)
        positive_integer("prompts", self.prompts)
        one_of("norms", self.norms, ("final", "none"))

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the prompts and set free what learns."""
        layers = len(encoder.layers) if self.deep else 1
        prepend_prompts(encoder, [Prompt(self.prompts, encoder.width) for _ in range(layers)])
        if self.norms == "final":
            train_norms(encoder)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``Pd``, in every layer when deep."""
        vectors = self.prompts * shape.width * (shape.layers if self.deep else 1)
        return TrainedCount(vectors, norm_count(shape) if self.norms == "final" else 0)


@dataclass(frozen=True)
class PrefixTuning:
    """Trained keys and values that every attention sees (Li & Liang 2021, arXiv 2101.00190).

    They are trained directly, without the paper's reparametrisation through an MLP.

    Parameters
    ----------
    length : int
        P, how many keys, and how many values, in each layer. 12 give the count of "24 prefixes".
    norms : str
        As in `PromptTuning`.

    Raises
    ------
    UserError
        If a value is of another type or out of range, or a name unknown.

    Example
    -------
    >>> PrefixTuning(length=12).count(EncoderShape(width=768, layers=12, ffn=3072)).total()
    222720
    """

    length: int = 12
    norms: str = "final"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = False
    size: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        check_types(self)
        positive_integer("length", self.length)
        one_of("norms", self.norms, ("final", "none"))

    def adapt(self, encoder: AdaptedStack) -> None:
        """Insert the prefixes and set free what learns."""
        attend_to_prefixes(encoder, lambda: Prefix(self.length, encoder.width))
        if self.norms == "final":
            train_norms(encoder)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``2LPd``."""
        vectors = 2 * shape.layers * self.length * shape.width
        return TrainedCount(vectors, norm_count(shape) if self.norms == "final" else 0)
