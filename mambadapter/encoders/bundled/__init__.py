"""The encoder in the box: a small pretrained wav2vec 2.0 that comes with the package.

Its weights lie beside this file, with their model card; `recipes/BoxEncoder` makes them.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, Wav2Vec2FeatureExtractor

# What `hparams/encoders.yaml` and adapter packages call it, wherever the package is installed.
BOX = "mambadapter/box"


def box_folder() -> Path:
    """Return the folder of the checkpoint, in transformers' format."""
    return Path(__file__).parent


def write_random_twin(folder: str | Path, seed: int = 0) -> Path:
    """Write an encoder of the same shape with random weights: what pretraining is measured against."""
    return write_random_encoder(AutoConfig.from_pretrained(box_folder()), folder, seed)


def write_random_encoder(config: PretrainedConfig, folder: str | Path, seed: int) -> Path:
    """Write an encoder with random weights, which loads as any checkpoint of 16 kHz audio does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModel.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return Path(folder)
