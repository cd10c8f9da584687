"""Closed formulas for what the methods train: oracles of the counts that the product takes from modules."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.encoders.families import encoder_of
from mambadapter.encoders.sublayers import (
    dense_layers,
    front_end,
    never_trained,
    transformer_layers,
)
from mambadapter.methods import (
    BitFit,
    Bottlenecks,
    ConformerAdapters,
    Convpasses,
    DoRA,
    FullFinetuning,
    IdentityBottlenecks,
    LinearProbe,
    LoRA,
    MambAdapters,
    PrefixTuning,
    PromptTuning,
    WeightedSum,
)
from mambadapter.methods.placement import PLACEMENTS


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of a Transformer encoder.

    Attributes
    ----------
    width : int
        Channels, d.
    layers : int
        Transformer layers, L.
    ffn : int
        Inner width of the feed-forward sub-layers, f.
    layer_norms : int
        LayerNorms of a layer: two; three in a decoder.
    more_biases : int
        Biases of a layer beyond those of its norms and of six dense layers: 8 in WavLM's gated attention;
        fewer by d in Whisper, whose keys have none; those of the attention to the encoder in a decoder.
    backbone : int
        All parameters.
    front_end : int
        Those of the convolutions in front of the Transformer.
    norms, front_end_norms : int
        Those of LayerNorms, in the whole and in the front end.
    fixed : int
        Those that nothing trains: Whisper's sinusoids, and the embedding for masked frames where none are
        masked.
    """

    width: int
    layers: int
    ffn: int
    layer_norms: int = 2
    more_biases: int = 0
    backbone: int = 0
    front_end: int = 0
    norms: int = 0
    front_end_norms: int = 0
    fixed: int = 0

    @classmethod
    def of(cls, backbone: nn.Module) -> "EncoderShape":
        """Read the sizes of a transformers encoder; one on the ``meta`` device will do.

        Example
        -------
        >>> from transformers import Wav2Vec2Config, Wav2Vec2Model
        >>> import torch
        >>> with torch.device("meta"):
        ...     shape = EncoderShape.of(Wav2Vec2Model(Wav2Vec2Config()))
        >>> shape.width, shape.layers, shape.ffn, shape.backbone
        (768, 12, 3072, 94371712)
        """
        layers, front = transformer_layers(backbone), list(front_end(backbone))
        ffn = next(dense.module for dense in dense_layers(backbone) if dense.kind == "ffn_in")
        width = backbone.config.hidden_size
        biases = sum(p.numel() for name, p in layers[0].named_parameters() if name.endswith("bias"))
        norms = sum(isinstance(part, nn.LayerNorm) for part in layers[0].modules())
        return cls(
            width=width,
            layers=len(layers),
            ffn=ffn.out_features,
            layer_norms=norms,
            more_biases=biases - ((5 + norms) * width + ffn.out_features),
            backbone=sum(p.numel() for p in backbone.parameters()),
            front_end=sum(p.numel() for part in front for p in part.parameters()),
            norms=_layer_norms(backbone),
            front_end_norms=sum(_layer_norms(part) for part in front),
            fixed=sum(p.numel() for p in never_trained(backbone)),
        )


def _layer_norms(module: nn.Module) -> int:
    norms = (part for part in module.modules() if isinstance(part, nn.LayerNorm))
    return sum(p.numel() for norm in norms for p in norm.parameters(recurse=False))


def stack_shape(architecture: str, part: str = "encoder") -> EncoderShape:
    """Sizes of a published encoder, or of its decoder, without weights."""
    with torch.device("meta"):
        model = AutoModel.from_config(architecture_config(architecture))
    return EncoderShape.of(encoder_of(model) if part == "encoder" else model.decoder)


@dataclass(frozen=True)
class TrainedCount:
    """What a method trains, the head left out."""

    adapter: int = 0
    layer_norm: int = 0
    encoder: int = 0

    @property
    def total(self) -> int:
        return self.adapter + self.layer_norm + self.encoder

    def budgeted(self, with_norms: bool = True) -> int:
        return self.total - (0 if with_norms else self.layer_norm)


def mamba_parameters(d_model: int, d_state: int = 16, d_conv: int = 4, expand: float = 2) -> int:
    """``D (3r + K + 2R + 3N + 3)`` with r = d_model, D = int(expand r), R = ceil(r / 16), K taps, N states."""
    d_inner, rank = int(expand * d_model), math.ceil(d_model / 16)
    return d_inner * (3 * d_model + d_conv + 2 * rank + 3 * d_state + 3)


def gated_convolution_parameters(d_model: int, d_conv: int, expand: float = 2) -> int:
    """``D (3r + K + 1)``: a Mamba block without its scan."""
    return int(expand * d_model) * (3 * d_model + d_conv + 1)


@functools.singledispatch
def trained_count(method: object, shape: EncoderShape) -> TrainedCount:
    """What a method trains on an encoder, by a formula of one line a method."""
    raise NotImplementedError(method)


def _beside(method: object, shape: EncoderShape, branches: int, extra: int = 0) -> TrainedCount:
    """Branches at each point of a placement, and the norms in front of them and the final one."""
    points = _points(method, shape)
    norms = 2 * shape.width * (points + 1) if method.norms == "adapted" else 0
    return TrainedCount(points * branches + extra, norms)


def _points(method: object, shape: EncoderShape) -> int:
    return shape.layers * len(PLACEMENTS[method.placement])


def _final_norm(method: object, shape: EncoderShape) -> int:
    return 2 * shape.width if method.norms == "final" else 0


@trained_count.register
def _(method: Bottlenecks, shape: EncoderShape) -> TrainedCount:
    return _beside(method, shape, 2 * shape.width * method.rank + method.rank + shape.width)


@trained_count.register
def _(method: ConformerAdapters, shape: EncoderShape) -> TrainedCount:
    d, r = shape.width, method.rank
    return _beside(method, shape, 3 * d * r + 3 * d + (method.kernel_size + 5) * r)


@trained_count.register
def _(method: Convpasses, shape: EncoderShape) -> TrainedCount:
    d, r = shape.width, method.rank
    return _beside(method, shape, 2 * d * r + d + 2 * r + method.kernel_size * r**2)


def _shared(method: object, shape: EncoderShape, block: int) -> TrainedCount:
    """n points, M a block: ``(2dr + r + d) + n (M + 1)`` with one pair, ``n (2dr + r + d + M)`` with n.

    A BatchNorm has 2r at each point, and W_down then no bias.
    """
    pair = 2 * shape.width * method.rank + (0 if method.batch_norm else method.rank) + shape.width
    block += 2 * method.rank if method.batch_norm else 0
    return (
        _beside(method, shape, block + 1, pair)
        if method.shared
        else _beside(method, shape, pair + block)
    )


@trained_count.register
def _(method: IdentityBottlenecks, shape: EncoderShape) -> TrainedCount:
    return _shared(method, shape, 0)


@trained_count.register
def _(method: MambAdapters, shape: EncoderShape) -> TrainedCount:
    twice = method.bidirectional and method.backward_parameters == "own"
    block = (
        mamba_parameters(method.rank, method.d_state, method.d_conv, method.expand)
        if method.scan
        else gated_convolution_parameters(method.rank, method.d_conv, method.expand)
    )
    return _shared(method, shape, (2 if twice else 1) * block)


def _low_rank(method: object, shape: EncoderShape, outputs_too: bool) -> TrainedCount:
    """``r (in + out)`` of each target, and with magnitudes ``out`` more."""
    d, f = shape.width, shape.ffn
    sizes = [{"ffn_in": (d, f), "ffn_out": (f, d)}.get(name, (d, d)) for name in method.targets]
    layer = sum(method.rank * (i + o) + (o if outputs_too else 0) for i, o in sizes)
    return TrainedCount(shape.layers * layer, _final_norm(method, shape))


@trained_count.register
def _(method: LoRA, shape: EncoderShape) -> TrainedCount:
    return _low_rank(method, shape, outputs_too=False)


@trained_count.register
def _(method: DoRA, shape: EncoderShape) -> TrainedCount:
    return _low_rank(method, shape, outputs_too=True)


@trained_count.register
def _(method: PromptTuning, shape: EncoderShape) -> TrainedCount:
    vectors = method.prompts * shape.width * (shape.layers if method.deep else 1)
    return TrainedCount(vectors, _final_norm(method, shape))


@trained_count.register
def _(method: PrefixTuning, shape: EncoderShape) -> TrainedCount:
    vectors = 2 * shape.layers * method.length * shape.width
    return TrainedCount(vectors, _final_norm(method, shape))


@trained_count.register
def _(method: BitFit, shape: EncoderShape) -> TrainedCount:
    norms = (shape.layer_norms * shape.layers + 1) * shape.width
    dense = shape.layers * (5 * shape.width + shape.ffn + shape.more_biases)
    return TrainedCount(layer_norm=norms, encoder=dense)


@trained_count.register
def _(method: WeightedSum, shape: EncoderShape) -> TrainedCount:
    return TrainedCount(adapter=shape.layers + 1)


@trained_count.register
def _(method: LinearProbe, shape: EncoderShape) -> TrainedCount:
    return TrainedCount(layer_norm=_final_norm(method, shape))


@trained_count.register
def _(method: FullFinetuning, shape: EncoderShape) -> TrainedCount:
    front, front_norms = (0, 0) if method.train_cnn else (shape.front_end, shape.front_end_norms)
    norms = shape.norms - front_norms
    return TrainedCount(layer_norm=norms, encoder=shape.backbone - shape.fixed - front - norms)
