"""Which clips of a release are used, which are left out and why, and that it is the same every time."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from support.small_common_voice import COLUMNS, read_table, write_small_release, write_table

from mambadapter.data import durations
from mambadapter.data.corpora.common_voice import prepare_common_voice
from mambadapter.errors import UserError
from mambadapter.text import TextRules

RULES = TextRules("abcčdḍefghijklmnopqrstuwyẓ", word_marks="-")
HOURS = {"train": 1, "valid": 1, "test": 1}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_small_release(tmp_path_factory.mktemp("cv") / "cv-corpus-13.0-2023-03-09")


@pytest.fixture
def copy(release, tmp_path):
    return Path(shutil.copytree(release, tmp_path / release.name))


def prepare(corpus, tmp_path, name="m", **changes):
    settings = {"language": "kab", "rules": RULES, "hours": HOURS, **changes}
    return prepare_common_voice(corpus, tmp_path / name, tmp_path / "cache", **settings)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def edit(corpus, table, index, **cells):
    path = corpus / "kab" / table
    rows = read_table(path)
    rows[index].update(cells)
    write_table(path, rows)
    return rows[index]["path"]


def left_out(tmp_path, split="train", name="m"):
    return read(tmp_path / name / "left_out.json")[split]


def test_manifests_hold_what_the_tables_say(release, tmp_path, caplog):
    caplog.set_level("INFO")
    manifests = prepare(release, tmp_path)
    entries = {split: read(path) for split, path in manifests.items()}
    assert {split: len(found) for split, found in entries.items()} == {
        "train": 12,
        "valid": 4,
        "test": 4,
    }
    row = read_table(release / "kab/train.tsv")[3]
    entry = entries["train"][Path(row["path"]).stem]
    assert entry["sentence"] == row["sentence"]
    assert entry["text"] == row["sentence"].lower().rstrip(".")
    assert entry["duration"] == pytest.approx(1.2 + 0.05 * 3, abs=0.06)  # mp3 pads
    assert Path(entry["wav"]).is_file()
    assert (
        "train: 12 clips, 0.00 hours" in caplog.text or "train: 12 clips, 0.01 hours" in caplog.text
    )
    assert left_out(tmp_path) == {}


def test_the_language_folder_or_the_release_will_do(release, tmp_path):
    first = prepare(release, tmp_path, "a")
    second = prepare(release / "kab", tmp_path, "b")
    assert first["train"].read_bytes() == second["train"].read_bytes()


def test_nothing_is_decoded_twice(copy, tmp_path, monkeypatch):
    prepare(copy, tmp_path, "a")
    decoded = []
    original = durations.look
    monkeypatch.setattr(durations, "look", lambda path: decoded.append(path.name) or original(path))
    prepare(copy, tmp_path, "b", seed=5)
    assert decoded == []
    name = read_table(copy / "kab/train.tsv")[0]["path"]
    sf.write(
        copy / "kab/clips" / name,
        np.random.default_rng(0).normal(0, 0.1, 96000),
        48000,
        format="MP3",
    )
    prepare(copy, tmp_path, "c")
    assert decoded == [name]


def test_hours_are_drawn_by_the_seed(release, tmp_path):
    three_seconds = {"train": 6 / 3600, "valid": 1, "test": 1}
    first, again, other = (
        set(read(prepare(release, tmp_path, name, hours=three_seconds, seed=seed)["train"]))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other
    total = sum(e["duration"] for e in read(tmp_path / "a/train.json").values())
    assert 6 - 2 < total <= 6
    whole = set(read(prepare(release, tmp_path, "d", seed=1)["train"]))
    assert first < whole


def test_the_order_of_the_tables_does_not_matter(copy, tmp_path):
    few = {"train": 6 / 3600, "valid": 1, "test": 1}
    first = prepare(copy, tmp_path, "a", hours=few)["train"].read_text()
    write_table(copy / "kab/train.tsv", read_table(copy / "kab/train.tsv")[::-1])
    assert prepare(copy, tmp_path, "b", hours=few)["train"].read_text() == first


def missing(corpus):
    name = read_table(corpus / "kab/train.tsv")[0]["path"]
    (corpus / "kab/clips" / name).unlink()
    return name


def cut(corpus):
    name = read_table(corpus / "kab/train.tsv")[0]["path"]
    path = corpus / "kab/clips" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return name


def junk(corpus):
    name = read_table(corpus / "kab/train.tsv")[0]["path"]
    (corpus / "kab/clips" / name).write_bytes(b"no audio " * 100)
    return name


def empty_file(corpus):
    name = read_table(corpus / "kab/train.tsv")[0]["path"]
    (corpus / "kab/clips" / name).write_bytes(b"")
    return name


def no_words(corpus):
    return edit(corpus, "train.tsv", 0, sentence=" — !")


def foreign(corpus):
    return edit(corpus, "train.tsv", 0, sentence="Yiwen 23 señor")


def too_long(corpus):
    name = read_table(corpus / "kab/train.tsv")[0]["path"]
    sf.write(corpus / "kab/clips" / name, np.zeros(48000 * 11), 48000, format="MP3")
    return name


def in_the_test(corpus):
    sentence = read_table(corpus / "kab/test.tsv")[0]["sentence"]
    return edit(corpus, "train.tsv", 0, sentence=sentence.upper() + "!")


DAMAGES = {
    missing: "missing",
    cut: "cut short: it ends before its header says, after 0.53 s",
    junk: "corrupt: not audio that can be decoded",
    empty_file: "empty",
    no_words: "no words in its sentence",
    foreign: "outside of the alphabet: 23ñ",
    too_long: "longer than 10 s",
    in_the_test: "its sentence is in the test or validation split",
}


@pytest.mark.parametrize(
    ("damage", "reason"), DAMAGES.items(), ids=lambda d: getattr(d, "__name__", "")
)
def test_unusable_clips_are_named_and_counted(copy, tmp_path, caplog, damage, reason):
    name = damage(copy)
    manifests = prepare(copy, tmp_path)
    assert left_out(tmp_path) == {name: reason}
    assert len(read(manifests["train"])) == 11
    assert f"train: left out 1 ({reason.partition(':')[0]})" in caplog.text


def test_scored_texts_keep_foreign_characters_and_length(copy, tmp_path):
    name = edit(copy, "test.tsv", 0, sentence="Yiwen 23 señor")
    edit(copy, "dev.tsv", 0, sentence="yiwen sin kraḍ kuẓ " * 6)
    manifests = prepare(copy, tmp_path)
    assert read(manifests["test"])[Path(name).stem]["text"] == "yiwen 23 señor"
    assert len(read(manifests["valid"])) == len(read(manifests["test"])) == 4


def test_quotation_marks_quote_nothing(copy, tmp_path):
    name = edit(copy, "train.tsv", 0, sentence='"Yiwen sin')
    assert read(prepare(copy, tmp_path)["train"])[Path(name).stem]["text"] == "yiwen sin"


def test_later_releases_have_more_columns(copy, tmp_path):
    for table in ("train", "dev", "test"):
        path = copy / f"kab/{table}.tsv"
        rows = [{**row, "sentence_id": "x", "variant": ""} for row in read_table(path)]
        write_table(path, rows, ["client_id", "path", "sentence_id", "sentence", "variant"])
    assert len(read(prepare(copy, tmp_path)["train"])) == 12


def break_columns(corpus):
    path = corpus / "kab/dev.tsv"
    write_table(path, read_table(path), [name for name in COLUMNS if name != "sentence"])


def break_table(corpus):
    (corpus / "kab/test.tsv").unlink()


def break_split(corpus):
    name = read_table(corpus / "kab/test.tsv")[0]["path"]
    edit(corpus, "train.tsv", 0, path=name)


def break_clips(corpus):
    shutil.rmtree(corpus / "kab/clips")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_columns, r"dev\.tsv has no column sentence, only client_id, path, up_votes"),
        (break_table, r"test\.tsv is missing"),
        (break_split, r"common_voice_kab_\d+\.mp3 is in the test and in the train split"),
        (
            break_clips,
            r"Nothing is left of the test split of .*: 4 \(missing\)\. Is clips/ unpacked\?",
        ),
    ],
)
def test_a_damaged_release_is_refused(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        prepare(copy, tmp_path)


def test_another_language_or_folder_is_refused(release, tmp_path):
    with pytest.raises(UserError, match="is not the folder 'rw' of a Common Voice release"):
        prepare(release, tmp_path, language="rw")
    with pytest.raises(UserError, match="There is no folder"):
        prepare(tmp_path / "nowhere", tmp_path)


def change_times(corpus):
    for path in (corpus / "kab/clips").iterdir():
        os.utime(path, (0, 0))


@pytest.mark.parametrize("change", [change_times, lambda corpus: None])
def test_a_moved_release_is_prepared_again(copy, tmp_path, change):
    """The same clips elsewhere, or with other times, are the same data."""
    before = read(prepare(copy, tmp_path)["train"])
    moved = copy.rename(tmp_path / "elsewhere")
    change(moved)
    after = read(prepare(moved, tmp_path)["train"])
    assert all(str(moved) in entry["wav"] for entry in after.values())
    assert {n: {**e, "wav": ""} for n, e in after.items()} == {
        n: {**e, "wav": ""} for n, e in before.items()
    }


def longer(corpus):
    name = read_table(corpus / "kab/train.tsv")[0]["path"]
    noise = np.random.default_rng(0).normal(0, 0.1, 96000)
    sf.write(corpus / "kab/clips" / name, noise, 48000, format="MP3")
    return {}


def another_recording(corpus):
    path = corpus / "kab/clips" / read_table(corpus / "kab/train.tsv")[0]["path"]
    path.write_bytes(path.read_bytes() + bytes(1000))
    return {}


def another_sentence(corpus):
    edit(corpus, "train.tsv", 0, sentence="yiwen")
    return {}


def a_clip_less(corpus):
    missing(corpus)
    return {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (longer, "train: 1 clips with another duration"),
        (another_recording, "train: 1 clips with another size"),
        (another_sentence, "another table; train: 1 clips with another sentence"),
        (a_clip_less, "train: 1 clips fewer"),
        (lambda corpus: {"longest_seconds": 1.3}, "another longest_seconds; train: .* clips fewer"),
        (
            lambda corpus: {"hours": {**HOURS, "train": 0.001}},
            "another hours; train: .* clips fewer",
        ),
    ],
)
def test_other_data_is_named_and_refused(copy, tmp_path, change, said):
    """What a run has learnt from must not change below it."""
    prepare(copy, tmp_path)
    settings = change(copy)
    with pytest.raises(
        UserError, match=rf"other settings \(.*{said}.*Give another --output_folder"
    ):
        prepare(copy, tmp_path, **settings)


def test_clips_that_arrive_later_are_noticed(copy, tmp_path):
    name = read_table(copy / "kab/train.tsv")[0]["path"]
    path = copy / "kab/clips" / name
    content = path.read_bytes()
    path.unlink()
    prepare(copy, tmp_path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="train: 1 clips more"):
        prepare(copy, tmp_path)


ROW = "speaker\t{clip}\t{sentence}\t2\t0\t\t\t\tkab\t\n"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROW.format(clip="a.mp3", sentence="yiwen\tsin"), "11 cells, where the header has 10"),
        (ROW.format(clip="a.mp3", sentence="yiwen\nsin"), "3 cells, where the header has 10"),
        (ROW.format(clip="a.mp3", sentence="yiwen\rsin"), "3 cells, where the header has 10"),
        ("abc\tdef\n", "2 cells, where the header has 10"),
        (ROW.format(clip="../a.mp3", sentence="yiwen"), "'../a.mp3' is not the name of a clip"),
        (ROW.format(clip="", sentence="yiwen"), "'' is not the name of a clip"),
        (
            ROW.format(clip="a.mp3", sentence="yiwen") + ROW.format(clip="a.mp3", sentence="sin"),
            "a.mp3 again, with another sentence",
        ),
    ],
)
def test_broken_rows_are_named_or_left_out(copy, tmp_path, caplog, rows, said):
    """Never is a part of a sentence taken for it."""
    with (copy / "kab/train.tsv").open("a", encoding="utf-8", newline="") as file:
        file.write(rows)
    with pytest.raises(UserError, match=rf"rows are broken:\n  train.tsv, line 1[45]: {said}"):
        prepare(copy, tmp_path)
    entries = read(prepare(copy, tmp_path, skip_broken_rows=True)["train"])
    assert len(entries) == 12
    assert "broken rows:\n  train.tsv, line 1" in caplog.text


def test_a_new_line_in_the_last_column(copy, tmp_path):
    """The row before it looks whole, with a part of its sentence."""
    path = copy / "kab/train.tsv"
    rows = read_table(path)
    rows[4]["sentence"] = "yiwen\nsin"
    write_table(path, rows, ["client_id", "path", "sentence"])
    entries = read(prepare(copy, tmp_path, skip_broken_rows=True)["train"])
    assert Path(rows[4]["path"]).stem not in entries
    assert len(entries) == 11


def test_a_row_that_is_there_twice(copy, tmp_path):
    rows = read_table(copy / "kab/train.tsv")
    write_table(copy / "kab/train.tsv", [*rows, *rows[:4]])
    assert len(read(prepare(copy, tmp_path)["train"])) == 12


def test_speakers_in_two_splits_are_said(copy, tmp_path, caplog):
    edit(copy, "train.tsv", 0, client_id="test0")
    prepare(copy, tmp_path)
    assert "share speakers: 1 in test (3) and train (4)" in caplog.text
