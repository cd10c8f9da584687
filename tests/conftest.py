"""Small encoder checkpoints and a small corpus, made once for the whole test run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from mambadapter.demo import write_corpus, write_encoder

# The families that read waveforms, post-norm (group-normalised front end) and pre-norm.
WAVEFORM_ENCODERS = {
    "wav2vec2": ("wav2vec2", False),
    "wav2vec2-stable": ("wav2vec2", True),
    "hubert": ("hubert", False),
    "hubert-stable": ("hubert", True),
    "wavlm": ("wavlm", False),
    "wavlm-stable": ("wavlm", True),
}

ENCODERS = [*WAVEFORM_ENCODERS, "ast", "whisper"]


def write_ast(folder, max_length=48):
    """A small AST, its position embeddings not zero."""
    config = ASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_length=max_length, num_labels=5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = ASTForAudioClassification(config)
    embeddings = model.audio_spectrogram_transformer.embeddings
    for parameter in (embeddings.position_embeddings, embeddings.cls_token):
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=max_length).save_pretrained(folder)
    return folder


def write_whisper(folder):
    """A small Whisper that hears two seconds, knows two languages, and writes bytes."""
    special = ["endoftext", "startoftranscript", "en", "fr", "transcribe", "notimestamps"]
    special = [f"<|{name}|>" for name in special]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = WhisperTokenizer({letter: n for n, letter in enumerate(letters)}, [])
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    end = tokenizer.convert_tokens_to_ids(special[0])
    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=100,
        max_target_positions=80, vocab_size=len(tokenizer), pad_token_id=end, bos_token_id=end,
        eos_token_id=end, decoder_start_token_id=end + 1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.decoder.embed_tokens.weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    folders = {
        name: str(write_encoder(root / name, family, stable, width=32, layers=2))
        for name, (family, stable) in WAVEFORM_ENCODERS.items()
    }
    others = {"ast": write_ast(root / "ast"), "whisper": write_whisper(root / "whisper")}
    return {**folders, **{name: str(folder) for name, folder in others.items()}}


@pytest.fixture(params=WAVEFORM_ENCODERS)
def encoder_folder(request, encoder_folders):
    """One checkpoint folder for each family that reads waveforms, and variant."""
    return encoder_folders[request.param]


@pytest.fixture(params=ENCODERS)
def any_encoder_folder(request, encoder_folders):
    """One checkpoint folder for each family and variant."""
    return encoder_folders[request.param]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), speakers=10, takes=1)
