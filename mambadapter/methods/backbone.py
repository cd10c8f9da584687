"""Methods that add no branch beside the layers: they train the encoder's own weights, or read them anew."""

from dataclasses import dataclass
from typing import ClassVar

from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import front_end, never_trained, outer_norm
from mambadapter.methods.branches.layer_weights import LayerWeights
from mambadapter.methods.counts import TrainedCount
from mambadapter.methods.placement import norm_count, train_norms
from mambadapter.validators import check_types, one_of


@dataclass(frozen=True)
class LinearProbe:
    """Only the head learns, and the final LayerNorm as in every method of the paper.

    Parameters
    ----------
    norms : str
        ``final`` trains the encoder's last LayerNorm, ``none`` leaves the encoder wholly frozen.
    """

    norms: str = "final"

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_types(self)
        one_of("norms", self.norms, ("final", "none"))

    def adapt(self, encoder: AdaptedStack) -> None:
        """Set the final LayerNorm free."""
        if self.norms == "final":
            train_norms(encoder)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``2d``, or nothing."""
        return TrainedCount(layer_norm=norm_count(shape) if self.norms == "final" else 0)


@dataclass(frozen=True)
class WeightedSum:
    """The head reads a learned mean of what enters the first layer and what every layer emits.

    As in SUPERB (Yang et al. 2021, arXiv 2105.01051, section 3); the encoder is wholly frozen.
    """

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = False
    size: ClassVar[None] = None

    def adapt(self, encoder: AdaptedStack) -> None:
        """Add the weights."""
        encoder.read_all_layers(LayerWeights(len(encoder.layers) + 1))

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``L + 1``."""
        return TrainedCount(adapter=shape.layers + 1)


@dataclass(frozen=True)
class BitFit:
    """Every bias of the Transformer layers learns (Ben Zaken et al. 2022, arXiv 2106.10199).

    Those of the keys are among them, as published and as the paper counts, although a softmax over keys
    is the same whatever they are.
    """

    trains_backbone: ClassVar[bool] = False
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[None] = None

    def adapt(self, encoder: AdaptedStack) -> None:
        """Set the biases free."""
        for module in (*encoder.layers, outer_norm(encoder.backbone)):
            for name, parameter in module.named_parameters():
                if name.rpartition(".")[2] == "bias":
                    parameter.requires_grad_(True)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``L(7d + f) + d``; WavLM's gates have 8 more a layer, Whisper's keys d fewer."""
        norms = (shape.layer_norms * shape.layers + 1) * shape.width
        dense = shape.layers * (5 * shape.width + shape.ffn + shape.more_biases)
        return TrainedCount(layer_norm=norms, encoder=dense)


@dataclass(frozen=True)
class FullFinetuning:
    """Every weight of the Transformer learns, with the checkpoint's own dropout and time masking.

    Parameters
    ----------
    train_cnn : bool
        Train the convolutional front end too; usually it is left frozen (wav2vec 2.0, section 4.3).
    """

    train_cnn: bool = False

    trains_backbone: ClassVar[bool] = True
    starts_as_frozen: ClassVar[bool] = True
    size: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_types(self)

    def adapt(self, encoder: AdaptedStack) -> None:
        """Set the backbone free."""
        backbone = encoder.backbone
        backbone.requires_grad_(True)
        for part in front_end(backbone):
            part.requires_grad_(self.train_cnn)
            part._requires_grad = (
                self.train_cnn
            )  # transformers' own flag, see `encoders.adapted.freeze`
        for parameter in never_trained(backbone):
            parameter.requires_grad_(False)

    def count(self, shape: EncoderShape) -> TrainedCount:
        """All that is read, or all of it but the convolutional front end."""
        frozen, frozen_norms = (
            (0, 0) if self.train_cnn else (shape.front_end, shape.front_end_norms)
        )
        norms = shape.norms - frozen_norms
        return TrainedCount(layer_norm=norms, encoder=shape.backbone - shape.fixed - frozen - norms)
