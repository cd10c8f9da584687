"""Speech Commands' task of 12 classes: what tests, what is drawn, and what is refused."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile as sf
from support.recipe_run import RECIPES, read

from mambadapter.config import load_experiment
from mambadapter.config.schema import contract
from mambadapter.data.corpora.speech_commands import prepare_gsc
from mambadapter.data.corpora.speech_commands_12 import COMMANDS, NOISE, twelve_classes
from mambadapter.data.manifests import classification_datasets
from mambadapter.errors import UserError

OTHERS = ("bed", "cat")


def write(path, seconds=0.1):
    """Noise, of each path another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng([*"/".join(path.parts[-3:]).encode()]).normal(
        0, 0.1, int(16000 * seconds)
    )
    sf.write(path, samples, 16000, subtype="PCM_16")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two clips of each word in each split, a recording of noise, and what stands for the published test."""
    root = tmp_path_factory.mktemp("gsc") / "speech_commands_v0.02"
    lists = {"validation_list.txt": "v", "testing_list.txt": "t"}
    for word in (*COMMANDS, *OTHERS):
        for speaker in ("a", "v", "t"):
            for take in range(2):
                write(root / f"{word}/{speaker}_nohash_{take}.wav")
    for name, speaker in lists.items():
        names = sorted(
            path.relative_to(root).as_posix() for path in root.glob(f"*/{speaker}_*.wav")
        )
        (root / name).write_text("\n".join(names))
    write(root / NOISE / "hum.wav", 30)
    test = root.with_name("speech_commands_test_set_v0.02")
    for label in (*COMMANDS, "_unknown_", "_silence_"):
        write(test / label / "x_nohash_0.wav")
    return root, test


def counts(manifests, split):
    return Counter(entry["label"] for entry in read(manifests, split).values())


def test_one_in_ten_is_unknown_and_one_silence(small, tmp_path, caplog):
    root, _ = small
    manifests = prepare_gsc(root, tmp_path / "m", classes=12)
    for split in manifests:
        wanted = dict.fromkeys(COMMANDS, 2) | {"_unknown_": 2, "_silence_": 2}
        assert counts(manifests, split) == wanted
    assert (
        "The test is made of testing_list.txt: 20 clips of the ten words, 2 of others"
        in caplog.text
    )
    unknown = {name for split in manifests for name, e in read(manifests, split).items() if e["label"] == "_unknown_"}  # fmt: skip
    assert {name.partition("/")[0] for name in unknown} <= {*OTHERS}
    datasets, labels = classification_datasets(manifests, 16000)
    assert len(labels) == 12
    for of_split in datasets.values():
        for clip in of_split:
            assert len(clip["signal"]) == (16000 if "#t=" in clip["id"] else 1600)
    first = {split: path.read_text() for split, path in manifests.items()}
    again = prepare_gsc(root, tmp_path / "again", classes=12)
    assert {split: path.read_text() for split, path in again.items()} == first
    other = prepare_gsc(root, tmp_path / "other", classes=12, seed=3)
    assert read(other, "train").keys() != read(manifests, "train").keys()


def test_silence_is_that_part_of_the_noise_and_on_one_side(small, tmp_path):
    root, _ = small
    manifests = prepare_gsc(root, tmp_path / "m", classes=12)
    whole, _ = sf.read(root / NOISE / "hum.wav", dtype="float32")
    parts = {}
    for split, of_split in classification_datasets(manifests, 16000)[0].items():
        found = [e for e in read(manifests, split).values() if e["label"] == "_silence_"]
        parts[split] = [(entry["start"], entry["end"]) for entry in found]
        for clip in of_split:
            if "#t=" in clip["id"]:
                start = round(16000 * of_split.data[clip["id"]]["start"])
                np.testing.assert_array_equal(clip["signal"], whole[start : start + 16000])
    assert max(end for _, end in parts["train"]) <= 24 <= min(start for start, _ in parts["valid"])
    assert max(end for _, end in parts["valid"]) <= 27 <= min(start for start, _ in parts["test"])


def test_the_published_test_set_is_used_as_it_is(small, tmp_path):
    root, test = small
    manifests = prepare_gsc(root, tmp_path / "m", classes=12, test_folder=test)
    assert counts(manifests, "test") == dict.fromkeys((*COMMANDS, "_unknown_", "_silence_"), 1)
    entry = read(manifests, "test")["speech_commands_test_set_v0.02/_silence_/x_nohash_0"]
    assert entry["wav"] == str(test / "_silence_/x_nohash_0.wav")
    assert counts(manifests, "train")["_silence_"] == 2


def test_a_test_set_that_shares_clips_with_training_is_named(small, tmp_path, caplog):
    """As copies under other names; by their bytes, since many clips are of one size."""
    root, test = small
    prepare_gsc(root, tmp_path / "clean", classes=12, test_folder=test)
    assert "are in training" not in caplog.text
    copied = tmp_path / "speech_commands_test_set_v0.02"
    shutil.copytree(test, copied)
    shutil.copy(root / "yes/a_nohash_1.wav", copied / "yes/renamed.wav")
    caplog.clear()
    prepare_gsc(root, tmp_path / "m", classes=12, test_folder=copied)
    assert f"1 of the 13 clips of {copied} are in training or validation, too" in caplog.text
    assert "validation, too: yes/renamed.wav = yes/a_nohash_1.wav. Results" in caplog.text


def test_the_proportions_are_the_published_ones(tmp_path):
    """4,074 clips of the ten words in the test's list give 408 of each of the others: 4,890."""
    write(tmp_path / NOISE / "hum.wav", 60)
    names = [f"{COMMANDS[n % 10]}/{n}.wav" for n in range(4074)] + [
        f"bed/{n}.wav" for n in range(900)
    ]
    listed = {"train": names[-5:], "valid": names[-5:], "test": names}
    files = twelve_classes(tmp_path, listed, None, seed=1)
    found = Counter(file.label for file in files if file.split == "test")
    assert found["_unknown_"] == found["_silence_"] == 408
    assert found.total() == 4890
    backwards = {split: of_split[::-1] for split, of_split in listed.items()}
    assert sorted(f.key for f in twelve_classes(tmp_path, backwards, None, seed=1)) == sorted(f.key for f in files)  # fmt: skip


def without(*names):
    def damage(root, test):
        for name in names:
            shutil.rmtree(root / name if (root / name).exists() else test / name)

    return damage


@pytest.mark.parametrize(
    ("damage", "given", "message"),
    [
        (without("yes", "go"), {}, "needs all of the ten words, and .* has no yes, go; unpack the whole"),
        (without(*OTHERS), {}, "needs 2 clips of other words in the train split, and .* has 0"),
        (without(NOISE), {}, "cuts silence from .*, which has no wav"),
        (lambda root, test: write(root / NOISE / "hum.wav", 5), {}, "needs 2 s of silence to valid"),
        (without("_silence_"), {"test_folder": True}, "is not the published test set: it has no clip of _silence_"),
        (lambda root, test: shutil.rmtree(test), {"test_folder": True}, "There is no folder .*; give test_folder"),
        (lambda root, test: None, {"classes": 35, "test_folder": True}, "add --classes 12"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(damage, given, message, small, tmp_path):
    root, test = (shutil.copytree(path, tmp_path / path.name) for path in small)
    damage(root, test)
    if "test_folder" in given:
        given = {**given, "test_folder": test}
    with pytest.raises(UserError, match=message) as refused:
        prepare_gsc(root, tmp_path / "m", **{"classes": 12, **given})
    assert "\n" not in str(refused.value)


def test_the_recipe_takes_the_key(small, tmp_path, monkeypatch):
    root, test = small
    monkeypatch.chdir(RECIPES / "GoogleSpeechCommands")
    given = ["--data_folder", str(root), "--output_root", str(tmp_path), "--classes", "12", "--test_folder", str(test)]  # fmt: skip
    prepare = load_experiment(["hparams/quickstart.yaml", *given], contract("classification")).hparams["prepare"]  # fmt: skip
    assert len(json.loads(prepare()["test"].read_text())) == 12
    with pytest.raises(UserError, match="classes: '11' is not 12 or 35"):
        load_experiment(["hparams/quickstart.yaml", *given[:4], "--classes", "11"], contract("classification"))  # fmt: skip
