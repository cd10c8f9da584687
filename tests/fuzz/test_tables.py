"""Whatever is in a table, a list or a manifest, it is read as it is or refused in a line."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import cases, damaged

from mambadapter.data.corpora.common_voice_table import COLUMNS, read_table
from mambadapter.data.corpora.preparation import read_table as read_csv
from mambadapter.data.manifests import classification_datasets, text_datasets
from mambadapter.errors import UserError
from mambadapter.text import TextRules

RULES = TextRules("abcdefghijklmnopqrstuvwxyz", word_marks="'-")
KURDISH = TextRules("\u0647\u06d5", look_alikes={"\u0647\u200c": "\u06d5"})
HEADER = "client_id\tpath\tsentence\tup_votes\n"
ROWS = [
    "s1\ta.mp3\tone two\t2\n", 's2\tb.mp3\t"three\t0\n', "s3\tc.mp3\tfour\nfive\t1\n", "s4\td.mp3\tsix\tseven\t1\n",
    "s5\te.mp3\n", "\n", "s6\tf.mp3\te\u2028f\t\r\n", "\ufeff\t\t\t\n", "s1\ta.mp3\tanother\t2\n", "s7\t../g.mp3\tup\t0\n",
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "train.tsv"


@cases(400)
@given(st.permutations((*COLUMNS, "x")), st.lists(st.sampled_from(ROWS) | st.text(max_size=30)))
def test_no_sentence_is_a_part_of_one(path, columns, rows):
    """Each is all that stands between two tabs of a row with as many cells as the header."""
    path.write_bytes(("\t".join(columns) + "\n" + "".join(rows)).encode("utf-8", "replace"))
    try:
        table = read_table(path, RULES)
    except UserError as error:
        assert str(error).startswith(str(path))
        return
    at, clip = columns.index("sentence"), columns.index("path")
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    whole = [line.split("\t") for line in text.split("\n")[1:]]
    listed = {(cells[clip], cells[at]) for cells in whole if len(cells) == len(columns)}
    for utterance in table.utterances:
        assert (utterance.clip, utterance.sentence) in listed
        assert "/" not in utterance.clip
    assert all(line.startswith("train.tsv, line ") for line in table.broken)
    clips = [utterance.clip for utterance in table.utterances]
    assert len(clips) == len(set(clips))


@cases(300)
@given(damaged([(HEADER + "".join(ROWS[:2] * 3)).encode(), (HEADER + ROWS[0]).encode("utf-16")]))
def test_damaged_tables_are_read_or_refused(path, content):
    path.write_bytes(content)
    try:
        read_table(path, RULES)
    except UserError as error:
        assert str(path) in str(error)


CSV = b'filename,fold,category,"src"\na.wav,1,dog,1\n"b, c.wav",2,"r""ain",2\r\nd.wav,3,siren,3\n'


@cases(300)
@given(damaged([CSV]))
def test_damaged_csv_is_read_or_refused(path, content):
    path.write_bytes(content)
    try:
        rows = read_csv(path, ("filename", "fold"))
    except UserError as error:
        assert str(path) in str(error)
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        wanted = sum(1 for cells in csv.reader(file) if cells) - 1
    assert len(rows) == wanted
    assert all(row["filename"] and row["fold"] for row in rows)


MANIFEST = {
    f"{label}/{n}": {"wav": f"/{label}/{n}.wav", "duration": 1.5, "label": label, "text": label}
    for label in ("no", "yes")
    for n in range(2)
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@cases(200)
@given(damaged([json.dumps(MANIFEST).encode()]))
def test_damaged_manifests_are_read_or_refused(path, content):
    path.write_bytes(content)
    check_manifest(path)


@cases(200)
@given(
    st.sampled_from(sorted(MANIFEST)),
    st.sampled_from(["wav", "duration", "label", "text", None]),
    JSON,
)
def test_manifests_of_other_kinds_are_refused(path, clip, key, value):
    manifest = json.loads(json.dumps(MANIFEST))
    if key is None:
        manifest[clip] = value
    else:
        manifest[clip][key] = value
    path.write_text(json.dumps(manifest))
    check_manifest(path)


def check_manifest(path):
    manifests = {"train": path, "valid": path}
    for read in (
        lambda: classification_datasets(manifests, 16000),
        lambda: text_datasets(manifests, 16000, lambda text: [len(text)]),
    ):
        try:
            read()
        except UserError as error:
            assert str(path.parent) in str(error)


@cases(300)
@given(st.text() | st.text("ab' -’´`\u0301\u0308 .,\u200b\u200c\u0647", max_size=20), st.booleans())
def test_any_sentence_has_a_text(sentence, other):
    rules = KURDISH if other else RULES
    normalised = rules.normalise(sentence)
    assert rules.normalise(normalised.text).text == normalised.text
    assert normalised.text == " ".join(normalised.text.split())
    assert not set(normalised.outside) & set(rules.alphabet + rules.word_marks + " ")
