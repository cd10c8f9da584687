"""The sizes of an encoder that closed parameter counts are made of."""

from dataclasses import dataclass

from torch import nn


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
    gate_biases : int
        Biases of a layer beyond those of its projections and norms: 8 in WavLM's gated attention.
    backbone : int
        All parameters.
    front_end : int
        Those of the convolutions in front of the Transformer.
    norms, front_end_norms : int
        Those of LayerNorms, in the whole and in the front end.
    unread : int
        Those that no forward pass reads: the embedding for masked frames, where none are masked.
    """

    width: int
    layers: int
    ffn: int
    gate_biases: int = 0
    backbone: int = 0
    front_end: int = 0
    norms: int = 0
    front_end_norms: int = 0
    unread: int = 0

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
        config = backbone.config
        front_end = getattr(backbone, "feature_extractor", None)
        mask = getattr(backbone, "masked_spec_embed", None)
        return cls(
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            ffn=config.intermediate_size,
            gate_biases=8 if config.model_type == "wavlm" else 0,
            backbone=sum(p.numel() for p in backbone.parameters()),
            front_end=sum(p.numel() for p in front_end.parameters()) if front_end else 0,
            norms=_layer_norms(backbone),
            front_end_norms=_layer_norms(front_end) if front_end else 0,
            unread=0 if mask is None or masks_frames(backbone) else mask.numel(),
        )


def masks_frames(backbone: nn.Module) -> bool:
    """Whether a waveform encoder masks spans of frames while it trains."""
    config = backbone.config
    return bool(getattr(config, "apply_spec_augment", False) and config.mask_time_prob > 0)


def _layer_norms(module: nn.Module) -> int:
    norms = (part for part in module.modules() if isinstance(part, nn.LayerNorm))
    return sum(p.numel() for norm in norms for p in norm.parameters(recurse=False))
