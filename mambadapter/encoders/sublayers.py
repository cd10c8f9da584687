"""Where branches attach: the sub-layers of each encoder family, and the LayerNorms before them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from mambadapter.errors import UserError, did_you_mean

WAVEFORM_FAMILIES = ("wav2vec2", "hubert", "wavlm")
AST = "audio-spectrogram-transformer"

# Dense layers of every Transformer layer, by this package's names, and where each family keeps them.
DENSE_LAYERS = {
    "q": ("attention.q_proj", "attention.q_proj"),
    "k": ("attention.k_proj", "attention.k_proj"),
    "v": ("attention.v_proj", "attention.v_proj"),
    "o": ("attention.out_proj", "attention.o_proj"),
    "ffn_in": ("feed_forward.intermediate_dense", "mlp.fc1"),
    "ffn_out": ("feed_forward.output_dense", "mlp.fc2"),
}


@dataclass(frozen=True)
class Sublayer:
    """One attention or feed-forward sub-layer of a Transformer encoder.

    Attributes
    ----------
    layer : int
        Index of the Transformer layer.
    kind : str
        ``"attention"`` or ``"ffn"``.
    module : nn.Module
        The sub-layer; it maps (B, T, d) to (B, T, d), or to a tuple that starts with it.
    norm : nn.LayerNorm
        The LayerNorm whose output the sub-layer reads. In pre-norm encoders that is the layer's own;
        in post-norm ones the attention reads the norm that ended the layer below.
    """

    layer: int
    kind: str
    module: nn.Module
    norm: nn.LayerNorm

    @property
    def name(self) -> str:
        """Such as ``layer0_ffn``."""
        return f"layer{self.layer}_{self.kind}"


@dataclass(frozen=True)
class DenseLayer:
    """One dense layer of a Transformer layer.

    Attributes
    ----------
    layer : int
        Index of the Transformer layer.
    kind : str
        A name in `DENSE_LAYERS`.
    module : nn.Linear
        The layer.
    """

    layer: int
    kind: str
    module: nn.Linear

    @property
    def name(self) -> str:
        """Such as ``layer0_q``."""
        return f"layer{self.layer}_{self.kind}"


def sublayers(backbone: nn.Module) -> list[Sublayer]:
    """List the sub-layers of an encoder, bottom to top.

    Parameters
    ----------
    backbone : PreTrainedModel
        A transformers wav2vec2, HuBERT, WavLM or AST encoder.

    Returns
    -------
    list[Sublayer]
        Attention and feed-forward of every layer, in the order of computation.

    Raises
    ------
    UserError
        If the model's family is not known.

    Example
    -------
    >>> from transformers import Wav2Vec2Config, Wav2Vec2Model
    >>> config = Wav2Vec2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    ...                         intermediate_size=32, num_conv_pos_embedding_groups=2)
    >>> [(s.layer, s.kind) for s in sublayers(Wav2Vec2Model(config))]
    [(0, 'attention'), (0, 'ffn'), (1, 'attention'), (1, 'ffn')]
    """
    family = backbone.config.model_type
    if family == AST:
        return list(_ast_sublayers(backbone))
    check_family(family)
    return list(_wav2vec2_sublayers(backbone))


def dense_layers(backbone: nn.Module) -> list[DenseLayer]:
    """List the dense layers of an encoder's Transformer layers, bottom to top.

    Parameters
    ----------
    backbone : PreTrainedModel
        A transformers wav2vec2, HuBERT, WavLM or AST encoder.

    Returns
    -------
    list[DenseLayer]
        Those of `DENSE_LAYERS`, layer by layer.
    """
    family = int(backbone.config.model_type == AST)
    return [
        DenseLayer(index, kind, layer.get_submodule(paths[family]))
        for index, layer in enumerate(transformer_layers(backbone))
        for kind, paths in DENSE_LAYERS.items()
    ]


def transformer_layers(backbone: nn.Module) -> nn.ModuleList:
    """The Transformer layers of an encoder, bottom to top."""
    return backbone.layers if backbone.config.model_type == AST else backbone.encoder.layers


def outer_norm(backbone: nn.Module) -> nn.LayerNorm:
    """The LayerNorm outside of the layers: before them in post-norm encoders, after in pre-norm ones."""
    return backbone.layernorm if backbone.config.model_type == AST else backbone.encoder.layer_norm


def final_norm(backbone: nn.Module) -> nn.LayerNorm:
    """Return the LayerNorm whose output is the encoder's output."""
    if backbone.config.model_type == AST:
        return backbone.layernorm
    if backbone.config.do_stable_layer_norm:
        return backbone.encoder.layer_norm
    return backbone.encoder.layers[-1].final_layer_norm


def check_family(family: str) -> None:
    """Refuse a waveform encoder of a family that has no entry here."""
    if family not in WAVEFORM_FAMILIES:
        raise UserError(
            f"Encoders of family '{family}' are not supported: {did_you_mean(family, WAVEFORM_FAMILIES)}."
        )


def _wav2vec2_sublayers(backbone: nn.Module) -> Iterator[Sublayer]:
    pre_norm = backbone.config.do_stable_layer_norm
    below = backbone.encoder.layer_norm
    for index, layer in enumerate(backbone.encoder.layers):
        before_attention, before_ffn = (
            (layer.layer_norm, layer.final_layer_norm) if pre_norm else (below, layer.layer_norm)
        )
        yield Sublayer(index, "attention", layer.attention, before_attention)
        yield Sublayer(index, "ffn", layer.feed_forward, before_ffn)
        below = layer.final_layer_norm


def _ast_sublayers(backbone: nn.Module) -> Iterator[Sublayer]:
    for index, layer in enumerate(backbone.layers):
        yield Sublayer(index, "attention", layer.attention, layer.layernorm_before)
        yield Sublayer(index, "ffn", layer.mlp, layer.layernorm_after)
