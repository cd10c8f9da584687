"""Parameter counts of models, each tensor once, and shapes of the published encoders."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.bundled import BOX, box_folder
from mambadapter.encoders.frontends import frontend_of
from mambadapter.encoders.loading import encoder_of
from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.errors import UserError, did_you_mean

_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


def _whisper(width: int, layers: int, heads: int, mel_bins: int = 80) -> dict[str, int]:
    one = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}
    both = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in one.items()}
    return {"d_model": width, "num_mel_bins": mel_bins, **both}


# The published encoders' shapes, so that counts need no download.
ARCHITECTURES: dict[str, dict] = {
    "ast": {"model_type": "audio-spectrogram-transformer"},
    "wav2vec2-base": {"model_type": "wav2vec2"},
    "wav2vec2-large-lv60": {"model_type": "wav2vec2", "conv_bias": True, **_LARGE},
    "wav2vec2-xls-r-300m": {"model_type": "wav2vec2", "conv_bias": True, **_LARGE},
    "hubert-base": {"model_type": "hubert"},
    "hubert-large": {"model_type": "hubert", "conv_bias": True, **_LARGE},
    "wavlm-base": {"model_type": "wavlm"},
    "wavlm-base-plus": {"model_type": "wavlm"},
    "wavlm-large": {"model_type": "wavlm", **_LARGE},
    **{
        f"whisper-{size}": {"model_type": "whisper", **_whisper(*numbers)}
        for size, numbers in {
            "tiny": (384, 4, 6),
            "base": (512, 6, 8),
            "small": (768, 12, 12),
            "medium": (1024, 24, 16),
            "large-v3": (1280, 32, 20, 128),
        }.items()
    },
}


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of an adapted encoder and its head, each tensor counted once.

    Attributes
    ----------
    frozen : int
        Encoder parameters that do not learn.
    encoder : int
        Encoder parameters that learn, LayerNorms apart.
    layer_norm : int
        LayerNorm parameters of the encoder that learn.
    adapter : int
        Parameters of the branches; shared projections count once.
    head : int
        Parameters of the head.
    """

    frozen: int
    encoder: int
    layer_norm: int
    adapter: int
    head: int

    @property
    def adapted(self) -> int:
        """What papers call the method's parameters: all that learns but the head."""
        return self.encoder + self.layer_norm + self.adapter

    @property
    def trained(self) -> int:
        """All that learns."""
        return self.adapted + self.head

    def __str__(self) -> str:
        rows = {
            "frozen encoder": self.frozen,
            "trained encoder": self.encoder,
            "trained LayerNorms": self.layer_norm,
            "adapter": self.adapter,
            "head": self.head,
            "trained without head": self.adapted,
            "trained": self.trained,
        }
        return "\n".join(f"{name:<22}{count:>14,}" for name, count in rows.items())


def count_parameters(encoder: AdaptedEncoder, head: nn.Module | None = None) -> ParameterCount:
    """Count a built model.

    Parameters
    ----------
    encoder : AdaptedEncoder
        The encoder; tensors on the ``meta`` device count too.
    head : nn.Module, optional
        The head. Where that is an `AdaptedDecoder`, what is frozen or adapted in it counts with the encoder,
        and as head the new language's embedding alone.

    Returns
    -------
    ParameterCount

    Example
    -------
    >>> from mambadapter.methods import MambAdapters
    >>> str(count_parameters(build_on_meta("ast", MambAdapters()))).splitlines()[-2]
    'trained without head          65,976'
    """
    stacks = [encoder, *([head] if isinstance(head, AdaptedStack) else [])]
    backbone = [p for stack in stacks for p in stack.backbone.parameters()]
    branches = [p for stack in stacks for p in stack.branches.parameters()]
    norms = {
        id(p)
        for stack in stacks
        for module in stack.backbone.modules()
        if isinstance(module, nn.LayerNorm)
        for p in module.parameters(recurse=False)
    }
    elsewhere = {id(p) for p in (*backbone, *branches)}
    learning = [p for p in backbone if p.requires_grad]
    return ParameterCount(
        frozen=_size(p for p in backbone if not p.requires_grad),
        encoder=_size(p for p in learning if id(p) not in norms),
        layer_norm=_size(p for p in learning if id(p) in norms),
        adapter=_size(branches),
        head=_size(p for p in head.parameters() if id(p) not in elsewhere) if head else 0,
    )


def build_on_meta(architecture: str, method: object) -> AdaptedEncoder:
    """Build a published encoder with a method, without weights and without memory.

    Parameters
    ----------
    architecture : str
        A name in `ARCHITECTURES`, or a folder or hub name whose config.json is read.
    method : Method
        One of `mambadapter.methods`.

    Returns
    -------
    AdaptedEncoder
        On the ``meta`` device: it can be counted, not run.

    Raises
    ------
    UserError
        If the architecture is unknown.
    """
    config = architecture_config(architecture)
    with torch.device("meta"):
        backbone = encoder_of(AutoModel.from_config(config))
        return AdaptedEncoder(backbone, method, frontend_of(config))


def architecture_config(architecture: str) -> PretrainedConfig:
    """Find the transformers configuration of an architecture by name, folder or hub name."""
    if architecture in ("box", BOX):
        return AutoConfig.from_pretrained(box_folder())
    if architecture in ARCHITECTURES:
        return AutoConfig.for_model(**ARCHITECTURES[architecture])
    try:
        return AutoConfig.from_pretrained(architecture)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Encoder '{architecture}' is neither a known architecture nor a checkpoint; "
            f"{did_you_mean(architecture, ['box', *ARCHITECTURES])}."
        ) from error


def encoder_shape(architecture: str) -> EncoderShape:
    """Sizes of an encoder by name, folder or hub name, without its weights.

    Parameters
    ----------
    architecture : str
        As in `build_on_meta`.

    Returns
    -------
    EncoderShape

    Raises
    ------
    UserError
        If the architecture is unknown.

    Example
    -------
    >>> encoder_shape("wavlm-large").width
    1024
    """
    return stack_shape(architecture, "encoder")


def stack_shape(architecture: str, part: str) -> EncoderShape:
    """As `encoder_shape`; of the ``encoder``, or of the ``decoder`` of an architecture that has one.

    Example
    -------
    >>> stack_shape("whisper-small", "decoder").layer_norms
    3
    """
    with torch.device("meta"):
        model = AutoModel.from_config(architecture_config(architecture))
        return EncoderShape.of(encoder_of(model) if part == "encoder" else model.decoder)


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum({id(p): p.numel() for p in parameters}.values())
