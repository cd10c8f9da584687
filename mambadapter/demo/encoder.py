"""A small encoder checkpoint, in transformers' own format."""

from pathlib import Path

from transformers import AutoConfig

from mambadapter.encoders.bundled import write_random_encoder


def write_encoder(
    folder: str | Path,
    family: str = "wav2vec2",
    stable_layer_norm: bool = False,
    seed: int = 0,
    width: int = 96,
    layers: int = 4,
) -> Path:
    """Write a small encoder with random weights; loading it is loading any checkpoint."""
    config = AutoConfig.for_model(
        family,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        conv_dim=(width // 2,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=stable_layer_norm,
        feat_extract_norm="layer" if stable_layer_norm else "group",
    )
    return write_random_encoder(config, folder, seed)
