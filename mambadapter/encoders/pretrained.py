"""Load an encoder from transformers, by hub name or local folder, with nothing random left in it."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.utils import cached_file

from mambadapter.encoders.box import BOX, box_folder
from mambadapter.encoders.sublayers import check_family
from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

# Everything in these families that acts in train mode only.
_REGULARISERS = (
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "feat_proj_dropout",
    "final_dropout",
    "layerdrop",
)


@dataclass(frozen=True)
class PretrainedEncoder:
    """A loaded encoder and what its checkpoint says about the waveforms it wants.

    Attributes
    ----------
    backbone : nn.Module
        The transformers model.
    source : str
        Hub name or local folder it came from.
    sample_rate : int
        Hz.
    normalise : bool
        Whether each clip is scaled to zero mean and unit variance first.
    """

    backbone: nn.Module
    source: str
    sample_rate: int
    normalise: bool


def load_pretrained(source: str, regularised: bool = False) -> PretrainedEncoder:
    """Load a wav2vec2, HuBERT or WavLM encoder.

    Parameters
    ----------
    source : str
        A hub name such as ``facebook/wav2vec2-base``, a folder written by ``save_pretrained``, or
        ``mambadapter/box``, the encoder that comes with the package.
    regularised : bool
        Keep the checkpoint's own dropout and time masking, as full fine-tuning wants. The default
        removes them for good: a frozen encoder is a fixed function, whatever ``train()`` is called on.
        LayerDrop is always removed: it skips branches and breaks distributed training.

    Returns
    -------
    PretrainedEncoder

    Raises
    ------
    UserError
        If the checkpoint is not there, is of another family, or lacks weights of the encoder.

    Example
    -------
    >>> load_pretrained("mambadapter/box").backbone.config.hidden_size
    192
    """
    name = source
    folder = box_folder() if source == BOX else Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{folder} holds no config.json, so it is not a transformers checkpoint; "
                "write one with model.save_pretrained(folder)."
            )
        source = str(folder)
    try:
        config = AutoConfig.from_pretrained(source)
        check_family(config.model_type)
        _refuse_unsupported(config, source)
        _set_regularisers(config, regularised)
        backbone, info = AutoModel.from_pretrained(
            source, config=config, dtype=torch.float32, output_loading_info=True
        )
    except UserError:
        raise
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise UserError(
            f"Cannot load the encoder '{source}' ({_first_line(error)}). Check the name of the hub's model "
            "or the files of the folder, or download it once more and give its folder."
        ) from error
    # Unused unless time masking is on, and absent from many checkpoints.
    missing = [key for key in info["missing_keys"] if not key.endswith("masked_spec_embed")]
    if missing:
        raise UserError(
            f"The checkpoint '{source}' lacks {len(missing)} weights of the encoder, such as "
            f"{sorted(missing)[0]}: they would be random. Give a complete checkpoint."
        )
    sample_rate, normalise = _waveform_format(source)
    return PretrainedEncoder(backbone, name, sample_rate, normalise)


def _refuse_unsupported(config: PretrainedConfig, source: str) -> None:
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"'{source}' has transformers' convolutional adapter on top (add_adapter), which changes "
            "the frame rate; use the encoder it was made from."
        )


def _set_regularisers(config: PretrainedConfig, regularised: bool) -> None:
    config.layerdrop = 0.0
    if not regularised:
        config.apply_spec_augment = False
        for name in _REGULARISERS:
            setattr(config, name, 0.0)


def _waveform_format(source: str) -> tuple[int, bool]:
    path = cached_file(
        source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        logger.warning(
            "'%s' has no preprocessor_config.json: taking 16 kHz and normalised waveforms, as for "
            "facebook/wav2vec2-base.",
            source,
        )
        return 16000, True
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    return settings.get("sampling_rate", 16000), settings.get("do_normalize", True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).strip()
