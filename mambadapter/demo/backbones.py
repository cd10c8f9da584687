"""Small AST and Whisper checkpoints with random weights, whole with what reads audio and writes text."""

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from torch import nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

_FRAMES_PER_SECOND = 50  # of Whisper's encoder


def write_ast(
    folder: str | Path, max_length: int = 48, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """Write a small AST, its position embeddings not zero."""
    config = ASTConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=2 * width, max_length=max_length,
    )  # fmt: skip
    config.num_labels = 5
    torch.manual_seed(seed)
    model = ASTForAudioClassification(config)
    embeddings = model.audio_spectrogram_transformer.embeddings
    for parameter in (embeddings.position_embeddings, embeddings.cls_token):
        nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=max_length).save_pretrained(folder)
    return Path(folder)


def write_whisper(
    folder: str | Path, seconds: int = 2, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """Write a small Whisper that knows two languages and writes bytes."""
    special = ["endoftext", "startoftranscript", "en", "fr", "transcribe", "notimestamps"]
    special = [f"<|{name}|>" for name in special]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = WhisperTokenizer({letter: n for n, letter in enumerate(letters)}, [])
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    end = tokenizer.get_vocab()[special[0]]
    config = WhisperConfig(
        d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=2 * width, decoder_ffn_dim=2 * width,
        max_source_positions=_FRAMES_PER_SECOND * seconds, max_target_positions=80,
        vocab_size=len(tokenizer), pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=end + 1,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    nn.init.normal_(model.model.decoder.embed_tokens.weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=seconds).save_pretrained(folder)
    return Path(folder)
