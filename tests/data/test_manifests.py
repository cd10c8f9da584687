"""Manifests become datasets whose labels depend on nothing but their names."""

import json

import numpy as np
import pytest
import soundfile as sf

from mambadapter.data.audio import inspect_clips
from mambadapter.data.manifests import classification_datasets, write_manifest
from mambadapter.errors import UserError
from mambadapter.utils.files import write_json


@pytest.fixture
def clips(tmp_path):
    for name in ("b/1.wav", "a/1.wav", "a/2.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sf.write(tmp_path / name, np.zeros(8000), 16000)
    return inspect_clips([tmp_path / n for n in ("b/1.wav", "a/1.wav", "a/2.wav")], 16000)


def test_round_trip(clips, tmp_path):
    path = write_manifest(tmp_path / "m/train.json", clips, ["yes", "no", "no"], tmp_path)
    entry = json.loads(path.read_text())["a/1"]
    assert entry == {"wav": str(tmp_path / "a/1.wav"), "duration": 0.5, "label": "no"}
    datasets, labels = classification_datasets({"train": path, "valid": path}, 16000)
    assert labels == ["no", "yes"]
    assert [item["label_index"] for item in datasets["valid"]] == [1, 0, 0]
    assert datasets["train"][0]["signal"].shape == (8000,)


def test_unseen_labels_and_empty_splits_are_refused(clips, tmp_path):
    train = write_manifest(tmp_path / "train.json", clips, ["yes", "no", "no"], tmp_path)
    other = write_manifest(tmp_path / "other.json", clips, ["yes", "no", "maybe"], tmp_path)
    with pytest.raises(UserError, match="test split has labels that training never sees: maybe"):
        classification_datasets({"train": train, "test": other}, 16000)
    with pytest.raises(UserError, match="valid split is empty"):
        classification_datasets(
            {"train": train, "valid": write_json(tmp_path / "e.json", {})}, 16000
        )


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
