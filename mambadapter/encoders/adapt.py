"""Adapt any supported model in one call."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.families import encoder_of
from mambadapter.encoders.loading import prepare_config
from mambadapter.encoders.stack import Method


def adapt(model: PreTrainedModel | str | Mapping[str, Any], method: Method) -> AdaptedEncoder:
    """Freeze an encoder and insert a method's branches.

    Parameters
    ----------
    model : PreTrainedModel, str or Mapping[str, Any]
        A transformers wav2vec2, HuBERT, WavLM, AST or Whisper model, with a head or without, whose encoder
        is changed in place and taken to read 16 kHz as is usual for its family; or what
        `AdaptedEncoder.from_pretrained` loads: a hub name, a folder, ``mambadapter/box``.
    method : Method
        One of `mambadapter.methods`, such as ``MambAdapters(rank=24)``.

    Returns
    -------
    AdaptedEncoder
        Called as ``encoder(wavs, wav_lens)`` on (B, S) waveforms and (B,) lengths as fractions of S, it
        returns (B, T, d) hidden states and (B,) how many of the T are valid.

    Raises
    ------
    UserError
        If the model is of another family, or the method does not fit it.

    Example
    -------
    >>> import torch
    >>> from mambadapter import LoRA
    >>> encoder = adapt("mambadapter/box", LoRA(rank=4))
    >>> hidden, frames = encoder(torch.randn(2, 16000))
    >>> hidden.shape
    torch.Size([2, 49, 192])
    """
    if isinstance(model, str | Mapping):
        return AdaptedEncoder.from_pretrained(model, method)
    prepare_config(model.config, type(model).__name__, method.trains_backbone)
    base = getattr(model, model.base_model_prefix, model)
    return AdaptedEncoder(encoder_of(base), method)
