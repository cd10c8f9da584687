"""Broken tables and folders of one's own: each one line that names the file, the row and the mend."""

import json
import os
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from support.small_own import write_clips, write_tone

from mambadapter.data.own.prepare import prepare_sounds, prepare_speech
from mambadapter.errors import UserError
from mambadapter.text import TextRules

GOOD = "path,label\nhigh/ann_0.wav,high\n"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Audio that no test changes."""
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    return folder


def table(content, name="clips.csv", **settings):
    """A case with one table beside the clips."""

    def write(folder):
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(raw)
        return folder / name, settings

    return write


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows(*more, header="path,label", good=True):
    first = [header, "high/ann_0.wav,high"] if good else [header]
    return "\n".join([*first, *more]) + "\n"


def folder_of(*names, **settings):
    """A case with files of noise."""

    def write(folder):
        root = folder / "own"
        root.mkdir()
        for seed, name in enumerate(names):
            write_tone(root / name, seed=seed)
        return root, settings

    return write


def kaldi(**files):
    def write(folder):
        root = folder / "kaldi"
        root.mkdir()
        for name, text in files.items():
            (root / {"scp": "wav.scp"}.get(name, name)).write_text(text)
        return root, {"task": "text"}

    return write


def both_layouts(folder):
    (folder / "clips.csv").write_text(GOOD)
    return folder, {}


def loop(folder):
    root = folder / "own"
    for label in "ab":
        write_tone(root / label / "1.wav")
    (root / "a/again").symlink_to(root, target_is_directory=True)
    return root, {}


def two_tables(folder):
    root = folder / "own"
    root.mkdir()
    for name in ("one.csv", "two.csv"):
        (root / name).write_text(GOOD)
    return root, {}


def saved_to_disk(folder):
    root = folder / "own"
    root.mkdir()
    (root / "dataset_info.json").write_text("{}")
    return root, {}


def accents(folder):
    """A name that the table writes in NFC and the disk in NFD, as a Mac does."""
    name = unicodedata.normalize("NFD", "café.wav")
    write_tone(folder / name)
    (folder / "clips.csv").write_text("path,label\n" + unicodedata.normalize("NFC", name) + ",a\n")
    return folder / "clips.csv", {}


def twice_in_splits(folder):
    root = folder / "own"
    root.mkdir()
    for name in ("train.csv", "test.csv"):
        (root / name).write_text("path,label\na.wav,x\n")
    write_tone(root / "a.wav")
    return root, {}


def split_rows_of(*splits):
    names = [f"high/{speaker}_0.wav" for speaker in ("ann", "bob", "cem", "dov")]
    cells = zip(names, splits, strict=False)
    return table(
        "\n".join(["path,label,split", *(f"{name},high,{split}" for name, split in cells)])
    )


def broken_audio(folder):
    (folder / "bad.wav").write_bytes(b"RIFF")
    (folder / "clips.csv").write_text(rows("bad.wav,low"))
    return folder / "clips.csv", {}


CASES = {
    # Tables that cannot be read.
    "nothing there": (lambda folder: (folder / "nowhere", {}), r"no folder or table .*nowhere; give"),
    "an unknown suffix": (table(GOOD, "clips.xlsx"), r"clips\.xlsx is no table .* give \.csv, \.tsv"),
    "empty": (table(""), r"clips\.csv is empty; give a table with a header"),
    "a header alone": (table("path,label\n"), r"clips\.csv has a header and no rows; give"),
    "semicolons": (table(GOOD.replace(",", ";")), r"delimiter is another; give it: --data\.delimiter ';'"),
    "tabs in a CSV": (table(GOOD.replace(",", "\t")), r"give it: --data\.delimiter 'tab'"),
    "commas in a TSV": (table(GOOD, "clips.tsv"), r"clips\.tsv .* give it: --data\.delimiter ','"),
    "a delimiter of two": (table(GOOD, delimiter="::"), r"--data\.delimiter: '::' is not one character"),
    "UTF-16": (table(GOOD.encode("utf-16")), r"clips\.csv, line 1: not UTF-8 .*; save the table as UTF-8"),
    "UTF-16 without a mark": (table(GOOD.encode("utf-16-le")), r"line 1: a character .* save the table"),
    "Latin-1": (table(rows("é.wav,low").encode("latin-1")), r"clips\.csv, line 3: not UTF-8 .*; save"),
    "an open quote": (table(rows('"low/ann_0.wav,low')), r"line 3: its quotes cannot be read .*; close"),
    "a quote in a cell": (table(rows('"low/"ann_0.wav,low')), r"line 3: its quotes cannot be read"),
    "a column twice": (table(rows(header="path,path")), r"has the column path twice; name each once"),
    "columns without a name": (table(rows("", header="path,label,,")), r"two columns without a name"),
    "too few cells": (table(rows("low/ann_0.wav")), r"line 3: 1 cells, where the header has 2; put"),
    "too many cells": (table(rows("low/ann_0.wav,low,x")), r"line 3: 3 cells, where .* a comma in quotes"),
    "no column for the path": (table("x,label\n1,2\n"), r"no column for the path, only x, label; .*--data\.path"),
    "no column for the label": (table("path,kind\n1,2\n"), r"no column for the label.*--data\.label COLUMN"),
    "two columns for the label": (table("path,label,class\n1,2,3\n"), r"label, class may all .*--data\.label"),
    "a column that is not there": (table(GOOD, label="lable"), r"no column 'lable' .*did you mean 'label'"),
    "an unknown layout": (table(GOOD, layout="folder"), r"--data\.layout: 'folder' .*did you mean 'folders'"),
    # Rows.
    "an empty label": (table(rows("low/ann_0.wav, ")), r"clips\.csv, line 3: no label; fill the cell"),
    "an empty path": (table(rows(",low", ",low")), r"line 3: no path; .* 1 more are broken: .*line 4\."),
    "a row twice": (table(GOOD + "high/ann_0.wav,low\n"), r"line 3: .* again, as in line 2; keep one"),
    "a Windows path": (table(rows("low\\ann_0.wav,low")), r"line 3: .*backslashes of Windows; write the path"),
    "a drive": (table(rows("C:\\a\\b.wav,low")), r"line 3: 'C:\\a\\b\.wav' has the backslashes of Windows"),
    "a file that is not there": (table(rows("low/nobody.wav,low")), r"line 3: low/nobody\.wav: missing; .*--data\.audio_folder"),
    "another case": (table(rows("low/Ann_0.WAV,low")), r"line 3: .*missing; the folder has ann_0\.wav, of another case"),
    "no suffix": (table(rows("low/ann_0,low")), r"line 3: .*missing; the folder has ann_0\.wav, with a suffix"),
    "NFC and NFD": (accents, r"line 2: .*missing; the folder has .*accents written in another way"),
    "a folder for a file": (table(rows("low,low")), r"line 3: low: missing"),
    "no audio": (broken_audio, r"line 3: bad\.wav: corrupt: .*--skip_unusable_audio true"),
    "an unknown split": (split_rows_of("train", "foo"), r"line 3: 'foo' is no split; write one of train"),
    "an empty split": (split_rows_of("train", ""), r"line 3: '' is no split; .*--data\.split none"),
    "no test split": (split_rows_of("train", "train", "dev"), r"has no test split; .*--data\.split none"),
    "a clip in two splits": (twice_in_splits, r"test\.csv, line 2: a\.wav .*train\.csv, line 2 .*keep one|train\.csv, line 2: a\.wav is in test\.csv, line 2"),
    "an empty speaker": (table(rows("low/ann_0.wav,low,", header="path,label,speaker", good=False)), r"line 2: no speaker; .*--data\.group none"),
    # Segments.
    "end before start": (table(rows("low/ann_0.wav,low,2,1", header="path,label,start,end", good=False)), r"line 2: it ends at 1 s and starts at 2 s"),
    "past the end": (table(rows("low/ann_0.wav,low,0,9", header="path,label,start,end", good=False)), r"line 2: .*a segment past its end: 0 to 9 s, and it has 0\.30 s"),
    "a clock": (table(rows("low/ann_0.wav,low,0:01,2", header="path,label,start,end", good=False)), r"line 2: its start is '0:01'; write seconds"),
    "no number": (table(rows("low/ann_0.wav,low,nan,2", header="path,label,start,end", good=False)), r"line 2: its start is 'nan'; write seconds"),
    "too short": (table(rows("low/ann_0.wav,low,0.1,0.101", header="path,label,start,end", good=False)), r"line 2: .*too short: 1\.0 ms"),
    # JSON lines.
    "no JSON": (table('{"path": "a.wav", "label": "x"}\n{"path"\n', "clips.jsonl"), r"clips\.jsonl, line 2: no JSON"),
    "no object": (table("[1]\n", "clips.jsonl"), r"clips\.jsonl, line 1: no object; write"),
    "a key twice": (table('{"path": "a", "path": "b", "label": "x"}\n', "clips.jsonl"), r"line 1: no JSON \(a key is there twice"),
    "true for a label": (table(lines({"path": "a.wav", "label": True}), "clips.jsonl"), r'line 1: its label is true or false, True; write it as text: "True"'),
    "null for a label": (table(lines({"path": "a.wav", "label": None}), "clips.jsonl"), r"line 1: no label; fill"),
    "a fraction for a label": (table(lines({"path": "a.wav", "label": 1.5}), "clips.jsonl"), r"line 1: its label is a float"),
    "a key that comes late": (table(lines({"path": "high/ann_0.wav", "label": "x"}, {"path": "low/ann_0.wav", "label": "y", "speaker": "z"}), "clips.jsonl"), r"line 2: the key speaker, which the first line has not; write it"),
    # Folders.
    "two layouts": (both_layouts, r"may be read as table or folders: .*say which: --data\.layout table"),
    "two tables": (two_tables, r"has one\.csv, two\.csv; give one table, such as --data_folder .*one\.csv"),
    "nothing in it": (folder_of(), r"has no audio and no table; give"),
    "a single class": (folder_of("a/1.wav", "a/2.wav"), r"the one folder with audio a; give"),
    "audio beside the classes": (folder_of("a/1.wav", "b/2.wav", "3.wav"), r"3\.wav: it is in no class's folder; put"),
    "a format that is not read": (lambda folder: (folder_of("a/1.wav", "b/2.wav")(folder)[0], {"m4a": "b/3.m4a"}), r"3\.m4a: \.m4a is not read; convert it, .*ffmpeg -i 3\.m4a 3\.flac"),
    "a circle of links": (loop, r"a/again is a link to a folder above it; delete it"),
    "half of save_to_disk": (saved_to_disk, r"(is no whole folder of datasets' save_to_disk|pip install 'mambadapter\[datasets\]')"),
    "splits beside another folder": (folder_of("train/a/1.wav", "train/b/2.wav", "test/a/3.wav", "more/4.wav"), r"has the test split test and more, which is none; name it"),
    "two folders of one split": (folder_of("dev/a/1.wav", "val/a/1.wav", "train/a/1.wav"), r"dev and .*val are both the valid split; make"),
    "a pattern without a group": (folder_of("a/1.wav", "b/2.wav", group_pattern="x"), r"has 0 groups; put the speaker's part"),
    "a pattern that finds nothing": (folder_of("a/1.wav", "b/2.wav", group_pattern="(x)"), r"a/1\.wav: .*finds nothing in 1\.wav; mend it"),
    "a class of two files": (folder_of("a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav", "b/3.wav"), r"class 'a' has 2 clips, and 3 splits need one each; record more, or leave the class out\.$"),
    # Kaldi.
    "no text": (kaldi(scp="u a.wav\n"), r"text is missing; a Kaldi folder has wav\.scp and text"),
    "not in wav.scp": (kaldi(scp="v a.wav\n", text="u ah\n"), r"text, line 1: u is not in wav\.scp; add its line"),
    "a pipe": (kaldi(scp="u sox a.wav |\n", text="u ah\n"), r"wav\.scp, line 1: a command, .*; run it once"),
    "an utterance twice": (kaldi(scp="u a.wav\n", text="u ah\nu oh\n"), r"text, line 2: u again, as in line 1; keep"),
    "not in segments": (kaldi(scp="r a.wav\n", text="u ah\n", segments="v r 0 1\n"), r"text, line 1: u is not in segments"),
    "a segment of three cells": (kaldi(scp="r a.wav\n", text="u ah\n", segments="u r 0\n"), r"segments, line 1: 'r 0'; write utterance"),
    "a segment that ends early": (kaldi(scp="r a.wav\n", text="u ah\n", segments="u r 2 1\n"), r"segments, line 1: it ends at 1 s"),
    "no speaker": (kaldi(scp="u a.wav\n", text="u ah\n", utt2spk="v s\n"), r"text, line 1: u is not in utt2spk"),
    "no words": (kaldi(scp="u a.wav\n", text="u\n"), r"text, line 1: u has no text; write it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(case, clips, tmp_path):
    write, message = CASES[case]
    for path in clips.iterdir():
        (tmp_path / path.name).symlink_to(path, target_is_directory=True)
    data, settings = write(tmp_path)
    if extra := settings.pop("m4a", None):
        (Path(data) / extra).write_bytes(b"x")
    task = settings.pop("task", "label")
    arguments = [data, tmp_path / "manifests", tmp_path / "cache", settings]
    prepare = prepare_sounds if task == "label" else partial(prepare_speech, rules=TextRules(None))
    with pytest.raises(UserError, match=message) as refused:
        prepare(*arguments)
    assert "\n" not in str(refused.value)
    assert not os.path.exists(tmp_path / "manifests/prepared.json")
