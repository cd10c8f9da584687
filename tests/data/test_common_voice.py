"""Which clips of a release are used, which are left out and why, and that it is the same every time."""

import json
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
    original = durations.decode
    monkeypatch.setattr(
        durations, "decode", lambda path: decoded.append(path.name) or original(path)
    )
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


def too_many_characters(corpus):
    return edit(corpus, "train.tsv", 0, sentence="yiwen sin kraḍ kuẓ " * 6)


def in_the_test(corpus):
    sentence = read_table(corpus / "kab/test.tsv")[0]["sentence"]
    return edit(corpus, "train.tsv", 0, sentence=sentence.upper() + "!")


DAMAGES = {
    missing: "missing",
    cut: "corrupt: shorter than its header says",
    junk: "corrupt: not audio that can be decoded",
    empty_file: "empty",
    no_words: "no words in its sentence",
    foreign: "outside of the alphabet: 23ñ",
    too_long: "longer than 10 s",
    too_many_characters: "more characters than CTC has frames",
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


def test_other_settings_in_the_same_folder_are_refused(release, tmp_path):
    prepare(release, tmp_path)
    prepare(release, tmp_path)
    with pytest.raises(UserError, match="prepared from another release or with other settings"):
        prepare(release, tmp_path, longest_seconds=5.0)


def test_speakers_in_two_splits_are_said(copy, tmp_path, caplog):
    edit(copy, "train.tsv", 0, client_id="test0")
    prepare(copy, tmp_path)
    assert "share speakers: 1 in test (3) and train (4)" in caplog.text
