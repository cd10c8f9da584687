"""The encoder that comes with the package is the one its card speaks of, and it is pretrained."""

import hashlib
import re

import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from mambadapter.config.menus import choose_source
from mambadapter.data.audio import read_clip
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.bundled import BOX, box_folder, write_random_twin
from mambadapter.heads import PooledClassifier
from mambadapter.inference import load_adapter, save_package
from mambadapter.methods import LinearProbe, MambAdapters


def test_the_checkpoint_is_the_one_of_the_card():
    weights = (box_folder() / "model.safetensors").read_bytes()
    card = (box_folder() / "README.md").read_text()
    assert hashlib.sha256(weights).hexdigest() in card
    assert len(weights) <= 12e6


def test_its_size_and_precision():
    tensors = load_file(box_folder() / "model.safetensors")
    assert 2e6 <= sum(tensor.numel() for tensor in tensors.values()) <= 6e6
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    encoder = AdaptedEncoder.from_pretrained(BOX, LinearProbe())
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_it_is_on_the_menu():
    from pathlib import Path

    from ruamel.yaml import YAML

    menu = YAML().load(Path("hparams/encoders.yaml").read_text())
    assert choose_source(menu, "box") == BOX


def test_a_package_does_not_say_where(tmp_path):
    """It names the encoder in the box, not where that is installed."""
    method = MambAdapters(rank=4)
    encoder = AdaptedEncoder.from_pretrained(BOX, method)
    modules = {"encoder": encoder, "head": PooledClassifier(encoder.width, 2)}
    save_package(tmp_path / "adapter", modules, BOX, method, ["a", "b"])
    card = (tmp_path / "adapter/adapter.json").read_text()
    assert str(box_folder()) not in card
    assert re.search(rf'"encoder": "{BOX}"', card)
    assert load_adapter(tmp_path / "adapter").labels() == ("a", "b")


def features(source, files):
    encoder = AdaptedEncoder.from_pretrained(source, LinearProbe()).eval()
    with torch.inference_mode():
        return torch.stack(
            [encoder(read_clip(f, 16000)[None])[0][0].mean(0) for f in files]
        ).numpy()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_probe_beats_one_on_random_weights(corpus, tmp_path, seed):
    files = sorted(corpus.glob("[!_]*/*.wav"))
    words = [file.parent.name for file in files]
    held_out = set((corpus / "testing_list.txt").read_text().split())
    train = [i for i, f in enumerate(files) if f"{f.parent.name}/{f.name}" not in held_out]
    test = [i for i in range(len(files)) if i not in train]
    accuracy = {}
    for source in (BOX, str(write_random_twin(tmp_path / "twin", seed))):
        x = features(source, files)
        probe = LogisticRegression(max_iter=2000).fit(x[train], [words[i] for i in train])
        accuracy[source] = probe.score(x[test], [words[i] for i in test])
    box, twin = accuracy.values()
    assert box > twin + 0.1


def test_bfloat16_stays_close_on_a_cpu():
    """oneDNN's AMX kernels emit noise for the encoder's narrow groups, unless these stay in float32."""
    encoder = AdaptedEncoder.from_pretrained("mambadapter/box", LinearProbe()).eval()
    wavs = torch.randn(2, 16000)
    with torch.no_grad():
        exact = encoder(wavs)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = encoder(wavs)[0].float()
    assert (rough - exact).norm() < 0.1 * exact.norm()
