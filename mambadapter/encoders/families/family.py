"""What this package knows of a family of encoders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig

from mambadapter.encoders.frontend import Frontend


@dataclass(frozen=True)
class Layout:
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
        The dense layers, in the order of `mambadapter.encoders.sublayers.DENSE_LAYERS`.
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


@dataclass(frozen=True)
class Masked:
    """What SpecAugment masks.

    Attributes
    ----------
    name : str
        The module whose output it is, or the argument of the model.
    hop : float
        Seconds from one frame to the next.
    is_input : bool
        It is an argument: a spectrogram.
    channels_first : bool
        (B, C, T) rather than (B, T, C).
    """

    name: str
    hop: float
    is_input: bool = False
    channels_first: bool = False


@dataclass(frozen=True)
class Family:
    """A family of encoders, by transformers' ``model_type``.

    Attributes
    ----------
    layout : Layout
        Of the encoder.
    frontend : Callable
        Makes the frontend from the encoder's configuration, its preprocessor_config.json and the user's
        settings.
    regularisers : tuple of str
        Keys of the configuration that act in train mode only, and are 0 in a frozen encoder.
    masked : Masked
        What SpecAugment masks.
    settings : tuple of str
        What the user may set of the frontend; the rest belongs to the checkpoint.
    shapes : Mapping[str, Mapping[str, Any]]
        Configurations of the published encoders, so that counts need no download.
    encoder : str
        Where a model that has more than the encoder keeps it; empty where it is the encoder.
    decoder, decoder_layout
        The class of the decoder and its layout, where there is one.
    patch : Callable, optional
        Changes a loaded encoder in place, for speed.
    reads_prefixes : bool
        The attention is this package's own, and reads a prefix by itself.
    layers_alike : bool
        No Transformer layer needs what another one computes besides its output.
    blanks : Mapping[str, Callable]
        For modules in front of the Transformer, what makes of the encoder and the module's input an output of
        the same shape, up to channels that nothing reads, without computing it.
    """

    layout: Layout
    frontend: Callable[[PretrainedConfig, Mapping[str, Any], Mapping[str, Any]], Frontend]
    regularisers: tuple[str, ...]
    masked: Masked
    settings: tuple[str, ...] = ()
    shapes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    encoder: str = ""
    decoder: type[nn.Module] | None = None
    decoder_layout: Layout | None = None
    patch: Callable[[nn.Module], None] | None = None
    reads_prefixes: bool = False
    layers_alike: bool = True
    blanks: Mapping[str, Callable[[Any, Tensor], Any]] = field(default_factory=dict)
