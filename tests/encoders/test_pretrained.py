"""Checkpoints load whole or not at all."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, Wav2Vec2FeatureExtractor

from mambadapter.encoders import load_pretrained
from mambadapter.encoders.families import encoder_of
from mambadapter.encoders.padding import normalise_waveforms
from mambadapter.errors import UserError


def test_loads_the_checkpoints_weights(any_encoder_folder):
    loaded = load_pretrained(any_encoder_folder)
    plain = encoder_of(AutoModel.from_pretrained(any_encoder_folder)).state_dict()
    for name, tensor in loaded.backbone.state_dict().items():
        assert torch.equal(tensor, plain[name]), name
    assert loaded.frontend.sample_rate == 16000
    assert getattr(loaded.frontend, "normalise", True)


def test_a_checkpoint_that_lacks_weights_is_refused(encoder_folders, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(encoder_folders["wav2vec2"], folder)
    weights = load_file(str(folder / "model.safetensors"))
    weights.pop("encoder.layers.1.attention.q_proj.weight")
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 weights .*q_proj.weight"):
        load_pretrained(str(folder))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_pretrained(str(tmp_path))


def truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def unname(folder):
    (folder / "config.json").write_text('{"hidden_size": 32}')


def garble(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("damage", [truncate, unname, garble])
def test_a_damaged_checkpoint_is_refused(encoder_folders, tmp_path, damage):
    folder = shutil.copytree(encoder_folders["wav2vec2"], tmp_path / "damaged")
    damage(folder)
    with pytest.raises(UserError, match="Cannot load the encoder '.*damaged'"):
        load_pretrained(str(folder))


def test_an_unreachable_name_is_refused():
    with pytest.raises(UserError, match="Cannot load the encoder 'nobody/nothing'"):
        load_pretrained("nobody/nothing")


def test_another_family_is_refused(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="'bert' are not supported"):
        load_pretrained(str(tmp_path))


def test_normalisation_equals_transformers():
    torch.manual_seed(0)
    clips = [torch.randn(n) * 0.2 + 0.1 for n in (800, 500)]
    expected = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)(
        [clip.numpy() for clip in clips], sampling_rate=16000, padding=True, return_tensors="pt"
    ).input_values
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    got = normalise_waveforms(batch, torch.tensor([800, 500]))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
