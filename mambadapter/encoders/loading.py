"""Load an encoder from transformers, by hub name or local folder, with nothing random left in it."""

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from mambadapter.encoders.bundled import BOX, box_folder
from mambadapter.encoders.families import encoder_of, family_of, frontend_of
from mambadapter.encoders.frontend import Frontend
from mambadapter.errors import UserError, first_line
from mambadapter.utils.files import read_json

logger = logging.getLogger(__name__)

# What transformers raises of a checkpoint that was cut, or is something else.
_UNREADABLE = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError,
    ZeroDivisionError, SafetensorError, pickle.UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True)
class PretrainedEncoder:
    """A loaded encoder and what its checkpoint says about its input.

    Attributes
    ----------
    backbone : PreTrainedModel
        The transformers model.
    source : str
        Hub name or local folder it came from.
    frontend : Frontend
        What makes of waveforms what it reads.
    """

    backbone: PreTrainedModel
    source: str
    frontend: Frontend


def load_pretrained(
    source: str | Mapping[str, Any], regularised: bool = False
) -> PretrainedEncoder:
    """Load a wav2vec2, HuBERT, WavLM, AST or Whisper encoder."""
    model, frontend, name = read_checkpoint(source, AutoModel, regularised)
    return PretrainedEncoder(encoder_of(model), name, frontend)


def read_checkpoint(
    source: str | Mapping[str, Any], kind: Any, regularised: bool
) -> tuple[Any, Frontend, str]:
    """Load a whole model, of which an encoder may be a part; see `load_pretrained`."""
    name, settings = split_source(source)
    source = folder_or_hub(name)
    try:
        config = AutoConfig.from_pretrained(source)
        prepare_config(config, source, regularised)
        model, info = kind.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
    except UserError:
        raise
    except _UNREADABLE as error:
        raise UserError(
            f"Cannot load the encoder '{source}' ({first_line(error)}). Check the name of the hub's model "
            "or the files of the folder, or download it once more and give its folder."
        ) from error
    # Unused unless time masking is on, and absent from many checkpoints.
    missing = [key for key in info["missing_keys"] if not key.endswith("masked_spec_embed")]
    if missing:
        raise UserError(
            f"The checkpoint '{source}' lacks {len(missing)} weights of the encoder, such as "
            f"{sorted(missing)[0]}: they would be random. Give a complete checkpoint."
        )
    return model, frontend_of(config, read_preprocessor(source), settings), name


def folder_or_hub(source: str) -> str:
    """Where transformers finds a checkpoint: a folder that may be one, or a hub name."""
    folder = box_folder() if source == BOX else Path(source).expanduser()
    if folder.is_absolute() and not folder.is_dir():
        raise UserError(f"There is no encoder in {folder}: there is no such folder.")
    if not folder.is_dir():
        return source
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no config.json, so it is not a transformers checkpoint; "
            "write one with model.save_pretrained(folder)."
        )
    return str(folder)


def split_source(source: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take a recipe's encoder apart: where it is, and the settings of its frontend."""
    if isinstance(source, str):
        return source, {}
    settings = dict(source)
    return settings.pop("source"), settings


def prepare_config(config: PretrainedConfig, source: str, regularised: bool) -> None:
    """Refuse what is not supported; LayerDrop off, and unless `regularised` all else for training only."""
    regularisers = family_of(config).regularisers
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"'{source}' has transformers' convolutional adapter on top (add_adapter), which changes "
            "the frame rate; use the encoder it was made from."
        )
    for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        setattr(config, name, 0.0)
    if not regularised:
        config.apply_spec_augment = False
        for name in regularisers:
            setattr(config, name, 0.0)


def read_preprocessor(source: str) -> dict[str, Any]:
    """What a checkpoint says about its input."""
    path = cached_file(
        source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        logger.warning(
            "'%s' has no preprocessor_config.json: taking 16 kHz and what is usual for its family.",
            source,
        )
        return {}
    read = read_json(Path(path), "get the checkpoint again")
    rate = read.get("sampling_rate", 16000)
    if not isinstance(rate, int) or not 1000 <= rate <= 192_000:
        raise UserError(f"{path} has a sampling_rate of {rate!r}; get the checkpoint again.")
    return read
