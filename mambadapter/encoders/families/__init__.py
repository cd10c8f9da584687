"""The families of encoders: a file each; a new one is a file and a line here."""

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from mambadapter.encoders.families import ast, wav2vec2, wavlm, whisper
from mambadapter.encoders.families.family import Family, Layout
from mambadapter.encoders.frontend import Frontend
from mambadapter.errors import UserError, did_you_mean

FAMILIES: dict[str, Family] = {
    "wav2vec2": wav2vec2.WAV2VEC2,
    "hubert": wav2vec2.HUBERT,
    "wavlm": wavlm.WAVLM,
    "audio-spectrogram-transformer": ast.AST,
    "whisper": whisper.WHISPER,
}

# Every setting of every frontend, and the shape of every published encoder by its name in the menu.
ENCODER_SETTINGS = frozenset(name for family in FAMILIES.values() for name in family.settings)
ARCHITECTURES: dict[str, dict[str, Any]] = {
    name: {"model_type": kind, **shape}
    for kind, family in FAMILIES.items()
    for name, shape in family.shapes.items()
}


def family_of(config: PretrainedConfig) -> Family:
    """The family of a checkpoint's configuration, or an error that lists those there are."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise UserError(
            f"Encoders of family '{kind}' are not supported: {did_you_mean(kind, FAMILIES)}."
        )
    return FAMILIES[kind]


def layout_of(backbone: PreTrainedModel) -> Layout:
    """Where an encoder or decoder keeps what branches need."""
    family = family_of(backbone.config)
    layout = family.decoder_layout if is_decoder(backbone) else None
    return layout or family.layout


def is_decoder(backbone: PreTrainedModel) -> bool:
    """Whether it writes tokens one after the other, each of which must not see those to come."""
    decoder = family_of(backbone.config).decoder
    return decoder is not None and isinstance(backbone, decoder)


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder of a transformers model, which may be all of it."""
    path = family_of(model.config).encoder
    return getattr(model, path, model) if path else model


def frontend_of(
    config: PretrainedConfig,
    preprocessor: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Frontend:
    """Make the frontend of an encoder."""
    family = family_of(config)
    settings = {key: value for key, value in (settings or {}).items() if value is not None}
    for key in settings:
        if key not in family.settings:
            raise UserError(
                f"encoder.{key}: encoders of family '{config.model_type}' have no such setting"
                + (f"; {did_you_mean(key, family.settings)}." if family.settings else ".")
            )
    return family.frontend(config, preprocessor or {}, settings)
