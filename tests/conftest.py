"""Small encoder checkpoints and a small corpus, made once for the whole test run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import support.triton_on_cpu  # noqa: F401
import torch
from hypothesis import is_hypothesis_test
from speechbrain.utils.importutils import LazyModule

from mambadapter.demo import write_ast, write_corpus, write_encoder, write_whisper

# Hypothesis asks every module for its file, and SpeechBrain's would import what is not installed to say.
LazyModule.__file__ = None

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


# Folders whose tests train, or cross every method with every encoder.
SLOW = ("training", "methods", "recipes", "experiments", "ssm")


def pytest_configure(config):
    """Where coverage is measured, `support.warm` traces the recipes too."""
    if config.getoption("cov_source", None):
        os.environ["TRACED"] = "1"


def pytest_collection_modifyitems(config, items):
    """Mark what `make check` leaves to `make test`; deselect what needs a GPU where there is none."""
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("exhaustive")
        if item.path.parent.name in SLOW or item.get_closest_marker("exhaustive"):
            item.add_marker("slow")
    if not torch.cuda.is_available():
        gpu = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=gpu)
        items[:] = [item for item in items if item not in set(gpu)]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """A thread for each worker: models of tests are too small for more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing of a test run is left in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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
