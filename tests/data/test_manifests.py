"""Manifests become datasets whose labels depend on nothing but their names."""

import json
import pickle

import numpy as np
import pytest
import soundfile as sf
import torch
import torch.nn.functional as F

from mambadapter.data.audio import inspect_clips, read_clip
from mambadapter.data.clips import Clips
from mambadapter.data.manifests import (
    alignable,
    classification_datasets,
    frames_needed,
    manifest_entry,
    text_datasets,
    transcription_datasets,
)
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.methods import LinearProbe
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.utils.files import write_json


@pytest.fixture
def clips(tmp_path):
    for name in ("b/1.wav", "a/1.wav", "a/2.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sf.write(tmp_path / name, np.zeros(8000), 16000)
    return inspect_clips([tmp_path / n for n in ("b/1.wav", "a/1.wav", "a/2.wav")], 16000)[0]


def write_manifest(path, clips, labels, root):
    keys = [clip.path.relative_to(root).with_suffix("").as_posix() for clip in clips]
    return write_json(path, dict(zip(keys, map(manifest_entry, clips, labels), strict=True)))


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


def test_datasets_go_to_other_processes(clips, tmp_path):
    """On macOS, Windows and some clusters those that load data are not forked: all is pickled."""
    labelled = write_manifest(tmp_path / "m/a.json", clips, ["yes", "no", "no"], tmp_path)
    spoken = {
        name: {**entry, "text": "ab"} for name, entry in json.loads(labelled.read_text()).items()
    }
    texts = write_json(tmp_path / "m/b.json", spoken)
    encoder = AdaptedEncoder.from_pretrained("mambadapter/box", LinearProbe())
    sets = [
        classification_datasets({"train": labelled}, 16000)[0]["train"],
        transcription_datasets({"train": texts}, 16000, encoder.frames)[0]["train"],
        text_datasets({"train": texts}, 16000, Vocabulary.of(["ab"]).encode)["train"],
    ]
    for dataset in sets:
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(copy[0]["signal"], dataset[0]["signal"])
        assert len(pickle.dumps(dataset)) < 10_000  # no model goes with it


@pytest.mark.parametrize("text", ["a", "ab", "aab", "aaa", "abba", "aaaabbbb", "yella d azul"])
def test_ctc_has_a_loss_from_that_many_frames(text):
    """Against PyTorch's: finite with so many frames, infinite with one fewer."""
    letters = Vocabulary.of([text])
    tokens = torch.tensor([letters.encode(text)])
    needed = frames_needed(text)
    for frames, finite in ((needed, True), (needed - 1, False)):
        scores = torch.randn(frames, 1, len(letters)).log_softmax(-1) if frames else None
        if scores is not None:
            loss = F.ctc_loss(scores, tokens, torch.tensor([frames]), torch.tensor([len(text)]))
            assert bool(loss.isfinite()) is finite


@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_clips_with_too_few_frames_are_left_out(
    encoder_folders, tmp_path, caplog, family, rate, spare
):
    """To the frame, by the encoder's own count of what is read."""
    encoder = AdaptedEncoder.from_pretrained(encoder_folders[family], LinearProbe())
    sf.write(tmp_path / "a.wav", np.zeros(rate // 5 + 7), rate)
    signal = read_clip(tmp_path / "a.wav", encoder.sample_rate)
    there = int(encoder.frames(torch.tensor([len(signal)])))
    text = ("ab" * there)[: there - spare]
    (clip,), _ = inspect_clips([tmp_path / "a.wav"], 16000)
    entries = {"a": {"duration": clip.seconds, "text": text}, "b": {"duration": 9.0, "text": "a"}}
    clips = Clips((name, {"wav": "/a.wav", **entry}) for name, entry in entries.items())
    kept = alignable(clips, encoder.sample_rate, encoder.frames)
    assert ("a" in kept) == (spare >= 0)
    assert ("left out 1 clips with more tokens" in caplog.text) == (spare < 0)
