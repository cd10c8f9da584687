"""Columns hold what lists would, and manifests of any layout are read as JSON is."""

import json
import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mambadapter.data.clips import ClipDataset, Clips
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.splits import same_audio
from mambadapter.errors import UserError
from mambadapter.utils import columns, files
from mambadapter.utils.columns import Coded, Strings, order_of

TEXTS = st.lists(st.text(st.characters(codec=None), max_size=6), max_size=40)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_columns_hold_what_a_list_does(one, other, asked):
    """Also surrogates, as in names of files that are not UTF-8."""
    both = one + other
    last = {string: place for place, string in enumerate(both)}
    for column in (Strings(one), Coded(one)):
        column.extend(other)
        assert [*column] == [column[place] for place in range(len(column))] == both
        assert column[1:3] == both[1:3]
        assert pickle.loads(pickle.dumps(column))[:] == both
    strings = Strings(one)
    strings.find("")  # the index is there before the others come
    strings.extend(other)
    assert strings.find_all(asked + both) == [last.get(string) for string in asked + both]
    assert Coded(both).ranks().tolist() == [sorted({*both}).index(string) for string in both]


def test_strings_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(columns, "hash", len, raising=False)
    strings = Strings(["ab", "cd", "e", "ef", "cd"])
    assert strings.find_all(["ab", "cd", "ef", "xy", "e"]) == [0, 4, 3, None, 2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ab/é\U0001f40b", max_size=4), min_size=1, max_size=200))
def test_the_order_is_that_of_sorted(strings):
    """In parts, too, as of more rows than these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK", 16)
        order, again = order_of(len(strings), Strings(strings).at)
    assert order.tolist() == sorted(range(len(strings)), key=strings.__getitem__)
    first = {}
    twice = [(first[s], n) for n, s in enumerate(strings) if first.setdefault(s, n) != n]
    assert sorted(again) == sorted(twice)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=3), st.text(max_size=9)), max_size=12),
    st.sampled_from([None, 0, 1]),
    st.integers(1, 60),
)  # fmt: skip
def test_items_are_read_in_every_layout(tmp_path_factory, content, indent, block):
    path = tmp_path_factory.mktemp("items") / "a.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_BLOCK", block)
        path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
        assert dict(files.read_items(path, "")) == content
        files.write_items(path, content.items())
        assert dict(files.read_items(path, "")) == json.loads(path.read_text("utf-8")) == content


def test_an_item_is_a_line_whatever_is_in_its_texts(tmp_path):
    texts = ["},\n", ",\n", '"},\n"a": {"', "\\", "\n}", ", "]
    content = {text: {"text": text, "labels": texts, "size": 1.5, "start": None} for text in texts}
    lines = files.write_items(tmp_path / "a.json", content.items()).read_text("utf-8").splitlines()
    assert [json.loads("{" + line.removesuffix(",") + "}") for line in lines[1:-1]] == [
        {text: entry} for text, entry in content.items()
    ]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": {}', '{"a": {}}}', '{"a": {},\n"b"}', '{"a": 1,\n}'])  # fmt: skip
def test_what_is_no_object_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.setattr(files, "_BLOCK", 4)
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a\.json (is no whole JSON|holds no dict).*; mend"):
        dict(files.read_items(tmp_path / "a.json", "mend"))


def test_clips_are_a_mapping_and_a_dataset_of_it_is_small():
    entries = {
        f"c{n}": {"wav": f"/far/{n % 3}/{n}.wav", "duration": 1.5, "start": n - 1.5 if n > 1000 else None,
                  "end": None, "label": "a"}
        for n in range(2000)
    }  # fmt: skip
    clips = Clips(entries.items())
    assert dict(clips) == dict(clips.items()) == entries
    assert [*clips.values()] == [*entries.values()]
    assert "c1999" in clips
    assert "x" not in clips
    dataset = pickle.loads(pickle.dumps(ClipDataset(clips, [], ["id", "wav"])))
    assert dataset[7] == {"id": "c7", "wav": "/far/1/7.wav"}
    assert len(pickle.dumps(dataset)) < 90 * len(entries)


def test_a_row_of_a_table_takes_little_memory(tmp_path):
    """Of a name of 40 characters, which alone takes 89 bytes as a Python string."""
    lines = [f"recordings/somewhere/below/{n:09d}.wav,c{n % 9},s{n % 99}\n" for n in range(20_000)]
    (tmp_path / "a.csv").write_text("path,label,speaker\n" + "".join(lines))
    tracemalloc.start()
    rows = read_data(tmp_path / "a.csv", "label", {}).rows
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 20_000
    assert held / len(rows) < 100


def test_files_of_one_size_and_beginning_are_read_to_their_end(tmp_path):
    ends = [b"same", b"else", b"same", b"longer"]
    paths = [tmp_path / str(number) for number in range(5)]
    for path, end in zip(paths, ends, strict=False):  # the last is missing
        path.write_bytes(bytes(5000) + end)
    found = same_audio(len(paths), lambda some: [paths[number] for number in some])
    assert {0, 1, 2} <= found.keys() <= {0, 1, 2, 3}
    assert found[0] == found[2] != found[1]
