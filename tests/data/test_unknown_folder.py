"""Clips of none of the classes: found at any depth, and refused where they are none."""

import pytest
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from support.small_own import write_tone

from mambadapter.data.unknown import unknown_dataset
from mambadapter.errors import UserError


def test_they_are_read_as_the_known_ones(tmp_path):
    write_tone(tmp_path / "a/b/low.wav", 300, rate=8000)
    write_tone(tmp_path / "high.wav", 900)
    found = unknown_dataset(tmp_path, {}, 16000)
    assert [found[place]["label_index"] for place in range(2)] == [-1, -1]
    assert [len(found[place]["signal"]) for place in range(2)] == [4800, 4800]
    assert torch.isfinite(found[0]["signal"]).all()


def test_what_they_cannot_be_is_told(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        unknown_dataset(tmp_path / "gone", {}, 16000)
    with pytest.raises(UserError, match="there is no audio in"):
        unknown_dataset(tmp_path, {}, 16000)
    path = write_tone(tmp_path / "a.wav")
    known = DynamicItemDataset({"a": {"wav": str(path.resolve())}}, [], ["id"])
    with pytest.raises(UserError, match=r"a\.wav is a clip of one of the classes; give a folder"):
        unknown_dataset(tmp_path, {"valid": known}, 16000)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "copy.wav").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"copy\.wav is a clip of one of the classes"):
        unknown_dataset(elsewhere, {"valid": known}, 16000)
    (elsewhere / "copy.wav").unlink()
    (tmp_path / "b.wav").write_bytes(b"no audio")
    with pytest.raises(UserError, match="1 of 2 audio files are unusable"):
        unknown_dataset(tmp_path, {}, 16000)
    assert len(unknown_dataset(tmp_path, {}, 16000, skip_unusable=True)) == 1
