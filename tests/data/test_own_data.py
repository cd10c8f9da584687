"""Folders and tables of one's own: layouts, splits, segments and manifests."""

import csv
import hashlib
import html
import json
import math
import multiprocessing
import re
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipe_run import write_noise
from support.small_own import CLASSES, SPEAKERS, write_clips, write_csv, write_tone

from mambadapter import cli
from mambadapter.data import durations
from mambadapter.data.audio import read_clip
from mambadapter.data.corpora.prepared import SPLITS
from mambadapter.data.manifests import classification_datasets
from mambadapter.data.own.inspection import inspect_data
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.prepare import prepare_sounds, prepare_speech
from mambadapter.data.own.rows import Listing, Row, Rows
from mambadapter.data.own.splits import split_rows
from mambadapter.errors import UserError
from mambadapter.text import TextRules
from mambadapter.utils.columns import Strings


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Clips, and their rows."""
    folder = tmp_path_factory.mktemp("own")
    return folder, write_clips(folder)


def entries(manifests):
    return {split: json.loads(path.read_text()) for split, path in manifests.items()}


def in_a_table(folder, rows):
    return write_csv(folder / "clips.csv", rows), "table"


def with_a_mark_and_crlf(folder, rows):
    path = write_csv(folder / "clips.csv", rows, lineterminator="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    return path, "table"


def in_json_lines(folder, rows):
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "clips.jsonl", "table"


def in_parquet(folder, rows):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), folder / "clips.parquet")
    return folder / "clips.parquet", "table"


def in_folders(folder, rows):
    return folder, "folders"


def in_split_folders(folder, rows):
    for row in rows:
        split = {"ann": "dev", "bob": "test"}.get(row["speaker"], "train")
        target = folder / "splits" / split / row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder / row["path"])
    return folder / "splits", "folders"


def as_an_audiofolder(folder, rows):
    renamed = [{**row, "file_name": row["path"]} for row in rows]
    write_csv(folder / "metadata.csv", renamed, ("file_name", "label", "speaker"))
    return folder, "audiofolder"


@pytest.mark.parametrize(
    "lay_out",
    [
        in_a_table, with_a_mark_and_crlf, in_json_lines, in_parquet, in_folders, in_split_folders,
        as_an_audiofolder,
    ],
)  # fmt: skip
def test_every_layout_lists_the_same_clips(lay_out, own, tmp_path):
    folder, rows = own
    for label in CLASSES:
        (tmp_path / label).symlink_to(folder / label, target_is_directory=True)
    data, layout = lay_out(tmp_path, rows)
    listing = read_data(data, "label", {})
    assert listing.layout == layout
    found = {(listing.path(row).resolve(), row.target) for row in listing.rows}
    assert found == {((folder / row["path"]).resolve(), row["label"]) for row in rows}
    if layout == "folders":
        pattern = {"group_pattern": r"^(\w+)_"}
        assert {row.group for row in read_data(data, "label", pattern).rows} == {*SPEAKERS}
    else:
        assert {row.group for row in listing.rows} == {*SPEAKERS}


def test_splits_that_folders_give_can_be_left_out(own, tmp_path):
    folder, rows = own
    for label in CLASSES:
        (tmp_path / label).symlink_to(folder / label, target_is_directory=True)
    data, _ = in_split_folders(tmp_path, rows)
    assert {row.split for row in read_data(data, "label", {}).rows} == {"train", "valid", "test"}
    assert {row.split for row in read_data(data, "label", {"split": "none"}).rows} == {""}


@pytest.mark.parametrize("label", ["01", "True", "null", "1e3", "NaN", "no"])
def test_labels_stay_the_text_that_they_are(label, tmp_path):
    names = [f"{number}.wav" for number in range(3)]
    for content in (
        "path,label\n" + "".join(f"{name},{label}\n" for name in names),
        "".join(json.dumps({"path": name, "label": label}) + "\n" for name in names),
    ):
        path = tmp_path / ("a.csv" if content.startswith("path") else "a.jsonl")
        path.write_text(content)
        assert {row.target for row in read_data(path, "label", {}).rows} == {label}


def test_kaldi_folders_are_read(own, tmp_path):
    folder, rows = own
    for split, speakers in (
        ("train", SPEAKERS[:3]),
        ("dev", SPEAKERS[3:4]),
        ("test", SPEAKERS[4:]),
    ):
        (tmp_path / split).mkdir()
        chosen = [row for row in rows if row["speaker"] in speakers]
        utterances = [(f"u{number}-{split}", row) for number, row in enumerate(chosen)]
        texts = {
            "wav.scp": [f"r{u} {folder / row['path']}" for u, row in utterances],
            "segments": [f"{u} r{u} 0.05 0.25" for u, _ in utterances],
            "text": [f"{u} {row['text']}" for u, row in utterances],
            "utt2spk": [f"{u} {row['speaker']}" for u, row in utterances],
        }
        for name, lines in texts.items():
            (tmp_path / split / name).write_text("\n".join(lines) + "\n")
    manifests = prepare_speech(tmp_path, tmp_path / "m", tmp_path / "c", {}, TextRules(None))
    found = entries(manifests)
    assert {split: len(of) for split, of in found.items()} == {"train": 12, "valid": 4, "test": 4}
    one = next(iter(found["train"].values()))
    assert (one["start"], one["end"], one["duration"]) == (0.05, 0.25, 0.2)
    assert {entry["text"] for entry in found["train"].values()} == {"ah oh", "oh ah oh"}


@pytest.mark.parametrize(("form", "kind"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", None), ("OGG", "OPUS")])  # fmt: skip
def test_a_segment_is_that_part_of_the_whole(form, kind, tmp_path):
    samples = np.cumsum(np.random.default_rng(0).normal(0, 0.02, 40000)) % 0.5
    sf.write(tmp_path / "long", samples, 16000, format=form, subtype=kind)
    whole = read_clip(tmp_path / "long", 16000)
    for start, end in ((0, 0.5), (0.7001, 1.3), (2.0, None)):
        part = read_clip(tmp_path / "long", 16000, start=start, end=end)
        first, last = round(start * 16000), None if end is None else round(end * 16000)
        np.testing.assert_allclose(part, whole[first:last], atol=1e-6)


def test_segments_train_as_clips_do(own, tmp_path):
    """Of one long file, at another rate, without a copy: the dataset gives what was joined."""
    folder, rows = own
    parts = [sf.read(folder / row["path"], dtype="float32")[0] for row in rows]
    sf.write(tmp_path / "long.flac", np.concatenate(parts), 16000)
    ends = np.cumsum([len(part) for part in parts]) / 16000
    listed = [
        {**row, "path": "long.flac", "start": end - len(part) / 16000, "end": end}
        for row, part, end in zip(rows, parts, ends, strict=True)
    ]
    table = write_csv(tmp_path / "a.csv", listed, ("path", "label", "speaker", "start", "end"))
    manifests = prepare_sounds(table, tmp_path / "m", tmp_path / "c", {})
    datasets, labels = classification_datasets(manifests, 16000)
    assert labels == [*CLASSES]
    by_place = {float(row["start"]): part for row, part in zip(listed, parts, strict=True)}
    clips = [clip for dataset in datasets.values() for clip in dataset]
    assert len(clips) == len(rows)
    for clip in clips:
        start = float(clip["id"].partition("#t=")[2].partition(",")[0])
        np.testing.assert_allclose(clip["signal"], by_place[start], atol=1e-4)


def test_no_speaker_is_in_two_splits_and_the_order_of_rows_does_not_matter(own, tmp_path):
    folder, rows = own
    found = {}
    for name, order in (("a", rows), ("b", rows[::-1])):
        table = write_csv(folder / f"{name}.csv", order)
        manifests = prepare_sounds(table, tmp_path / name, tmp_path / "c", {})
        found[name] = [path.read_text() for path in manifests.values()]
        with (tmp_path / name / "splits.csv").open(newline="") as file:
            written = list(csv.DictReader(file))
        found[name].append(written)
    assert found["a"] == found["b"]
    split_of = {}
    for row in written:
        assert split_of.setdefault(row["group"], row["split"]) == row["split"]
    assert sorted(split_of.values()) == ["test", "train", "train", "train", "valid"]
    # What was written is data with given splits.
    again = prepare_sounds(tmp_path / "a/splits.csv", tmp_path / "again", tmp_path / "c", {})
    assert [len(e) for e in entries(again).values()] == [len(json.loads(t)) for t in found["a"][:3]]
    other = prepare_sounds(table, tmp_path / "o", tmp_path / "c", {}, split_seed=3)
    assert entries(other)["test"].keys() != json.loads(found["a"][2]).keys()


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), min_size=30, max_size=80), st.integers(3, 5), st.integers(0, 99))  # fmt: skip
def test_folds_test_each_clip_once_and_share_no_group(clips, folds, seed):
    """Whatever the classes and the groups, where it is not refused."""
    rows = [
        Row(f"{number}.wav", f"c{label}", "t", number + 1, group=f"g{group}")
        for number, (label, group) in enumerate(clips)
    ]
    listing = Listing("table", "label", Path("/nowhere"), Rows("label", rows), "")
    groups = {
        label: {row.group for row in rows if row.target == label}
        for label in {row.target for row in rows}
    }
    if min(map(len, groups.values())) < folds:
        with pytest.raises(UserError, match="fewer than the . folds"):
            split_rows(listing, None, 1, folds, seed)
        return
    tested = []
    for fold in range(1, folds + 1):
        split_of = split_rows(listing, None, fold, folds, seed).tolist()
        assert {*split_of} <= {0, 1, 2}
        tested += [place for place, split in enumerate(split_of) if SPLITS[split] == "test"]
        sides = {(row.group, split) for row, split in zip(rows, split_of, strict=True)}
        assert len(sides) == len({row.group for row in rows})
    assert sorted(tested) == [*range(len(rows))]
    for fold in ("x", 0, folds + 1):
        with pytest.raises(
            UserError, match=f"test_fold: there is no fold .*{fold}.* folds 1 to {folds}"
        ):
            split_rows(listing, None, fold, folds, seed)
    assert (
        split_rows(listing, None, "2", folds, seed)[0]
        == split_rows(listing, None, 2, folds, seed)[0]
    )


def in_pieces(folder, files, spelled, speaker):
    """A table of the two halves of each file, each of its own speaker."""
    rows = []
    for number in range(files):
        write_tone(folder / f"f{number}.wav", seed=number)
        for half in range(2):
            name = spelled(f"f{number}.wav", half)
            label, times = CLASSES[number % 2], {"start": 0.2 * half, "end": 0.2 * half + 0.2}
            rows.append({"path": name, "label": label, "speaker": speaker(number, half), **times})
    given = ["speaker"] if rows[0]["speaker"] else []
    return write_csv(folder / "halves.csv", rows, ("path", "label", *given, "start", "end"))


@pytest.mark.parametrize("spelling", ["same", "dotted", "linked"])
def test_a_file_stays_on_one_side_whoever_speaks_and_however_it_is_spelled(spelling, tmp_path):
    def spelled(name, half):
        if not half or spelling == "same":
            return name
        if spelling == "dotted":
            return f"./{name}"
        (tmp_path / f"l{name}").symlink_to(name)
        return f"l{name}"

    def speaker(number, half):
        return f"s{2 * number + half}" if spelling == "same" else ""

    listing = read_data(in_pieces(tmp_path, 12, spelled, speaker), "label", {})
    split_of: dict[str, set[int]] = {}
    for row, split in zip(listing.rows, split_rows(listing).tolist(), strict=True):
        split_of.setdefault(row.name.removeprefix("./").removeprefix("l"), set()).add(split)
    assert [len(splits) for splits in split_of.values()] == [1] * 12
    assert set.union(*split_of.values()) == {0, 1, 2}


def test_speakers_of_one_file_are_parted_with_a_warning(tmp_path, caplog):
    """There is no other way: a long recording of several."""
    names = [f"s{number}" for number in range(12)]
    table = in_pieces(tmp_path, 12, lambda name, half: "f0.wav", lambda number, half: names[number])
    lines = table.read_text().splitlines()
    timed = [
        line.rsplit(",", 2)[0] + f",{n / 100},{n / 100 + 0.1}" for n, line in enumerate(lines[1:])
    ]
    table.write_text("\n".join([lines[0], *timed]))
    listing = read_data(table, "label", {})
    split_of = split_rows(listing).tolist()
    assert {*split_of} == {0, 1, 2}
    assert (
        len({(row.group, split) for row, split in zip(listing.rows, split_of, strict=True)}) == 12
    )
    assert "a file may be on two sides, a speaker or group is not" in caplog.text


def test_times_late_in_a_file_are_written_to_the_last_digit(tmp_path):
    sf.write(tmp_path / "long.flac", np.random.default_rng(0).normal(0, 0.1, 8000 * 1100), 8000)
    times = [(1000.1234 + n, 1000.1235 + n + 0.3) for n in range(12)]
    rows = [
        {"path": "long.flac", "label": CLASSES[n % 2], "start": start, "end": end}
        for n, (start, end) in enumerate(times)
    ]
    table = write_csv(tmp_path / "t.csv", rows, ("path", "label", "start", "end"))
    none = {"group": "none"}
    prepare_sounds(table, tmp_path / "m", tmp_path / "c", none)
    again = read_data(tmp_path / "m/splits.csv", "label", {})
    assert sorted((row.start, row.end) for row in again.rows) == times


def test_copies_stay_on_one_side(tmp_path):
    """The same recording under two names, which no group says."""
    for label in CLASSES:
        for number in range(6):
            for copy in "ab":
                write_tone(
                    tmp_path / label / f"{number}{copy}.wav",
                    seed=number,
                    hertz=300 + 700 * (label == "low"),
                )
    listing = read_data(tmp_path, "label", {})
    split_of = dict(zip(listing.rows.keys(), split_rows(listing).tolist(), strict=True))
    for label in CLASSES:
        for number in range(6):
            assert len({split_of[f"{label}/{number}{copy}.wav"] for copy in "ab"}) == 1
    assert {*split_of.values()} == {0, 1, 2}


def test_given_splits_are_kept_a_leak_is_said_and_a_missing_validation_is_cut(
    own, tmp_path, caplog
):
    folder, rows = own
    given = [{**row, "split": "test" if row["speaker"] in "ann bob" else "train"} for row in rows]
    table = write_csv(folder / "given.csv", given, ("path", "label", "speaker", "split"))
    found = entries(prepare_sounds(table, tmp_path / "m", tmp_path / "c", {}))
    tested = {row["path"] for row in given if row["split"] == "test"}
    assert found["test"].keys() == tested
    valid = {name.partition("/")[2].partition("_")[0] for name in found["valid"]}
    assert len(valid) == 1
    assert valid < {"cem", "dov", "eve"}
    assert "share" not in caplog.text
    with pytest.raises(UserError, match="--folds 3: .*--data.split none"):
        prepare_sounds(table, tmp_path / "f", tmp_path / "c", {}, 1, 3)
    given[0]["split"] = "train"  # of ann, who tests
    write_csv(table, given, ("path", "label", "speaker", "split"))
    prepare_sounds(table, tmp_path / "n", tmp_path / "c", {})
    assert "share speakers or groups: 1 in" in caplog.text
    assert "let others be made: --data.split none" in caplog.text


def test_rare_characters_are_named_and_long_clips_left_out(own, tmp_path, caplog):
    folder, rows = own
    texts = [
        {**row, "text": "Ŭa-ho!" if number == 2 else row["text"]} for number, row in enumerate(rows)
    ]
    table = write_csv(folder / "texts.csv", texts, ("path", "text", "speaker"))
    rules = TextRules(None, look_alikes={"ŭ": "w"})
    found = entries(prepare_speech(table, tmp_path / "m", tmp_path / "c", {}, rules, 5.0))
    assert "wa ho" in {entry["text"] for of in found.values() for entry in of.values()}
    assert "'w' (1)" in caplog.text
    with pytest.raises(UserError, match=r"nothing is left: 20 \(longer than 0\.2 s\)"):
        prepare_speech(table, tmp_path / "n", tmp_path / "c", {}, rules, 0.2)


def test_a_manifest_has_real_folders_and_knows_its_files(own, tmp_path):
    """Also what earlier versions wrote of their sizes and times."""
    folder, rows = own
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    table = tmp_path / "link" / in_a_table(folder, rows)[0].name
    manifests = prepare_sounds(table, tmp_path / "m", tmp_path / "c", {})
    clips = [clip for split in entries(manifests).values() for clip in split.values()]
    assert {Path(clip["wav"]).parents[1] for clip in clips} == {folder.resolve()}
    found = [Path(clip["wav"]).stat() for clip in clips]
    assert [clip["size"] for clip in clips] == [one.st_size for one in found]
    stamps = json.dumps([[one.st_size, one.st_mtime_ns] for one in found]).encode()
    known = json.loads((tmp_path / "m/prepared.json").read_text())
    assert known["audio"] == hashlib.sha256(stamps).hexdigest()


def test_lengths_are_appended_and_a_cut_line_is_measured_again(own, tmp_path, monkeypatch):
    folder, rows = own
    names = [row["path"] for row in rows[:6]]
    cache = durations.DurationCache(tmp_path / "lengths.json", folder, Strings(names))
    cache.measure(range(3))
    before = cache.path.read_bytes()
    cache.measure(range(6))
    assert cache.path.read_bytes().startswith(before)
    cache.path.write_bytes(cache.path.read_bytes()[:-5])
    looked = []
    original = durations.look
    monkeypatch.setattr(durations, "look", lambda path: looked.append(path.name) or original(path))
    again = durations.DurationCache(tmp_path / "lengths.json", folder, Strings(names))
    assert math.isclose(again.measure(range(6)).seconds[5], 0.3)
    assert looked == [names[5].partition("/")[2]]
    assert len(again.path.read_text().splitlines()) == 6


def test_lengths_that_were_found_outlive_a_kill(own, tmp_path, monkeypatch):
    """Those of whole chunks; the rest is measured by the next run."""
    folder, rows = own
    names = [row["path"] for row in rows]
    monkeypatch.setattr(durations, "_CHUNK", 4)
    original = durations.look

    def measure(slowly):
        def look(path):
            looked.append(path)
            time.sleep(slowly)
            return original(path)

        looked = []
        monkeypatch.setattr(durations, "look", look)
        cache = durations.DurationCache(tmp_path / "lengths.json", folder, Strings(names))
        return cache.measure(range(len(names))), looked

    process = multiprocessing.get_context("fork").Process(target=measure, args=(0.1,))
    process.start()
    written = tmp_path / "lengths.jsonl"
    while not written.is_file() or not written.read_bytes().endswith(b"\n"):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    known = len(written.read_text().splitlines())
    found, looked = measure(0)
    assert known >= 4
    assert len(looked) == len(names) - known
    assert np.allclose(found.seconds, 0.3)


def test_inspection_finds_what_is_wrong(tmp_path):
    """Each fault planted once, and a clean corpus without any."""
    rows = write_clips(tmp_path)
    table = write_csv(tmp_path / "clips.csv", rows)
    clean = inspect_data(table, {})
    assert clean.findings == []
    assert clean.facts["clips"] == "20"
    assert clean.counts["high"] == {"train": 6, "valid": 2, "test": 2}
    assert clean.command.endswith(f"--data_folder {table} --output_root results/clips")

    write_tone(tmp_path / "copy.wav", 300, seed=1)  # low/ann_0.wav again
    sf.write(tmp_path / "silent.wav", np.zeros(4000), 16000)
    sf.write(
        tmp_path / "loud.wav", np.clip(np.random.default_rng(0).normal(0, 1, 4000), -1, 1), 16000
    )
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    more = [("copy.wav", "high", "eve"), ("silent.wav", "High", "x"), ("loud.wav", "lows", "y"), ("bad.wav", "low", "z")]  # fmt: skip
    rows += [dict(zip(("path", "label", "speaker"), cells, strict=True)) for cells in more]
    found = inspect_data(write_csv(table, rows), {})
    said = [finding.what for finding in found.findings]
    assert said == [
        "1 clip cannot be used, corrupt",
        "1 clip is silent, below -60 dB",
        "1 clip is clipped, samples cut at full scale",
        "1 recording is there under several names",
        "1 recording has more than one label",
        "No splits can be made",
        "1 class is written in several ways",
    ]
    assert found.findings[3].examples == ["low/ann_0.wav = copy.wav"]
    assert found.findings[-1].examples == ["'High' (1), 'high' (11)"]
    assert "--skip_unusable_audio true" in found.command


def test_where_no_splits_can_be_made_the_reason_is_training_s(tmp_path, capsys):
    """And nothing else is said of splits, neither as text nor on the page."""
    rows = [row for row in write_clips(tmp_path) if row["speaker"] in SPEAKERS[:2]]
    table, page = write_csv(tmp_path / "clips.csv", rows), tmp_path / "page.html"
    with pytest.raises(UserError, match="has 2 speakers or groups") as refused:
        prepare_sounds(table, tmp_path / "m", tmp_path / "c", {})
    assert cli.main(["inspect", str(table), "--output", str(page)]) == 0
    printed, written = capsys.readouterr().out, html.unescape(page.read_text())
    assert re.search(r"splits +none can be made\n", printed)
    for said in (printed, written):
        assert str(refused.value) in said
        assert not re.search(r"train 0|valid|made so that|\.\.", said.replace(str(tmp_path), ""))
    assert re.search(r"clips of each class +high 4, low 4\n", printed)
    assert ">clips</th></tr>" in written


def test_a_picture_of_clips_before_and_after(tmp_path, capsys):
    """Of those that can be read; a picture that is not asked for is no silent nothing."""
    root = tmp_path / "sounds"
    for name in ("a/1.wav", "a/2.wav", "b/1.wav"):
        write_noise(root / name, 8000, len(name))
    (root / "b/broken.wav").write_bytes(b"no audio")
    picture, noise = tmp_path / "changed.svg", ["--noise_folder", str(root / "a")]
    command = ["inspect", str(root), "--output", str(tmp_path / "page.html"), *noise]
    assert cli.main([*command, "--augmented", str(picture)]) == 0
    text = picture.read_text()
    assert text.count("<image") == 3 * 3
    assert cli.main(command) == 2
    assert "add --augmented FILE.png" in capsys.readouterr().err
