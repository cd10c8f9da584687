"""The UrbanSound8K recipe: its folds, what its preparation refuses, and the whole run as a user starts it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from support.recipe_run import names, read, run, write_noise

from mambadapter.data.corpora import urbansound8k as us8k
from mambadapter.errors import UserError

CLASSES = {"car_horn": 1, "dog_bark": 3, "siren": 8}
COLUMNS = "slice_file_name,fsID,start,end,salience,fold,classID,class".split(",")
TABLE = "metadata/UrbanSound8K.csv"


def rows_of(corpus):
    with (corpus / TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(corpus, rows, columns=COLUMNS):
    (corpus / TABLE).parent.mkdir(parents=True, exist_ok=True)
    with (corpus / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def edit(corpus, name, **cells):
    """Change cells of the row of one file."""
    rows = rows_of(corpus)
    (row,) = [row for row in rows if row["slice_file_name"] == name]
    row.update({column: str(cell) for column, cell in cells.items()})
    write_rows(corpus, rows)


@pytest.fixture(scope="module")
def small_us8k(tmp_path_factory):
    """Three classes, two slices of one recording for each class and fold: 60 clips of 0.4 s."""
    corpus = tmp_path_factory.mktemp("us8k") / "UrbanSound8K"
    rows = []
    for fold in range(1, 11):
        for name, number in CLASSES.items():
            for part in (0, 1):
                source = 100 * fold + number
                file = f"{source}-{number}-0-{part}.wav"
                write_noise(corpus / f"audio/fold{fold}" / file, 22050, seed=[source, part])
                cells = [file, source, 0.0, 0.4, 1, fold, number, name]
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
    write_rows(corpus, rows)
    return corpus


@pytest.fixture
def copy(small_us8k, tmp_path):
    return Path(shutil.copytree(small_us8k, tmp_path / "UrbanSound8K"))


@pytest.mark.parametrize("test_fold", [1, 4, 10])
def test_folds_test_validate_and_train(small_us8k, tmp_path, test_fold):
    """One tests, the next validates, the others train."""
    manifests = us8k.prepare_us8k(small_us8k, tmp_path, test_fold)
    folds = {
        split: {name.split("/")[1].removeprefix("fold") for name in found}
        for split, found in names(manifests).items()
    }
    assert folds["test"] == {str(test_fold)}
    assert folds["valid"] == {str(test_fold % 10 + 1)}
    assert folds["train"] == {str(fold) for fold in range(1, 11)} - folds["test"] - folds["valid"]
    assert len(read(manifests, "train")) == 48


def test_entries_say_what_the_table_says(small_us8k, tmp_path, caplog):
    entry = read(us8k.prepare_us8k(small_us8k, tmp_path, 2), "test")["audio/fold2/203-3-0-1"]
    assert entry["label"] == "dog_bark"
    assert Path(entry["wav"]) == (small_us8k / "audio/fold2/203-3-0-1.wav").resolve()
    assert "3 of the 10 classes are in" in caplog.text
    assert "share" not in caplog.text


def test_a_recording_that_two_splits_share_is_said(copy, tmp_path, caplog):
    edit(copy, "103-3-0-0.wav", fsID=403)
    us8k.prepare_us8k(copy, tmp_path / "m", 1)
    assert "share source recordings: 1 in train (24) and test (4)" in caplog.text


def break_fold(corpus):
    edit(corpus, "103-3-0-0.wav", fold=11)


def break_all_of_a_fold(corpus):
    write_rows(corpus, [row for row in rows_of(corpus) if row["fold"] != "7"])


def break_two_folds(corpus):
    again = {**rows_of(corpus)[0], "fold": 3}
    write_rows(corpus, [*rows_of(corpus), again])


def break_twice(corpus):
    write_rows(corpus, [*rows_of(corpus), rows_of(corpus)[0]])


def break_class(corpus):
    edit(corpus, "103-3-0-0.wav", classID=4)


def break_name(corpus):
    edit(corpus, "103-3-0-0.wav", classID=10)


def break_column(corpus):
    write_rows(corpus, rows_of(corpus), [name for name in COLUMNS if name != "fold"])


def break_training(corpus):
    rows = rows_of(corpus)
    write_rows(corpus, [r for r in rows if r["class"] != "siren" or r["fold"] in ("1", "2")])


def break_missing(corpus):
    (corpus / "audio/fold2/203-3-0-1.wav").unlink()


def break_audio(corpus):
    path = corpus / "audio/fold9/903-3-0-1.wav"
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_fold, r"UrbanSound8K\.csv has unknown fold 11: there are folds 1 to 10"),
        (break_all_of_a_fold, r"UrbanSound8K\.csv has no clip of fold 7"),
        (break_two_folds, r"lists 101-1-0-0\.wav in folds 1 and 3; unpack"),
        (break_twice, r"1 files are listed twice, such as audio/fold1/101-1-0-0\.wav \(test\)"),
        (break_class, r"103-3-0-0\.wav is 'dog_bark', but its classID 4 is 'drilling'"),
        (break_name, r"103-3-0-0\.wav is 'dog_bark', but its classID 10 is 'no class'"),
        (break_column, r"UrbanSound8K\.csv has no column fold; unpack the corpus again"),
        (break_training, "valid split has labels that training never sees: siren; is .* complete"),
        (break_missing, r"1 of 60 audio files are unusable:\n.*203-3-0-1\.wav: missing"),
        (break_audio, r"1 of 60 audio files are unusable:\n.*903-3-0-1\.wav: cut short: 0.39 s"),
    ],
)
def test_a_damaged_corpus_is_refused(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        us8k.prepare_us8k(copy, tmp_path / "m", 1)


def test_wrong_folders_name_the_right_one(copy, tmp_path):
    for wrong in (copy.parent, copy / "audio"):
        with pytest.raises(
            UserError, match=r"is not UrbanSound8K: .* Did you mean .*UrbanSound8K\?"
        ):
            us8k.prepare_us8k(wrong, tmp_path / "m", 1)


def test_the_recipe_with_few_shots(small_us8k, encoder_folders, tmp_path):
    settings = [
        "--data_folder", small_us8k, "--encoder", encoder_folders["wav2vec2"],
        "--output_folder", tmp_path / "run", "--number_of_epochs", 1, "--batch_size", 8,
        "--num_workers", 0, "--adapter", "lora", "--test_fold", 10, "--shots_per_class", 5,
        "--waveform_augmentation", "true", "--spec_augment", "true",
    ]  # fmt: skip
    refused = run("UrbanSound8K", *settings, "--test_fold", 11)
    assert refused.stderr.splitlines()[-1] == (
        "error: test_fold: '11' is not a fold from 1 to 10, or all."
    )
    done = run("UrbanSound8K", *settings)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metrics"]["test"]["clips"] == 6
    assert result["method"]["name"] == "LoRA"
    assert "Few-shot: 15 training clips, 5 of each class" in (tmp_path / "run/log.txt").read_text()
    refused = run(
        "UrbanSound8K", *settings[:5], tmp_path / "other", *settings[6:], "--shots_per_class", 17
    )
    assert refused.returncode == 2
    assert "has 16 training clips; give at most 16" in refused.stderr
