"""The Fluent Speech Commands recipe: its splits and intents, what is refused, and the whole run."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from support.recipe_run import names, read, run, write_noise

from mambadapter.data.corpora import fluent_speech_commands as fsc
from mambadapter.errors import UserError

INTENTS = [
    ("activate", "lamp", "none"),
    ("activate", "lights", "kitchen"),
    ("change language", "Chinese", "none"),
]
SPEAKERS = {"train": ["s1", "s2", "s3"], "valid": ["s4"], "test": ["s5", "s6"]}
COLUMNS = ["", "path", "speakerId", "transcription", "action", "object", "location"]


def rows_of(corpus, split):
    with (corpus / fsc.TABLES[split]).open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(corpus, split, rows, columns=COLUMNS):
    path = corpus / fsc.TABLES[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def small_fsc(tmp_path_factory):
    """Three intents, two clips of each by each of six speakers: 36 clips of 0.4 s."""
    corpus = tmp_path_factory.mktemp("fsc") / "fluent_speech_commands_dataset"
    for split, speakers in SPEAKERS.items():
        rows = []
        for speaker in speakers:
            for number, intent in enumerate(INTENTS):
                for take in range(2):
                    name = f"wavs/speakers/{speaker}/{number}-{take}.wav"
                    write_noise(corpus / name, 16000, seed=[int(speaker[1]), number, take])
                    text = 'Say "lamp", please'  # the transcriptions have commas and quotes
                    cells = [len(rows), name, speaker, text, *intent]
                    rows.append(dict(zip(COLUMNS, cells, strict=True)))
        write_rows(corpus, split, rows)
    return corpus


@pytest.fixture
def copy(small_fsc, tmp_path):
    return Path(shutil.copytree(small_fsc, tmp_path / "fluent_speech_commands_dataset"))


def test_the_published_splits_are_kept(small_fsc, tmp_path, caplog):
    manifests = fsc.prepare_fsc(small_fsc, tmp_path)
    for split, speakers in SPEAKERS.items():
        listed = {row["path"].removesuffix(".wav") for row in rows_of(small_fsc, split)}
        assert names(manifests)[split] == listed
        assert {Path(name).parent.name for name in listed} == set(speakers)
    assert "3 of the 31 intents are in" in caplog.text
    assert "share" not in caplog.text


def test_an_intent_is_action_object_and_location(small_fsc, tmp_path):
    entries = read(fsc.prepare_fsc(small_fsc, tmp_path), "test")
    assert entries["wavs/speakers/s5/1-0"]["label"] == "activate-lights-kitchen"
    assert {entry["label"] for entry in entries.values()} == {"-".join(i) for i in INTENTS}


def test_speakers_that_splits_share_are_counted(copy, tmp_path, caplog):
    rows = rows_of(copy, "test")
    write_rows(copy, "test", [{**row, "speakerId": "s1"} for row in rows[:6]] + rows[6:])
    manifests = fsc.prepare_fsc(copy, tmp_path / "m")
    assert "share speakers: 1 in train (3) and test (2). " in caplog.text
    assert len(read(manifests, "test")) == 12


def break_table(corpus):
    (corpus / fsc.TABLES["valid"]).unlink()


def break_column(corpus):
    rows = rows_of(corpus, "train")
    write_rows(corpus, "train", rows, [name for name in COLUMNS if name != "speakerId"])


def break_row(corpus):
    with (corpus / fsc.TABLES["test"]).open("a") as file:
        file.write("12,wavs/speakers/s5/0-0.wav,s5\n")


def break_two_splits(corpus):
    write_rows(corpus, "valid", [*rows_of(corpus, "valid"), rows_of(corpus, "train")[0]])


def break_two_labels(corpus):
    row = rows_of(corpus, "train")[0]
    write_rows(corpus, "train", [*rows_of(corpus, "train"), {**row, "object": "music"}])


def break_suffix(corpus):
    """Two files whose names differ in the suffix only would be one clip in a manifest."""
    row = {**rows_of(corpus, "train")[0], "path": "wavs/speakers/s1/0-0.flac"}
    write_rows(corpus, "train", [*rows_of(corpus, "train"), row])


def break_split(corpus):
    write_rows(corpus, "valid", [])


def break_intent(corpus):
    rows = rows_of(corpus, "test")
    write_rows(corpus, "test", [{**rows[0], "location": "attic"}, *rows[1:]])


def break_missing(corpus):
    (corpus / "wavs/speakers/s3/0-0.wav").unlink()


def break_audio(corpus):
    (corpus / "wavs/speakers/s3/0-0.wav").write_text("not audio")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_table, r"data/valid_data\.csv is missing; it comes with the corpus"),
        (break_column, r"train_data\.csv has no column speakerId"),
        (break_row, r"test_data\.csv, line 14: 3 cells, where the header has 7"),
        (break_two_splits, r"1 files are in two splits, such as .*s1/0-0\.wav \(train and valid\)"),
        (break_two_labels, r"1 files are listed twice, such as .*s1/0-0\.wav \(train\)"),
        (break_suffix, r"1 files are listed twice, such as .*s1/0-0\.flac \(train\)"),
        (break_split, "valid split is empty; is .* complete"),
        (break_intent, "test split has labels that training never sees: activate-lamp-attic"),
        (break_missing, r"1 of 36 audio files are unusable:\n.*s3/0-0\.wav: missing"),
        (break_audio, r"1 of 36 audio files are unusable:\n.*s3/0-0\.wav: corrupt: not audio"),
    ],
)
def test_a_damaged_corpus_is_refused(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        fsc.prepare_fsc(copy, tmp_path / "m")


def test_another_label_is_other_data(copy, tmp_path):
    fsc.prepare_fsc(copy, tmp_path / "m")
    rows = rows_of(copy, "train")
    write_rows(copy, "train", [{**rows[0], "object": "lights", "location": "kitchen"}, *rows[1:]])
    with pytest.raises(UserError, match="prepared from other data"):
        fsc.prepare_fsc(copy, tmp_path / "m")


def test_a_manifest_that_was_deleted_is_written_again(copy, tmp_path):
    manifests = fsc.prepare_fsc(copy, tmp_path / "m")
    before = manifests["valid"].read_text()
    manifests["valid"].unlink()
    assert fsc.prepare_fsc(copy, tmp_path / "m")["valid"].read_text() == before


def test_wrong_folders_name_the_right_one(copy, tmp_path):
    with pytest.raises(UserError, match="There is no folder .*nowhere"):
        fsc.prepare_fsc(tmp_path / "nowhere", tmp_path / "m")
    for wrong in (copy.parent, copy / "data"):
        with pytest.raises(
            UserError, match="is not Fluent Speech Commands: .* Did you mean .*commands_dataset\\?"
        ):
            fsc.prepare_fsc(wrong, tmp_path / "m")


def test_the_recipe_from_end_to_end(small_fsc, encoder_folders, tmp_path):
    """In batches by seconds of audio."""
    settings = [
        "FluentSpeechCommands", "--data_folder", small_fsc, "--encoder", encoder_folders["wavlm"],
        "--output_root", tmp_path, "--number_of_epochs", 1, "--batch_size", 8, "--batch_seconds", 2,
        "--num_workers", 0, "--adapter.rank", 4,
    ]  # fmt: skip
    refused = run(*settings, "--sampler", "balanced")
    assert refused.returncode == 2
    assert "batch_seconds and sampler: balanced do not go together" in refused.stderr
    done = run(*settings)
    assert done.returncode == 0, done.stderr
    assert "Proof of life" in done.stdout
    (folder,) = {path.parent for path in tmp_path.glob("*/result.json")}
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"]["test"]["clips"] == 12
    assert result["metrics"]["valid"]["clips"] == 6
    assert "DynamicBatchSampler" in done.stdout

    from mambadapter import load_adapter

    clip = small_fsc / "wavs/speakers/s5/1-0.wav"
    assert set(load_adapter(folder).predict(clip).scores) == {
        "-".join(intent) for intent in INTENTS
    }
