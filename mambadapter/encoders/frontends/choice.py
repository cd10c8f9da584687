"""From a checkpoint's configuration to its frontend."""

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig

from mambadapter.encoders.frontends.log_mels import LogMels
from mambadapter.encoders.frontends.protocol import Frontend
from mambadapter.encoders.frontends.spectrograms import Spectrograms
from mambadapter.encoders.frontends.waveforms import Waveforms
from mambadapter.errors import UserError, did_you_mean

_AST, _WHISPER = "audio-spectrogram-transformer", "whisper"

# What the user may set; the rest belongs to the checkpoint.
_SETTINGS = {_AST: ("max_length", "token_order", "readout"), _WHISPER: ("padding",)}
ENCODER_SETTINGS = frozenset(name for settings in _SETTINGS.values() for name in settings)


def frontend_of(
    config: PretrainedConfig,
    preprocessor: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Frontend:
    """Make the frontend of an encoder.

    Parameters
    ----------
    config : PretrainedConfig
        The encoder's.
    preprocessor : Mapping[str, Any], optional
        Its preprocessor_config.json; what that lacks is as usual for the family.
    settings : Mapping[str, Any], optional
        The user's own, as keyword arguments of the class.

    Returns
    -------
    Frontend

    Raises
    ------
    UserError
        If a setting is unknown or impossible.

    Example
    -------
    >>> from transformers import ASTConfig
    >>> frontend_of(ASTConfig(), settings={"max_length": 100}).max_length
    100
    """
    preprocessor = preprocessor or {}
    settings = {key: value for key, value in (settings or {}).items() if value is not None}
    known = _SETTINGS.get(config.model_type, ())
    for key in settings:
        if key not in known:
            raise UserError(
                f"encoder.{key}: encoders of family '{config.model_type}' have no such setting"
                + (f"; {did_you_mean(key, known)}." if known else ".")
            )
    rate = preprocessor.get("sampling_rate", 16000)
    if config.model_type == _WHISPER:
        return LogMels(rate, config.num_mel_bins, config.max_source_positions, **settings)
    if config.model_type != _AST:
        return Waveforms(rate, preprocessor.get("do_normalize", True))
    trained = {"max_length": config.max_length}
    if preprocessor.get("do_normalize", True):
        trained |= {key: preprocessor[key] for key in ("mean", "std") if key in preprocessor}
    else:
        trained |= {"mean": 0.0, "std": 0.5}
    return Spectrograms(rate, config.num_mel_bins, **{**trained, **settings})
