"""Folders that `save_to_disk` wrote: the same clips as in files, each written once."""

import io
import json
import re

import numpy as np
import pytest
import soundfile as sf
from support.small_own import CLASSES, SPEAKERS, write_clips

from mambadapter import cli
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.prepare import prepare_sounds
from mambadapter.errors import UserError

datasets = pytest.importorskip("datasets", reason="pip install 'mambadapter[datasets]'")

# Audio that is in the dataset; paths of files; and audio as files, which `save_to_disk` once left outside.
INSIDE, PATHS, OUTSIDE = "bytes", "paths", "bytes of none"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return folder, write_clips(folder)


def dataset(folder, rows, kind=INSIDE):
    """A dataset of clips, their audio stored as `Audio` would, which takes torchcodec to make it."""

    def audio(row):
        path = folder / row["path"]
        inside = {"bytes": path.read_bytes(), "path": path.name}
        return {INSIDE: inside, PATHS: str(path)}.get(kind, {"bytes": None, "path": str(path)})

    table = {
        "audio": [audio(row) for row in rows],
        "label": [CLASSES.index(row["label"]) for row in rows],
        "speaker": [row["speaker"] for row in rows],
    }
    made = datasets.Dataset.from_dict(table)
    made = made.cast_column("label", datasets.ClassLabel(names=[*CLASSES]))
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    of_kind = {INSIDE: datasets.Audio(), PATHS: datasets.Value("string")}
    return made.cast_column("audio", of_kind.get(kind, stored))


def save(made, folder, kind):
    made.save_to_disk(folder)
    if kind == OUTSIDE:
        about = json.loads((folder / "dataset_info.json").read_text())
        about["features"]["audio"] = {"_type": "Audio"}
        (folder / "dataset_info.json").write_text(json.dumps(about))


def heard(path):
    return sf.read(path)[0].tobytes()


@pytest.mark.parametrize("kind", [INSIDE, PATHS, OUTSIDE])
def test_a_dataset_lists_the_clips_that_are_in_it(kind, own, tmp_path):
    folder, rows = own
    save(dataset(folder, rows, kind), tmp_path / "saved", kind)
    listing = read_data(tmp_path / "saved", "label", {}, tmp_path / "cache")
    assert listing.layout == "datasets"
    found = {(heard(listing.path(row)), row.target, row.group) for row in listing.rows}
    assert found == {(heard(folder / r["path"]), r["label"], r["speaker"]) for r in rows}
    written = sorted((tmp_path / "cache").rglob("*.wav"))
    assert len(written) == (len(rows) if kind == INSIDE else 0)
    times = [path.stat().st_mtime_ns for path in written]
    again = read_data(tmp_path / "saved", "label", {"layout": "datasets"}, tmp_path / "cache")
    assert [*again.rows] == [*listing.rows]
    assert [path.stat().st_mtime_ns for path in written] == times


def test_the_keys_of_a_dictionary_are_the_splits(own, tmp_path):
    folder, rows = own
    sides = {"train": SPEAKERS[:3], "validation": SPEAKERS[3:4], "test": SPEAKERS[4:]}
    parts = {
        key: dataset(folder, [r for r in rows if r["speaker"] in speakers])
        for key, speakers in sides.items()
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    manifests = prepare_sounds(tmp_path / "saved", tmp_path / "m", tmp_path / "c", {})
    for split, speakers in zip(("train", "valid", "test"), sides.values(), strict=True):
        found = manifests[split].read_text()
        assert all((f"{speaker}_0.wav" in found) == (speaker in speakers) for speaker in SPEAKERS)
    again = prepare_sounds(tmp_path / "m/splits.csv", tmp_path / "again", tmp_path / "c", {})
    assert "eve_0.wav" in again["test"].read_text()
    free = read_data(tmp_path / "saved", "label", {"split": "none"}, tmp_path / "c")
    assert {row.split for row in free.rows} == {""}


@pytest.mark.parametrize(
    "inside", [datasets.ClassLabel(names=["a;b", "c"]), datasets.Value("string")]
)
def test_a_list_of_labels_is_several_labels(inside, own, tmp_path):
    """Joined by what is in none of them."""
    folder, rows = own
    labels = [["c"], ["c", "a;b"], ["a;b"]]
    values = (
        [[["a;b", "c"].index(one) for one in of] for of in labels]
        if inside.dtype != "string"
        else labels
    )
    table = {
        "path": [str(folder / row["path"]) for row in rows[:3]],
        "labels": values,
        "words": values,
    }
    made = datasets.Dataset.from_dict(table).cast_column("labels", datasets.List(inside))
    made.save_to_disk(tmp_path / "saved")
    listing = read_data(tmp_path / "saved", "label", {"label_separator": "|"})
    assert [row.classes for row in listing.rows] == [("c",), ("a;b", "c"), ("a;b",)]
    with pytest.raises(
        UserError, match=r"saved, line 2: a ';' in its labels; .*--data\.label_separator"
    ):
        read_data(tmp_path / "saved", "label", {})
    made.select([0, 0]).save_to_disk(tmp_path / "others")
    with pytest.raises(UserError, match=r"others, line 2: .* again, as in line 1"):
        read_data(tmp_path / "others", "label", {})


def test_a_clip_without_a_name_or_with_that_of_another_system(tmp_path):
    def tone(seed):
        file = io.BytesIO()
        sf.write(file, np.random.default_rng(seed).normal(0, 0.1, 4000), 16000, format="FLAC")
        return file.getvalue()

    names = [None, "C:\\clips\\a.flac", "../../b.flac"]
    table = {
        "speech": [{"bytes": tone(n), "path": name} for n, name in enumerate(names)],
        "text": ["ah", "oh", "ah oh"],
    }
    made = datasets.Dataset.from_dict(table).cast_column("speech", datasets.Audio())
    made.save_to_disk(tmp_path / "saved")
    listing = read_data(tmp_path / "saved", "text", {}, tmp_path / "cache")
    assert [listing.path(row).name for row in listing.rows] == ["clip", "a.flac", "b.flac"]
    assert all(tmp_path / "cache" in listing.path(row).resolve().parents for row in listing.rows)
    assert len({heard(listing.path(row)) for row in listing.rows}) == 3


def test_inspect_leaves_nothing_behind(own, tmp_path, monkeypatch, capsys):
    folder, rows = own
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "t").mkdir()
    dataset(folder, rows).save_to_disk(tmp_path / "saved")
    cli.main(["inspect", str(tmp_path / "saved"), "--output", str(tmp_path / "page.html")])
    said = capsys.readouterr().out
    assert "saved: path from 'audio', label from 'label', group from 'speaker'" in said
    assert re.search(rf"clips +{len(rows)}\n", said)
    assert not any((tmp_path / "t").iterdir())


def no_label(made):
    return made.map(lambda row, place: {"label": -1 if place == 1 else 0}, with_indices=True)


REFUSED = {
    "no label": (no_label, {}, r"saved, line 2: no label; fill"),
    "two columns of audio": (
        lambda made: made.add_column("other", made.data["audio"].combine_chunks())
        .cast_column("other", datasets.Audio()),
        {}, r"audio, other are all audio; say which: --data\.path audio",
    ),
    "a column that is not there": (lambda made: made, {"label": "lable"}, r"did you mean 'label'"),
    "another split": (
        lambda made: datasets.DatasetDict({"clean": made}), {},
        r"saved: 'clean' is no split; .*--data\.split none",
    ),
    "a list without a label": (
        lambda made: made.remove_columns("label").add_column("label", [["a"], ["b"], [], ["a"]]), {},
        r"saved, line 3: no label; fill",
    ),
    "lists of numbers": (
        lambda made: made.remove_columns("label").add_column("label", [[1.5]] * 4), {},
        r"saved, line 1: its label is a list",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_line(case, own, tmp_path):
    change, settings, message = REFUSED[case]
    folder, rows = own
    change(dataset(folder, rows[:4])).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=message) as refused:
        read_data(tmp_path / "saved", "label", settings, tmp_path / "cache")
    assert "\n" not in str(refused.value)


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=r"pip install 'mambadapter\[datasets\]'"):
        read_data(tmp_path, "label", {})
