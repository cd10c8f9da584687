"""Small encoder checkpoints and a small corpus, made once for the whole test run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from mambadapter.demo import write_corpus, write_encoder

# Every supported family, post-norm (group-normalised front end) and pre-norm.
ENCODERS = {
    "wav2vec2": ("wav2vec2", False),
    "wav2vec2-stable": ("wav2vec2", True),
    "hubert": ("hubert", False),
    "hubert-stable": ("hubert", True),
    "wavlm": ("wavlm", False),
    "wavlm-stable": ("wavlm", True),
}


@pytest.fixture(scope="session", autouse=True)
def two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {
        name: str(write_encoder(root / name, family, stable, width=32, layers=2))
        for name, (family, stable) in ENCODERS.items()
    }


@pytest.fixture(params=ENCODERS)
def encoder_folder(request, encoder_folders):
    """One checkpoint folder for each family and variant."""
    return encoder_folders[request.param]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), speakers=10, takes=1)
