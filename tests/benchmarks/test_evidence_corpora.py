"""The corpora of the evidence are what they say: noise as loud as said, splits that share nothing, order as labelled."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mambadapter.data.corpora.fluent_speech_commands import prepare_fsc
from mambadapter.data.corpora.speech_commands import prepare_gsc
from mambadapter.utils.files import read_json

ROOT = Path(__file__).parents[2]
WORDS = ("yes", "no", "stop", "go")
PITCHES = dict(zip(WORDS, (300, 500, 700, 900), strict=True))


@pytest.fixture(scope="module")
def corpora():
    sys.path.insert(0, str(ROOT / "benchmarks/evidence"))
    import corpora

    return corpora


@pytest.fixture(scope="module")
def written(corpora, tmp_path_factory):
    """Six speakers of four words, the first of whom said most; and a sound in each fold."""
    root = tmp_path_factory.mktemp("evidence")
    speech, sounds = root / "speech_commands", root / "ESC-50"
    lists = {"validation": [], "testing": []}
    for speaker in range(6):
        for word, pitch in PITCHES.items():
            for take in range(8 + (speaker == 0)):
                name = f"{word}/{speaker:08x}_nohash_{take}.wav"
                time = np.arange(4000) / 16000
                corpora.write(speech / name, 0.3 * np.sin(2 * np.pi * (pitch + speaker) * time))
                if take < 4:
                    lists["testing" if take < 2 else "validation"].append(name)
    for name, files in lists.items():
        (speech / f"{name}_list.txt").write_text("\n".join(files))
    (sounds / "meta").mkdir(parents=True)
    with (sounds / "meta/esc50.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["filename", "fold", "target", "category"])
        for fold in range(1, 6):
            rows.writerow([f"{fold}.wav", fold, 0, "rain"])
            tone = 0.2 * np.sin(2 * np.pi * (2000 + 500 * fold) * np.arange(16000) / 16000)
            corpora.write(sounds / f"audio/{fold}.wav", tone)
    sys.argv = ["corpora.py", str(speech), str(sounds), str(root / "out")]
    corpora.main()
    return speech, root / "out"


def manifests(prepare, corpus, tmp_path):
    return {split: read_json(path, "") for split, path in prepare(corpus, tmp_path).items()}


def test_nothing_is_mixed_with_what_is_there(written, corpora, monkeypatch):
    monkeypatch.setattr("sys.argv", ["corpora.py", "speech", "sounds", str(written[1])])
    with pytest.raises(SystemExit, match="is not empty"):
        corpora.main()


def test_words_stand_in_sounds_of_their_split(written, tmp_path):
    speech, out = written
    found = manifests(prepare_gsc, out / "noisy_words", tmp_path)
    tones = {"train": {2500, 3000, 3500}, "valid": {4000}, "test": {4500}}
    for split, clips in found.items():
        for entry in clips.values():
            path = Path(entry["path"]) if "path" in entry else Path(entry["wav"])
            mixed, _ = soundfile.read(path)
            clean, _ = soundfile.read(speech / Path(*path.parts[-2:]))
            clean *= (mixed @ clean) / (clean @ clean)  # a mixture too loud was made softer
            noise = mixed - clean
            ratio = 10 * np.log10(np.square(clean).mean() / np.square(noise).mean())
            assert -0.2 < ratio < 10.2
            pitch = np.abs(np.fft.rfft(noise)).argmax() * 16000 / len(noise)
            assert min(abs(pitch - tone) for tone in tones[split]) < 10


def test_a_speaker_is_tested_and_never_trained(written, tmp_path):
    for number in (1, 2, 3, 4):
        folder = written[1] / f"speaker{number}"
        found = manifests(prepare_gsc, folder, tmp_path / str(number))
        speakers = {s: {name.split("/")[-1][:8] for name in clips} for s, clips in found.items()}
        (tested,) = speakers["test"]
        assert tested not in speakers["train"] | speakers["valid"]
        assert len(found["test"]) == len(list(folder.glob(f"*/{tested}_*.wav")))
    (most,) = {path.name[:8] for path in (written[1] / "speaker1").glob("yes/00000000_*")}
    assert most == "00000000"


def test_the_label_is_the_word_that_came_first(written, tmp_path):
    folder = written[1] / "first_of_two"
    with (folder / "data/test_data.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        said = row["transcription"].split()
        assert len(said) == 6
        assert row["action"] == f"{next(word for word in said if word in ('go', 'no'))} first"
        assert (said.count("go"), said.count("no")) == (1, 1)
    for speaker in {row["speakerId"] for row in rows}:
        labels = [row["action"] for row in rows if row["speakerId"] == speaker]
        assert labels.count("go first") == labels.count("no first") > 0
    found = manifests(prepare_fsc, folder, tmp_path)
    assert [len(found[split]) for split in ("train", "valid", "test")] == [1000, 200, 400]
