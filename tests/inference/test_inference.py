"""A package gives back the model it was made from, and refuses another encoder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file, save_file
from support.models import build

from mambadapter import cli
from mambadapter.data.audio import read_clip
from mambadapter.errors import UserError
from mambadapter.inference import load_adapter, save_package
from mambadapter.methods import FullFinetuning, IdentityBottlenecks, LinearProbe, MambAdapters

METHODS = [
    MambAdapters(rank=4, placement="houlsby", bidirectional=True),
    MambAdapters(rank=4, shared=False),
    IdentityBottlenecks(rank=4),
    LinearProbe(),
    FullFinetuning(),
]
LABELS = ["no", "stop", "yes"]


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    rate = np.random.default_rng(0)
    sf.write(path, rate.normal(0, 0.1, (8000, 2)), 8000)
    return path


def trained(folder, method):
    encoder, head = build(folder, method)
    with torch.no_grad():
        for module in (encoder, head):
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return {"encoder": encoder.eval(), "head": head.eval()}


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_round_trip(encoder_folder, method, tmp_path, clip):
    modules = trained(encoder_folder, method)
    save_package(tmp_path / "adapter", modules, encoder_folder, method, LABELS)
    model = load_adapter(tmp_path / "adapter")
    with torch.no_grad():
        wanted = modules["head"](*modules["encoder"](read_clip(clip, 16000)[None])).softmax(-1)[0]
    predicted = model.predict(clip).scores
    for label, value in zip(LABELS, wanted.tolist(), strict=True):
        assert predicted[label] == pytest.approx(value, rel=1e-5)


def test_a_package_is_small(encoder_folders, tmp_path):
    folder = encoder_folders["wav2vec2"]
    method = MambAdapters(rank=4)
    save_package(tmp_path, trained(folder, method), folder, method, LABELS)
    assert (tmp_path / "adapter.safetensors").stat().st_size < 20_000
    assert json.loads((tmp_path / "adapter.json").read_text())["method"]["rank"] == 4


def test_another_encoder_is_refused(encoder_folders, tmp_path, clip, capsys):
    folder = encoder_folders["wav2vec2"]
    save_package(tmp_path, trained(folder, METHODS[0]), folder, METHODS[0], LABELS)
    with pytest.raises(UserError, match="is not the encoder this adapter was trained on"):
        load_adapter(tmp_path, encoder=encoder_folders["hubert"])
    moved = shutil.copytree(folder, tmp_path / "moved")
    load_adapter(tmp_path, encoder=moved)
    assert cli.main(["predict", str(tmp_path), str(clip), "--encoder", str(moved)]) == 0
    assert "clip.wav: " in capsys.readouterr().out


def test_absent_embeddings_make_no_other_encoder(encoder_folders, tmp_path):
    """transformers draws the mask embedding at random where a checkpoint has none."""
    folder = Path(shutil.copytree(encoder_folders["wav2vec2"], tmp_path / "finetuned"))
    weights = load_file(str(folder / "model.safetensors"))
    weights.pop("masked_spec_embed")
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    method = LinearProbe()
    save_package(tmp_path / "a", trained(str(folder), method), str(folder), method, LABELS)
    torch.manual_seed(99)
    load_adapter(tmp_path / "a")


def test_a_folder_that_is_no_package_is_refused(tmp_path, capsys):
    assert cli.main(["predict", str(tmp_path), "x.wav"]) == 2
    assert "holds no adapter.json" in capsys.readouterr().err
