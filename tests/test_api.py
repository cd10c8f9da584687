"""What `import mambadapter` offers: every name, without weight, and adapters on any model."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, Wav2Vec2ForCTC, WhisperForConditionalGeneration

import mambadapter as ma

MINIMAL = Path(__file__).parents[1] / "examples/minimal.py"


@pytest.mark.parametrize("name", ma.__all__)
def test_every_public_name_is_there(name):
    """And a name that is not is refused as any module does."""
    assert getattr(ma, name) is not None
    assert name in dir(ma)


def test_unknown_names_are_refused():
    """As of any module."""
    with pytest.raises(AttributeError, match="attribute adept"):
        ma.adept  # noqa: B018


def test_the_import_loads_nothing_heavy():
    """No torch before something asks for it."""
    code = "import sys, mambadapter; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("wav2vec2", AutoModel),
        ("wav2vec2", Wav2Vec2ForCTC),
        ("wavlm-stable", AutoModel),
        ("ast", AutoModel),
        ("whisper", AutoModel),
        ("whisper", WhisperForConditionalGeneration),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_loaded_model_is_adapted_alike(family, kind, encoder_folders):
    """With a head or without, it gives what its folder gives."""
    model = kind.from_pretrained(encoder_folders[family])
    method = ma.MambAdapters(rank=4)
    torch.manual_seed(1)
    one = ma.adapt(model, method).eval()
    torch.manual_seed(1)
    other = ma.adapt(encoder_folders[family], method).eval()
    wavs, lens = torch.randn(2, 8000), torch.tensor([1.0, 0.7])
    with torch.no_grad():
        assert torch.equal(one(wavs, lens)[0], other(wavs, lens)[0])
    assert ma.count_parameters(one) == ma.count_parameters(other)


def test_other_encoders_and_methods_are_refused(encoder_folders, tmp_path):
    """Each in one line, and so is a file that is none of ours."""
    file = tmp_path / "adapter.safetensors"
    ma.save(file, encoder=ma.adapt(encoder_folders["hubert"], ma.LoRA(rank=2)))
    with pytest.raises(ma.UserError, match="was trained on an encoder with other frozen weights"):
        ma.load(file, encoder=ma.adapt(encoder_folders["wavlm"], ma.LoRA(rank=2)))
    with pytest.raises(ma.UserError, match="was saved from another model"):
        ma.load(file, encoder=ma.adapt(encoder_folders["hubert"], ma.LoRA(rank=3)))
    file.write_bytes(b"not a tensor file")
    with pytest.raises(ma.UserError, match="cannot be read as trained tensors"):
        ma.load(file, encoder=ma.adapt(encoder_folders["hubert"], ma.LoRA(rank=2)))


@pytest.mark.exhaustive
def test_the_minimal_example_learns_and_reloads(tmp_path, monkeypatch):
    """In at most 80 lines, and what it saves gives the same accuracy again."""
    assert len(MINIMAL.read_text().splitlines()) <= 80
    monkeypatch.chdir(tmp_path)
    spec = spec_from_file_location("minimal", MINIMAL)
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main(steps=60) > 0.8


def test_a_loaded_model_with_an_adapter_is_refused(encoder_folders):
    """Its convolutional adapter changes the frame rate, as in a checkpoint of one."""
    model = AutoModel.from_pretrained(encoder_folders["wav2vec2"])
    model.config.add_adapter = True
    with pytest.raises(ma.UserError, match="add_adapter"):
        ma.adapt(model, ma.LinearProbe())
