"""Parameter counts: of built models, each tensor once, and by the closed formulae."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.box import box_folder
from mambadapter.errors import UserError, did_you_mean
from mambadapter.methods import PLACEMENTS, IdentityBottlenecks, MambAdapters
from mambadapter.ssm import mamba_parameter_count

# The published encoders' shapes, so that counts need no download.
ARCHITECTURES: dict[str, dict] = {
    "ast-base": {"model_type": "audio-spectrogram-transformer"},
    "wav2vec2-base": {"model_type": "wav2vec2"},
    "hubert-base": {"model_type": "hubert"},
    "wavlm-base-plus": {"model_type": "wavlm"},
    "wavlm-large": {
        "model_type": "wavlm",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
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
        The head.

    Returns
    -------
    ParameterCount

    Example
    -------
    >>> str(count_parameters(build_on_meta("ast-base", MambAdapters()))).splitlines()[-2]
    'trained without head          65,976'
    """
    backbone = list(encoder.backbone.parameters())
    norms = {
        id(p)
        for module in encoder.backbone.modules()
        if isinstance(module, nn.LayerNorm)
        for p in module.parameters(recurse=False)
    }
    learning = [p for p in backbone if p.requires_grad]
    return ParameterCount(
        frozen=_size(p for p in backbone if not p.requires_grad),
        encoder=_size(p for p in learning if id(p) not in norms),
        layer_norm=_size(p for p in learning if id(p) in norms),
        adapter=_size(encoder.branches.parameters()),
        head=_size(head.parameters()) if head is not None else 0,
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
    with torch.device("meta"):
        return AdaptedEncoder(AutoModel.from_config(architecture_config(architecture)), method)


def architecture_config(architecture: str) -> PretrainedConfig:
    """Find the transformers configuration of an architecture by name, folder or hub name."""
    if architecture == "box":
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


def mambadapter_count(width: int, layers: int, method: MambAdapters) -> int:
    """Closed formula for `MambAdapters`, with the LayerNorms it trains.

    With n insertion points and M the Mamba block's count, ``(2dr + r + d) + n(M + 1)`` when the
    projections are shared and ``n(2dr + r + d + M)`` when not, plus 2d for each trained LayerNorm.

    Parameters
    ----------
    width : int
        Channels of the encoder, d.
    layers : int
        Transformer layers.
    method : MambAdapters
        The settings.

    Returns
    -------
    int
        Parameters that learn, the head left out.

    Example
    -------
    >>> mambadapter_count(768, 12, MambAdapters(placement="houlsby"))
    111204
    """
    block = mamba_parameter_count(method.rank, method.d_state, method.d_conv, method.expand)
    if method.bidirectional and method.backward_parameters == "own":
        block *= 2
    return _bottleneck_count(width, layers, method, block)


def identity_bottleneck_count(width: int, layers: int, method: IdentityBottlenecks) -> int:
    """Closed formula for `IdentityBottlenecks`: that of `MambAdapters` with M = 0.

    Parameters
    ----------
    width : int
        Channels of the encoder, d.
    layers : int
        Transformer layers.
    method : IdentityBottlenecks
        The settings.

    Returns
    -------
    int
        Parameters that learn, the head left out.

    Example
    -------
    >>> identity_bottleneck_count(768, 12, IdentityBottlenecks())
    39192
    """
    return _bottleneck_count(width, layers, method, block=0)


def _bottleneck_count(
    width: int, layers: int, method: MambAdapters | IdentityBottlenecks, block: int
) -> int:
    """Projections, scales and norms, and `block` parameters between the projections of each point."""
    points = layers * len(PLACEMENTS[method.placement])
    pair = 2 * width * method.rank + method.rank + width
    branches = pair + points * (block + 1) if method.shared else points * (pair + block)
    # The final norm is trained once, also where an adapted sub-layer reads it.
    norms = 2 * width * (points + 1) if method.norms == "adapted" else 0
    return branches + norms


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum({id(p): p.numel() for p in parameters}.values())
