"""The Speech Commands recipe: its preparation, and the whole run as a user starts it."""

import functools
import json
import shutil
from pathlib import Path

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader
from support.recipe_run import read
from support.recipe_run import run as run_recipe
from support.warm import TWO_PROCESSES

from mambadapter.data.corpora import preparation
from mambadapter.data.corpora import speech_commands as gsc
from mambadapter.data.manifests import classification_datasets
from mambadapter.errors import UserError

run = functools.partial(run_recipe, "GoogleSpeechCommands")


@pytest.fixture
def copy(corpus, tmp_path):
    return Path(shutil.copytree(corpus, tmp_path / "speech_commands"))


def test_official_lists_decide_and_noise_stays_out(corpus, tmp_path, caplog):
    manifests = gsc.prepare_gsc(corpus, tmp_path)
    for split, name in gsc.LISTS.items():
        listed = {line.removesuffix(".wav") for line in (corpus / name).read_text().split()}
        assert set(read(manifests, split)) == listed
    names = [name for split in manifests for name in read(manifests, split)]
    assert len(names) == len(set(names)) == len(list(corpus.glob("[!_]*/*.wav")))
    entry = read(manifests, "test")["yes/00000004_nohash_0"]
    assert entry["label"] == "yes"
    assert entry["duration"] == 1.0
    assert "8 of the 35 words are in" in caplog.text


def test_a_second_run_reads_what_the_first_wrote(copy, tmp_path, monkeypatch):
    first = gsc.prepare_gsc(copy, tmp_path / "m")
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "inspect_clips", lambda *a: pytest.fail("prepared twice"))
        assert gsc.prepare_gsc(copy, tmp_path / "m") == first
    moved = copy.rename(tmp_path / "moved")
    entries = read(gsc.prepare_gsc(moved, tmp_path / "m"), "train")
    assert all(entry["wav"].startswith(str(moved)) for entry in entries.values())
    (moved / "yes/00000000_nohash_0.wav").unlink()
    with pytest.raises(UserError, match="another list of files; train: 1 clips fewer"):
        gsc.prepare_gsc(moved, tmp_path / "m")


def test_a_word_may_be_absent_whole(copy, tmp_path):
    shutil.rmtree(copy / "yes")
    assert not any(
        n.startswith("yes/") for n in read(gsc.prepare_gsc(copy, tmp_path / "m"), "test")
    )


def test_folders_that_are_no_words_are_left_out(copy, tmp_path, caplog):
    shutil.copytree(copy / "yes", copy / "hullo")
    manifests = gsc.prepare_gsc(copy, tmp_path / "m")
    assert "no words of Speech Commands V2: hullo" in caplog.text
    assert not any(n.startswith("hullo/") for n in read(manifests, "train"))


def break_missing_list(corpus):
    (corpus / "testing_list.txt").unlink()


def break_listed_file(corpus):
    (corpus / "yes/00000004_nohash_0.wav").unlink()


def break_both_lists(corpus):
    shutil.copy(corpus / "testing_list.txt", corpus / "validation_list.txt")


def break_split(corpus):
    (corpus / "validation_list.txt").write_text("")


def break_audio(corpus):
    (corpus / "yes/00000000_nohash_0.wav").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_missing_list, r"testing_list\.txt is missing; it comes with the corpus"),
        (
            break_listed_file,
            r"testing_list\.txt names 1 files that are not there, such as yes/00000004",
        ),
        (break_both_lists, r"16 files are in two splits, such as .* \(valid and test\)"),
        (break_split, "valid split is empty"),
        (break_audio, r"1 of \d+ audio files are unusable:\n.*yes/00000000_nohash_0.wav: empty"),
    ],
)
def test_a_damaged_corpus_is_refused(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message):
        gsc.prepare_gsc(copy, tmp_path / "m")


def test_wrong_folders_name_the_right_one(copy, tmp_path):
    with pytest.raises(UserError, match="There is no folder .*nowhere"):
        gsc.prepare_gsc(tmp_path / "nowhere", tmp_path / "m")
    with pytest.raises(UserError, match="is not Speech Commands.*Did you mean .*speech_commands"):
        gsc.prepare_gsc(copy.parent, tmp_path / "m")


@pytest.fixture
def settings(corpus, encoder_folders, tmp_path):
    return [
        "--data_folder", corpus, "--encoder", encoder_folders["wavlm"], "--output_root", tmp_path,
        "--number_of_epochs", 1, "--batch_size", 16, "--num_workers", 0,
    ]  # fmt: skip


def test_the_recipe_from_end_to_end(settings, corpus, tmp_path):
    done = run(*settings, "--adapter.rank", 4)
    assert done.returncode == 0, done.stderr
    assert "Proof of life" in done.stdout
    (folder,) = tmp_path.glob("wavlm-mambadapter-seed1986-*")
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"]["test"]["clips"] == 16
    assert result["metrics"]["valid"].keys() == result["metrics"]["test"].keys()
    assert result["parameters"]["trained"] == sum(
        result["parameters"][part] for part in ("encoder", "layer_norm", "adapter", "head")
    )
    assert result["seed"] == 1986
    assert result["config"]["method"]["!new:mambadapter.methods.MambAdapters"]["rank"] == 4
    assert result["versions"]["torch"]
    assert result["peak_memory_mib"]["resident"] > 100
    assert "hours of training are left" in done.stdout
    assert result["pace"]["clips_per_s"] > 0
    assert result["pace"]["estimated_hours"] < 1
    assert sum(result["pace"]["shares"].values()) == pytest.approx(1, abs=0.01)
    assert result["frozen_features"]["computed"] + result["frozen_features"]["read"] > 0

    again = run(*settings, "--adapter.rank", 4)  # finished: tests again, trains nothing
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "result.json").read_text())["metrics"] == result["metrics"]

    from mambadapter import load_adapter

    scores = load_adapter(folder).predict(next(corpus.glob("yes/*.wav"))).scores
    assert sum(scores.values()) == pytest.approx(1.0)
    assert set(scores) <= set(gsc.WORDS)


def test_user_errors_are_one_line_without_a_traceback(settings):
    done = run(*settings, "--adapter", "mambadaptor")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: adapter: 'mambadaptor' is not on the menu"
    )
    assert "Traceback" not in done.stderr


def test_an_error_of_a_worker_is_one_line(settings):
    """A process that loads data hands its error over as text, traceback and all."""
    done = run(*settings, "--audio_channel", 2, "--num_workers", 1)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith(".wav has no channel 2: it has 1.")
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive
def test_workers_that_are_spawned_read_the_audio(corpus, tmp_path):
    """As on macOS and Windows, where processes that load data share nothing with the one that trains."""
    datasets, _ = classification_datasets(gsc.prepare_gsc(corpus, tmp_path), 16000)
    here, there = (
        list(SaveableDataLoader(datasets["test"], collate_fn=PaddedBatch, batch_size=5, **options))
        for options in ({}, {"num_workers": 1, "multiprocessing_context": "spawn"})
    )
    assert len(here) == 4
    for one, other in zip(here, there, strict=True):
        assert one.id == other.id
        assert torch.equal(one.label_index, other.label_index)
        assert all(map(torch.equal, one.signal, other.signal))


@pytest.mark.exhaustive
def test_two_processes_run_the_recipe(settings, tmp_path):
    options = ["--device", "cpu", "--distributed_backend", "gloo", "--adapter.rank", 4]
    done = run(*settings, *options, launch=(*TWO_PROCESSES, "train.py"))
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = tmp_path.glob("wavlm-mambadapter-seed1986-*")
    result = json.loads((folder / "result.json").read_text())
    assert result["machine"]["processes"] == 2
    assert result["metrics"]["test"]["clips"] == 16
