"""Where branches attach: the sub-layers of each encoder family, and the LayerNorms before them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from torch import nn
from transformers import PreTrainedModel

from mambadapter.encoders.families import layout_of

# Dense layers of every Transformer layer, by this package's names.
DENSE_LAYERS = ("q", "k", "v", "o", "ffn_in", "ffn_out")


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


def sublayers(backbone: PreTrainedModel) -> list[Sublayer]:
    """List the sub-layers of an encoder, bottom to top."""
    return list(_sublayers(backbone))


def dense_layers(backbone: PreTrainedModel) -> list[DenseLayer]:
    """List the dense layers of an encoder's Transformer layers, bottom to top."""
    return [
        DenseLayer(index, kind, cast(nn.Linear, layer.get_submodule(path)))
        for index, layer in enumerate(transformer_layers(backbone))
        for kind, path in zip(DENSE_LAYERS, layout_of(backbone).dense, strict=True)
    ]


def transformer_layers(backbone: PreTrainedModel) -> nn.ModuleList:
    """The Transformer layers of an encoder, bottom to top."""
    return cast(nn.ModuleList, backbone.get_submodule(layout_of(backbone).layers))


def outer_norm(backbone: PreTrainedModel) -> nn.LayerNorm:
    """The LayerNorm outside of the layers: before them in post-norm encoders, after in pre-norm ones."""
    return cast(nn.LayerNorm, backbone.get_submodule(layout_of(backbone).outer_norm))


def final_norm(backbone: PreTrainedModel) -> nn.LayerNorm:
    """Return the LayerNorm whose output is the encoder's output."""
    if is_pre_norm(backbone):
        return outer_norm(backbone)
    return cast(nn.LayerNorm, transformer_layers(backbone)[-1].final_layer_norm)


def front_end(backbone: PreTrainedModel) -> Iterator[nn.Module]:
    """The convolutions in front of an encoder's Transformer, which fine-tuning usually leaves frozen."""
    present = dict(backbone.named_modules())
    yield from (present[path] for path in layout_of(backbone).front_end if path in present)


def never_trained(backbone: PreTrainedModel) -> Iterator[nn.Parameter]:
    """Sinusoidal positions, and the embedding for masked frames where none are masked."""
    for name, parameter in backbone.named_parameters():
        unread = name == "masked_spec_embed" and not masks_frames(backbone)
        if unread or name == layout_of(backbone).fixed:
            yield parameter


def masks_frames(backbone: PreTrainedModel) -> bool:
    """Whether a waveform encoder masks spans of frames while it trains."""
    config = backbone.config
    return bool(getattr(config, "apply_spec_augment", False) and config.mask_time_prob > 0)


def is_pre_norm(backbone: PreTrainedModel) -> bool:
    """Whether the LayerNorms stand in front of the sub-layers, and not behind them."""
    return getattr(backbone.config, "do_stable_layer_norm", True)


def _sublayers(backbone: PreTrainedModel) -> Iterator[Sublayer]:
    layout, pre_norm, below = layout_of(backbone), is_pre_norm(backbone), outer_norm(backbone)
    for index, layer in enumerate(transformer_layers(backbone)):
        after_attention, after_ffn = (
            cast(nn.LayerNorm, layer.get_submodule(path))
            for path in (layout.before_attention, layout.before_ffn)
        )
        norms = (after_attention, after_ffn) if pre_norm else (below, after_attention)
        attention = layer.get_submodule(layout.attention)
        first, last = (layer.get_submodule(path) for path in layout.ffn)
        yield Sublayer(index, "attention", attention, attention, norms[0])
        yield Sublayer(index, "ffn", first, last, norms[1])
        below = after_ffn
