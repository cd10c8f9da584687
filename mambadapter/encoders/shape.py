"""The sizes of an encoder that closed parameter counts are made of."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from mambadapter.encoders.sublayers import (
    dense_layers,
    front_end,
    never_trained,
    transformer_layers,
)


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
    def of(cls, backbone: PreTrainedModel) -> "EncoderShape":
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
