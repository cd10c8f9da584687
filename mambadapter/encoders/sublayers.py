"""Where branches attach: the sub-layers of each encoder family, and the LayerNorms before them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from mambadapter.errors import UserError, did_you_mean


@dataclass(frozen=True)
class _Layout:
    """Where a family keeps what branches need: paths from the model, or from one Transformer layer.

    Attributes
    ----------
    layers, outer_norm : str
        The Transformer layers; the LayerNorm outside of them, before them in post-norm encoders and after
        them in pre-norm ones.
    attention, before_attention : str
        The attention, and the LayerNorm in front of it in a pre-norm layer.
    ffn, before_ffn : tuple of str, str
        The first and the last module of the feed-forward sub-layer, which may be the same; and its LayerNorm.
    dense : tuple of str
        The dense layers, in the order of `DENSE_LAYERS`.
    front_end : tuple of str
        The convolutions in front of the Transformer.
    fixed : str
        A parameter that nothing trains.
    """

    layers: str
    outer_norm: str
    attention: str
    before_attention: str
    ffn: tuple[str, str]
    before_ffn: str
    dense: tuple[str, ...]
    front_end: tuple[str, ...] = ()
    fixed: str = ""


# Dense layers of every Transformer layer, by this package's names.
DENSE_LAYERS = ("q", "k", "v", "o", "ffn_in", "ffn_out")

_WAV2VEC2 = _Layout(
    layers="encoder.layers",
    outer_norm="encoder.layer_norm",
    attention="attention",
    before_attention="layer_norm",
    ffn=("feed_forward", "feed_forward"),
    before_ffn="final_layer_norm",
    dense=(
        *(f"attention.{name}_proj" for name in ("q", "k", "v", "out")),
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
    ),
    front_end=("feature_extractor",),
)
_AST = _Layout(
    layers="layers",
    outer_norm="layernorm",
    attention="attention",
    before_attention="layernorm_before",
    ffn=("mlp", "mlp"),
    before_ffn="layernorm_after",
    dense=(*(f"attention.{name}_proj" for name in "qkvo"), "mlp.fc1", "mlp.fc2"),
)
_WHISPER = _Layout(
    layers="layers",
    outer_norm="layer_norm",
    attention="self_attn",
    before_attention="self_attn_layer_norm",
    ffn=("fc1", "fc2"),
    before_ffn="final_layer_norm",
    dense=(*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "fc1", "fc2"),
    front_end=("conv1", "conv2"),
    fixed="embed_positions.weight",
)
_WHISPER_DECODER = replace(_WHISPER, front_end=(), fixed="")
_LAYOUTS = {
    "wav2vec2": _WAV2VEC2,
    "hubert": _WAV2VEC2,
    "wavlm": _WAV2VEC2,
    "audio-spectrogram-transformer": _AST,
    "whisper": _WHISPER,
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
    entry, module : nn.Module
        What reads the sub-layer's input (B, T, d), and what emits its output, (B, T, d) or a tuple that
        starts with it. They are one module, but Whisper's feed-forward is two dense layers in a row.
    norm : nn.LayerNorm
        The LayerNorm whose output the sub-layer reads. In pre-norm encoders that is the layer's own;
        in post-norm ones the attention reads the norm that ended the layer below.
    """

    layer: int
    kind: str
    entry: nn.Module
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
        A transformers wav2vec2, HuBERT, WavLM, AST or Whisper encoder, or a Whisper decoder.

    Returns
    -------
    list[Sublayer]
        Attention and feed-forward of every layer, in the order of computation; of a decoder the attention to
        itself.

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
    return list(_sublayers(backbone))


def dense_layers(backbone: nn.Module) -> list[DenseLayer]:
    """List the dense layers of an encoder's Transformer layers, bottom to top.

    Parameters
    ----------
    backbone : PreTrainedModel
        As in `sublayers`.

    Returns
    -------
    list[DenseLayer]
        Those of `DENSE_LAYERS`, layer by layer.
    """
    return [
        DenseLayer(index, kind, layer.get_submodule(path))
        for index, layer in enumerate(transformer_layers(backbone))
        for kind, path in zip(DENSE_LAYERS, _layout(backbone).dense, strict=True)
    ]


def transformer_layers(backbone: nn.Module) -> nn.ModuleList:
    """The Transformer layers of an encoder, bottom to top."""
    return backbone.get_submodule(_layout(backbone).layers)


def outer_norm(backbone: nn.Module) -> nn.LayerNorm:
    """The LayerNorm outside of the layers: before them in post-norm encoders, after in pre-norm ones."""
    return backbone.get_submodule(_layout(backbone).outer_norm)


def final_norm(backbone: nn.Module) -> nn.LayerNorm:
    """Return the LayerNorm whose output is the encoder's output."""
    if is_pre_norm(backbone):
        return outer_norm(backbone)
    return transformer_layers(backbone)[-1].final_layer_norm


def front_end(backbone: nn.Module) -> Iterator[nn.Module]:
    """The convolutions in front of an encoder's Transformer, which fine-tuning usually leaves frozen."""
    present = dict(backbone.named_modules())
    yield from (present[path] for path in _layout(backbone).front_end if path in present)


def never_trained(backbone: nn.Module) -> Iterator[nn.Parameter]:
    """Sinusoidal positions, and the embedding for masked frames where none are masked."""
    for name, parameter in backbone.named_parameters():
        unread = name == "masked_spec_embed" and not masks_frames(backbone)
        if unread or name == _layout(backbone).fixed:
            yield parameter


def masks_frames(backbone: nn.Module) -> bool:
    """Whether a waveform encoder masks spans of frames while it trains."""
    config = backbone.config
    return bool(getattr(config, "apply_spec_augment", False) and config.mask_time_prob > 0)


def is_pre_norm(backbone: nn.Module) -> bool:
    """Whether the LayerNorms stand in front of the sub-layers, and not behind them."""
    return getattr(backbone.config, "do_stable_layer_norm", True)


def is_decoder(backbone: nn.Module) -> bool:
    """Whether it writes tokens one after the other, each of which must not see those to come."""
    return isinstance(backbone, WhisperDecoder)


def check_family(family: str) -> None:
    """Refuse an encoder of a family that has no entry here."""
    if family not in _LAYOUTS:
        raise UserError(
            f"Encoders of family '{family}' are not supported: {did_you_mean(family, _LAYOUTS)}."
        )


def _layout(backbone: nn.Module) -> _Layout:
    check_family(backbone.config.model_type)
    return _WHISPER_DECODER if is_decoder(backbone) else _LAYOUTS[backbone.config.model_type]


def _sublayers(backbone: nn.Module) -> Iterator[Sublayer]:
    layout, pre_norm, below = _layout(backbone), is_pre_norm(backbone), outer_norm(backbone)
    for index, layer in enumerate(transformer_layers(backbone)):
        after_attention = layer.get_submodule(layout.before_attention)
        after_ffn = layer.get_submodule(layout.before_ffn)
        norms = (after_attention, after_ffn) if pre_norm else (below, after_attention)
        attention = layer.get_submodule(layout.attention)
        first, last = (layer.get_submodule(path) for path in layout.ffn)
        yield Sublayer(index, "attention", attention, attention, norms[0])
        yield Sublayer(index, "ffn", first, last, norms[1])
        below = after_ffn
