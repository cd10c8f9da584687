"""The ESC-50 recipe: its folds, what its preparation refuses, and the whole run as a user starts it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from support.recipe_run import names, read, run, write_noise
from support.small_esc50 import COLUMNS, write_rows, write_small_esc50

from mambadapter.data.corpora import esc50
from mambadapter.errors import UserError


def rows_of(corpus):
    with (corpus / "meta/esc50.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def edit(corpus, name, **cells):
    """Change cells of the row of one file."""
    rows = rows_of(corpus)
    (row,) = [row for row in rows if row["filename"] == name]
    row.update({column: str(cell) for column, cell in cells.items()})
    write_rows(corpus, rows)


@pytest.fixture(scope="module")
def small_esc50(tmp_path_factory):
    return write_small_esc50(tmp_path_factory.mktemp("esc50") / "ESC-50-master")


@pytest.fixture
def copy(small_esc50, tmp_path):
    return Path(shutil.copytree(small_esc50, tmp_path / "ESC-50-master"))


@pytest.mark.parametrize("test_fold", [1, 2, 3, 4, 5])
def test_folds_test_validate_and_train(small_esc50, tmp_path, test_fold):
    """One tests, the next validates, the others train."""
    manifests = esc50.prepare_esc50(small_esc50, tmp_path, test_fold)
    splits = names(manifests)
    folds = {
        split: {int(Path(name).name[0]) for name in present} for split, present in splits.items()
    }
    assert folds["test"] == {test_fold}
    assert folds["valid"] == {test_fold + 1 if test_fold < 5 else 1}
    assert folds["train"] == {1, 2, 3, 4, 5} - folds["test"] - folds["valid"]
    everything = [name for present in splits.values() for name in present]
    assert len(everything) == len(set(everything)) == 30


def test_entries_say_what_the_table_says(small_esc50, tmp_path, caplog):
    entry = read(esc50.prepare_esc50(small_esc50, tmp_path, 1), "test")["audio/1-1010-B-10"]
    assert entry["label"] == "rain"
    assert entry["duration"] == pytest.approx(0.4)
    assert Path(entry["wav"]) == (small_esc50 / "audio/1-1010-B-10.wav").resolve()
    assert "3 of the 50 classes are in" in caplog.text
    assert "dog, rain, siren" in caplog.text
    assert "share" not in caplog.text


def test_the_order_of_the_table_does_not_matter(copy, tmp_path):
    first = esc50.prepare_esc50(copy, tmp_path / "first", 1)
    write_rows(copy, rows_of(copy)[::-1])
    second = esc50.prepare_esc50(copy, tmp_path / "second", 1)
    for split in first:
        assert first[split].read_text() == second[split].read_text()


def test_a_source_that_two_splits_share_is_said(copy, tmp_path, caplog):
    edit(copy, "1-1000-A-0.wav", src_file="3000")
    esc50.prepare_esc50(copy, tmp_path / "m", 1)
    assert "share source recordings: 1 in train (9) and test (4)" in caplog.text


def relabel(corpus):
    edit(corpus, "1-1000-A-0.wav", category="rain", target="10")


def lengthen(corpus):
    write_noise(corpus / "audio/1-1000-A-0.wav", 22050, seed=1, seconds=0.5)


def record_again(corpus):
    write_noise(corpus / "audio/1-1000-A-0.wav", 22050, seed=9)


def repair(corpus):
    write_noise(corpus / "audio/3-3010-A-10.wav", 22050, seed=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (relabel, "another list of files; test: 1 clips with another label"),
        (lengthen, "test: 1 clips with another duration; test: 1 clips with another size"),
        (repair, "train: 1 clips more"),
        (record_again, None),  # as long and as large: no manifest tells the two apart
    ],
)
def test_a_corpus_that_changed_is_named(copy, tmp_path, change, said):
    """After a first start, which left one file out; moving the corpus besides changes nothing."""
    (copy / "audio/3-3010-A-10.wav").write_bytes(b"")
    esc50.prepare_esc50(copy, tmp_path / "m", 1, skip_unusable_audio=True)
    left_out = json.loads((tmp_path / "m/left_out.json").read_text())
    assert left_out["train"] == {"audio/3-3010-A-10.wav": "empty"}
    moved = copy.rename(tmp_path / "moved")
    change(moved)
    if said is None:
        manifests = esc50.prepare_esc50(moved, tmp_path / "m", 1, skip_unusable_audio=True)
        assert all(str(moved) in one["wav"] for one in read(manifests, "train").values())
    else:
        with pytest.raises(UserError, match=said):
            esc50.prepare_esc50(moved, tmp_path / "m", 1, skip_unusable_audio=True)


def test_each_test_fold_has_manifests_of_its_own(small_esc50, tmp_path):
    esc50.prepare_esc50(small_esc50, tmp_path, 1)
    with pytest.raises(
        UserError, match="another list of files; train: 6 clips more; train: 6 clips fewer; valid"
    ):
        esc50.prepare_esc50(small_esc50, tmp_path, 2)


def test_unusable_clips_are_left_out_on_request(copy, tmp_path):
    (copy / "audio/1-1000-A-0.wav").unlink()
    manifests = esc50.prepare_esc50(copy, tmp_path / "m", 1, skip_unusable_audio=True)
    assert len(read(manifests, "test")) == 5


def break_fold(corpus):
    edit(corpus, "1-1000-A-0.wav", fold=6)


def break_all_of_a_fold(corpus):
    write_rows(corpus, [row for row in rows_of(corpus) if row["fold"] != "4"])


def break_two_folds(corpus):
    again = {**rows_of(corpus)[0], "fold": 3}
    write_rows(corpus, [*rows_of(corpus), again])


def break_twice(corpus):
    write_rows(corpus, [*rows_of(corpus), rows_of(corpus)[0]])


def break_outside(corpus):
    edit(corpus, "1-1000-A-0.wav", filename="../../1-1000-A-0.wav")


def break_column(corpus):
    write_rows(corpus, rows_of(corpus), [name for name in COLUMNS if name != "category"])


def break_cell(corpus):
    edit(corpus, "1-1000-B-0.wav", category="")


def break_encoding(corpus):
    (corpus / "meta/esc50.csv").write_bytes(b"filename,fold\n\xff\xfe\xfa,1\n")


def break_training(corpus):
    write_rows(corpus, [r for r in rows_of(corpus) if r["category"] != "dog" or r["fold"] in "12"])


def break_missing(corpus):
    (corpus / "audio/2-2000-A-0.wav").unlink()


def break_audio(corpus):
    path = corpus / "audio/3-3010-A-10.wav"
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_fold, r"esc50\.csv has unknown fold 6: there are folds 1 to 5"),
        (break_all_of_a_fold, r"esc50\.csv has no clip of fold 4"),
        (break_two_folds, r"1 files are in two splits, such as audio/1-1000-A-0\.wav \(test and"),
        (break_twice, r"1 files are listed twice, such as audio/1-1000-A-0\.wav \(test\)"),
        (break_outside, r"name 'audio/\.\./\.\./1-1000-A-0\.wav', which is no file below it"),
        (break_column, r"esc50\.csv has no column category; unpack the corpus again"),
        (break_cell, r"esc50\.csv, line 3: no category; unpack the corpus again"),
        (break_encoding, r"esc50\.csv cannot be read \(.*utf-8"),
        (break_training, "valid split has labels that training never sees: dog; is .* complete"),
        (break_missing, r"1 of 30 audio files are unusable:\n.*2-2000-A-0\.wav: missing"),
        (break_audio, r"1 of 30 audio files are unusable:\n.*3-3010-A-10\.wav: cut short: 0.39 s"),
    ],
)
def test_a_damaged_corpus_is_refused(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        esc50.prepare_esc50(copy, tmp_path / "m", 1)


@pytest.mark.parametrize("test_fold", [0, 6, "one"])
def test_an_unknown_test_fold_is_refused(small_esc50, tmp_path, test_fold):
    with pytest.raises(UserError, match="test_fold: there is no fold .* folds 1 to 5"):
        esc50.prepare_esc50(small_esc50, tmp_path, test_fold)


def test_wrong_folders_name_the_right_one(copy, tmp_path):
    with pytest.raises(UserError, match="There is no folder .*nowhere; give data_folder"):
        esc50.prepare_esc50(tmp_path / "nowhere", tmp_path / "m", 1)
    for wrong in (copy.parent, copy / "audio"):
        with pytest.raises(
            UserError, match=r"is not ESC-50: it has no meta/esc50\.csv\. Did you mean .*-master\?"
        ):
            esc50.prepare_esc50(wrong, tmp_path / "m", 1)
    (tmp_path / "empty/folder").mkdir(parents=True)
    with pytest.raises(UserError, match="Give data_folder, the unpacked ESC-50-master"):
        esc50.prepare_esc50(tmp_path / "empty/folder", tmp_path / "m", 1)


def test_the_recipe_from_end_to_end(small_esc50, encoder_folders, tmp_path):
    settings = [
        "--data_folder", small_esc50, "--encoder", encoder_folders["wavlm"],
        "--output_root", tmp_path, "--number_of_epochs", 1, "--batch_size", 8,
        "--num_workers", 0, "--adapter.rank", 4,
    ]  # fmt: skip
    refused = run("ESC50", *settings, "--test_fold", 6)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "error: test_fold: '6' is not a fold from 1 to 5, or all."
    )
    folders = set()
    for fold in (1, 5):  # each in a folder of its own
        done = run("ESC50", *settings, "--test_fold", fold)
        assert done.returncode == 0, done.stderr
        (folder,) = set(tmp_path.glob("wavlm-mambadapter-seed1986-*")) - folders
        folders.add(folder)
        result = json.loads((folder / "result.json").read_text())
        assert result["config"]["test_fold"] == fold
        assert result["metrics"]["test"]["clips"] == result["metrics"]["valid"]["clips"] == 6
        assert (folder / "adapter").is_dir()
