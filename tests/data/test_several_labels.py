"""Clips of several labels: tables, splits, datasets, and what `inspect` says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.small_own import write_clips, write_csv

from mambadapter.data.balance import balanced_sampler, positive_weights
from mambadapter.data.corpora.prepared import SPLITS
from mambadapter.data.manifests import classification_datasets
from mambadapter.data.own.inspection import inspect_data
from mambadapter.data.own.labels import likely_separator
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.prepare import prepare_sounds
from mambadapter.data.own.rows import Listing, Row, Rows
from mambadapter.data.own.splits import split_rows
from mambadapter.errors import UserError

PARTED = {"label_separator": ";"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Clips and their rows, with a label of the tone and one of the take."""
    folder = tmp_path_factory.mktemp("own")
    rows = [{**row, "take": f"take {row['path'][-5]}"} for row in write_clips(folder)]
    return folder, [{**row, "labels": f"{row['take']} ;{row['label']}"} for row in rows]


def written(folder, rows, columns=("path", "labels", "speaker")):
    return write_csv(folder / "clips.csv", rows, columns)


def test_a_cell_and_columns_say_the_same(own, tmp_path):
    folder, rows = own
    table = written(folder, rows, ("path", "labels", "label", "take", "speaker"))
    of_cell = read_data(table, "label", {"label": "labels", **PARTED})
    of_columns = read_data(table, "label", {"label": "label,take"})
    assert [*of_cell.rows] == [*of_columns.rows]
    assert of_cell.rows[0].labels == ("high", "take 0")
    assert of_cell.flags == {"label": "labels", **PARTED}
    one = read_data(table, "label", {"label": "labels"})
    assert not one.several
    assert one.rows[0].target == "take 0 ;high"


def test_manifests_datasets_and_weights(own, tmp_path):
    folder, rows = own
    rows = [{**r, "labels": r["labels"] + ";eve"} if r["speaker"] == "eve" else r for r in rows]
    table = written(folder, rows)
    rest = (tmp_path / "c", {**PARTED, "group": "none"})
    manifests = prepare_sounds(table, tmp_path / "m", *rest)
    datasets, labels = classification_datasets(manifests, 16000)
    assert labels == ["eve", "high", "low", "take 0", "take 1"]
    by_path = {row["path"]: {part.strip() for part in row["labels"].split(";")} for row in rows}
    for of_split in datasets.values():
        for clip in of_split:
            has = {label for label, one in zip(labels, clip["label_row"], strict=True) if one}
            assert has == by_path[clip["id"]]
    train = json.loads(manifests["train"].read_text())
    positive = np.array([sum(label in e["labels"] for e in train.values()) for label in labels])
    torch.testing.assert_close(
        positive_weights(datasets["train"], labels),
        torch.tensor((len(train) - positive) / positive, dtype=torch.float32),
    )
    with pytest.raises(UserError, match="sampler: balanced is for clips of one label"):
        balanced_sampler(datasets["train"], 0)
    with pytest.raises(UserError, match="shots_per_class is for clips of one label"):
        classification_datasets(manifests, 16000, shots_per_class=1)
    # What was written is data with given splits.
    again = prepare_sounds(tmp_path / "m/splits.csv", tmp_path / "again", tmp_path / "c", PARTED)
    assert [len(json.loads(p.read_text())) for p in again.values()] == [
        len(d) for d in datasets.values()
    ]


def listing_of(sets, groups):
    rows = [
        Row(f"{n}.wav", ";".join(labels), "t", n + 1, group=group, labels=tuple(sorted(labels)))
        for n, (labels, group) in enumerate(zip(sets, groups, strict=True))
    ]
    return Listing("table", "label", Path("/nowhere"), Rows("label", rows), "")


def by_key(listing):
    return {
        key: SPLITS[number]
        for key, number in zip(listing.rows.keys(), split_rows(listing), strict=True)
    }


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_splits_share_out_every_label_and_no_group(grouped, seed):
    """Each label's share of the test is near a fifth, whatever the order of rows."""
    generator = np.random.default_rng(seed)
    frequent = np.array([0.5, 0.3, 0.2, 0.15, 0.1])
    sets = [np.flatnonzero(generator.random(5) < frequent) for _ in range(300)]
    sets = [[f"c{n}" for n in one] or ["c0"] for one in sets]
    groups = [f"g{n // 3}" if grouped else "" for n in range(300)]
    listing = listing_of(sets, groups)
    labels = {row.key: row.classes for row in listing.rows}
    split_of = by_key(listing)
    backwards = Listing("table", "label", listing.root, Rows("label", listing.rows[::-1]), "")
    assert by_key(backwards) == split_of
    for label in ("c0", "c1", "c2", "c3", "c4"):
        of_label = [split_of[key] for key, classes in labels.items() if label in classes]
        for split, share in (("train", 0.6), ("valid", 0.2), ("test", 0.2)):
            assert of_label.count(split) / len(of_label) == pytest.approx(share, abs=0.07)
    if grouped:
        sides = {(row.group, split_of[row.key]) for row in listing.rows}
        assert len(sides) == 100


def test_a_label_of_too_few_speakers_is_refused():
    listing = listing_of([["a"], ["a", "b"], ["a"]] * 3, ["x", "y", "z"] * 3)
    with pytest.raises(UserError, match="class 'b' has 1 speaker or group "):
        split_rows(listing)


@pytest.mark.parametrize(
    ("cell", "settings", "message"),
    [
        ("", PARTED, "no labels; fill the cell"),
        ("a;;b", PARTED, "an empty label in 'a;;b'; write one ';' between two"),
        ("a;b;", PARTED, "an empty label in 'a;b;'"),
        ("a; a", PARTED, "'a' twice in 'a; a'; write each label once"),
        ("a;b", {"label_separator": "; "}, "'; ' is not one character"),
        ("a;b", {"label": "labels,path"}, "line 2: a ';' in its labels; say what parts labels"),
        ("a", {"label": "labels,nothing"}, "no column 'nothing' .--data.label"),
        ("a", {"label": "labels,labels"}, "once and not twice the column 'labels'"),
        ("a", {"layout": "folders", **PARTED}, "parts labels in a table, .* leave it out"),
    ],
)
def test_bad_labels_are_refused_in_one_line(cell, settings, message, tmp_path):
    table = write_csv(
        tmp_path / "clips.csv", [{"path": "a.wav", "labels": cell}], ("path", "labels")
    )
    with pytest.raises(UserError, match=message) as refused:
        read_data(table, "label", settings)
    assert "\n" not in str(refused.value)


def test_inspection_counts_labels_and_names_a_likely_separator(own, tmp_path):
    folder, rows = own
    table = written(folder, rows)
    found = inspect_data(table, PARTED)
    assert found.findings == []
    assert found.counts["take 0"] == {"train": 6, "valid": 2, "test": 2}
    assert found.facts["labels of a clip"] == "2 (20 clips)"
    assert "--data.label_separator ';'" in found.command
    (unsaid,) = inspect_data(table, {}).findings
    assert unsaid.what == "4 labels seem to be several, parted by ';'"
    assert unsaid.mend.endswith("--data.label_separator ';'")


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["dog;rain", "rain", "dog"], ";"),
        (["dog|rain", "rain|wind", "wind|dog"], "|"),
        (["rock & roll", "jazz"], None),
        (["Speech, male", "Speech, female", "Dog, bark"], None),
        (["dog", "cat"], None),
    ],
)
def test_separators_are_likely_where_parts_come_again(cells, mark):
    assert likely_separator(cells) == mark
