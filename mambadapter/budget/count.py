"""Parameter counts of models, each tensor once, and shapes of the published encoders."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.bundled import BOX, box_folder
from mambadapter.encoders.families import ARCHITECTURES, encoder_of, frontend_of
from mambadapter.encoders.shape import EncoderShape
from mambadapter.encoders.stack import AdaptedStack, Method
from mambadapter.errors import UserError, did_you_mean


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


def build_on_meta(architecture: str, method: Method) -> AdaptedEncoder:
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
