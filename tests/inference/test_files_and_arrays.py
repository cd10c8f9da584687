"""Many files at once, arrays, and what is written of them."""

import csv
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile as sf
import torch
from support.models import build

from mambadapter import UserError, cli, load_adapter
from mambadapter.data.audio import read_clip
from mambadapter.inference import save_package
from mambadapter.inference.formats import CAPTIONS
from mambadapter.inference.results import Segment, Transcript
from mambadapter.methods import LoRA

LABELS = ["no", "stop", "yes"]
LENGTHS = [9000, 700, 16000, 4000, 12000, 3000]


@pytest.fixture(scope="module")
def modules(encoder_folders):
    encoder, head = build(encoder_folders["hubert-stable"], LoRA(rank=2))
    return {"encoder": encoder.eval(), "head": head.eval()}


@pytest.fixture(scope="module")
def package(modules, encoder_folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    return save_package(folder, modules, encoder_folders["hubert-stable"], LoRA(rank=2), LABELS)


@pytest.fixture(scope="module")
def model(package):
    return load_adapter(package, device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0)
    (folder / "deeper").mkdir()
    for index, length in enumerate(LENGTHS):
        place = folder / "deeper" if index > 3 else folder
        sf.write(place / f"{index}.wav", noise.normal(0, 0.1, length), 16000)
    (folder / "notes.txt").write_text("no audio")
    return sorted(folder.rglob("*.wav"), key=lambda path: path.name)


def test_each_is_answered_as_alone_and_in_order(model, modules, clips):
    """Whatever the batches are."""
    results = model.predict(clips)
    assert [one.source for one in results] == [str(path) for path in clips]
    for path, one in zip(clips, results, strict=True):
        with torch.no_grad():
            wanted = modules["head"](*modules["encoder"](read_clip(path, 16000)[None])).softmax(-1)
        assert one.scores == pytest.approx(
            dict(zip(LABELS, wanted[0].tolist(), strict=True)), abs=1e-5
        )
        assert one.label == LABELS[int(wanted.argmax())]
        assert list(one.scores.values()) == sorted(one.scores.values(), reverse=True)
        assert one.to_dict()["probability"] == one.probability == max(one.scores.values())
        assert str(one).startswith(f"{path}: {one.label} 0.")


def test_the_three_lines_of_the_readme_run(package, clips, tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/run").symlink_to(package)
    (tmp_path / "a.wav").symlink_to(clips[0])
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (lines,) = re.findall(
        r"```python\n(from mambadapter import load_adapter.*?)```", readme, re.DOTALL
    )
    exec(lines, {"samples": np.zeros(9000)})
    assert capsys.readouterr().out.startswith("[Prediction(source='a.wav', label=")


def test_an_array_is_as_its_file(model, clips):
    samples, rate = sf.read(clips[0], dtype="int16")
    file = model.predict(clips[0])
    stereo = np.stack([samples, np.zeros_like(samples)], 1)
    for array in (samples, samples / 32768, torch.from_numpy(samples / 32768), stereo):
        one = model.predict((array, rate), channel=1 if array is stereo else None)
        assert one.scores == pytest.approx(file.scores, abs=1e-6)
        assert one.source == "array 0"


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(9000), r"array 0 has no sample rate: give \(array, rate\)"),
        ((np.zeros(9000),), "array 0 has no sample rate"),
        ((np.zeros(100), 16000), "array 0 is shorter than one encoder frame"),
        ((np.zeros((2, 2, 900)), 16000), r"array 0 has shape \(2, 2, 900\)"),
        ((np.array(["a"]), 16000), "array 0 has shape"),
        ((np.zeros(9000), "16k"), "array 0 has a sample rate of '16k'"),
        ((np.full(9000, np.nan), 16000), "array 0 holds samples that are not finite"),
        ((np.full(9000, 1e300), 16000), "array 0 holds samples that are not finite"),
        (([0] * 9000, 16000), "array 0 has samples of type int64; say of how many bits"),
        ((np.zeros((1, 9000)), 16000), r"array 0 is shorter.*\(1, 9000\); give \(T, C\)"),
        (None, "None is no recording"),
        ((np.zeros(61 * 8000), 8000), "array 0 is longer than the 60 s .* --window"),
        ([(np.zeros(9000), 16000), "gone.wav"], "gone.wav: there is no such file"),
    ],
)
def test_audio_that_cannot_be_is_refused(model, audio, message):
    with pytest.raises(UserError, match=message):
        model.predict(audio)


@pytest.mark.parametrize("channel", [0, -1, 1.5])
def test_channels_count_from_one(model, clips, channel):
    with pytest.raises(UserError, match=f"channel: {channel} is none; give at least 1"):
        model.predict(clips[0], channel=channel)


def test_threads_may_share_a_model(model, clips):
    """Each has the answers that it would have had alone, lists of clips of other lengths among them."""
    some = [clips, clips[::-1], clips[:2], clips[3:]] * 3
    wanted = [model.predict(one) for one in some]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(model.predict, some)) == wanted


def test_whoever_reads_the_answers_may_leave(package, clips, monkeypatch, capsys):
    """`| head` is no fault, nor is Ctrl+C."""
    words = ["predict", str(package), str(clips[0])]
    for error, status in ((BrokenPipeError, 141), (KeyboardInterrupt, 130)):
        with monkeypatch.context() as patch:
            patch.setattr(cli.predict, "answer", Mock(side_effect=error))
            patch.setattr(cli.os, "dup2", lambda new, old: None)
            patch.setattr(cli.sys, "stdout", SimpleNamespace(fileno=lambda: 1))
            assert cli.main(words) == status
    assert capsys.readouterr().err == ""


def test_one_bad_clip_of_a_batch_is_named(model, clips, monkeypatch):
    """An encoder that refuses it refuses the batch that it is in."""
    encoder = model._readers["default"].encoder
    frames = encoder.frames

    def picky(samples):
        if 700 in samples.tolist():
            raise UserError("too odd")
        return frames(samples)

    monkeypatch.setattr(encoder, "frames", picky)
    answers = list(model.answers("predict", clips))
    assert [isinstance(one, UserError) for one in answers] == [n == 700 for n in LENGTHS]
    assert str(answers[1]) == f"{clips[1]}: too odd"


def test_devices_and_precisions(package, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="--device cuda: there is none here; there is cpu"):
        load_adapter(package, device="cuda")
    with pytest.raises(UserError, match="precision='fp8' is unknown|precision"):
        load_adapter(package, "cpu", precision="fp8")
    with pytest.raises(UserError, match="precision=fp16 needs a GPU"):
        load_adapter(package, "cpu", precision="fp16")


def test_bf16_is_close(package, model, clips):
    rough = load_adapter(package, "cpu", "bf16").predict(clips[2]).scores
    exact = model.predict(clips[2]).scores
    assert rough == pytest.approx(exact, abs=0.05)
    assert rough != exact


def run(capsys, *words):
    status = cli.main(["predict", *map(str, words)])
    return status, *capsys.readouterr()


def test_folders_and_patterns(package, clips, capsys):
    folder = clips[0].parent
    for words, wanted in (
        ([folder], clips[:4]),
        ([folder, "--recursive"], clips),
        ([folder / "[12].wav"], clips[1:3]),
    ):
        status, out, _ = run(capsys, package, *words)
        assert status == 0
        assert [line.partition(":")[0] for line in out.splitlines()] == [str(one) for one in wanted]
    (folder / "empty").mkdir()
    status, out, err = run(capsys, package, folder / "empty", folder / "*.flac", clips[0])
    assert (status, len(out.splitlines())) == (1, 1)
    assert "empty: there is no audio file in it itself; --recursive" in err
    assert "*.flac: no file is like this" in err


def test_formats_say_the_same(package, model, clips, capsys):
    results = model.predict(clips[:2])
    words = [package, *clips[:2], "--format"]
    dicts = [one.to_dict() for one in results]
    assert json.loads(run(capsys, *words, "json")[1]) == dicts
    assert [json.loads(line) for line in run(capsys, *words, "jsonl")[1].splitlines()] == dicts
    for name, delimiter in (("csv", ","), ("tsv", "\t")):
        rows = csv.DictReader(io.StringIO(run(capsys, *words, name)[1]), delimiter=delimiter)
        assert [(row["file"], row["label"]) for row in rows] == [
            (r.source, r.label) for r in results
        ]
    assert json.loads(run(capsys, package, "gone.wav", "--format", "json")[1]) == []


def test_output_is_whole_or_not_there(package, clips, tmp_path, capsys, monkeypatch):
    path = tmp_path / "new/out.jsonl"
    words = [package, clips[0], "gone.wav", clips[1], "--format", "jsonl", "--output", path]
    status, out, err = run(capsys, *words)
    assert (status, out) == (1, "")
    assert "gone.wav: there is no such file" in err
    assert [json.loads(line)["file"] for line in path.read_text().splitlines()] == [
        str(one) for one in clips[:2]
    ]
    before = path.read_text()

    def fail(*args):
        raise UserError("the machine is on fire")

    monkeypatch.setattr("mambadapter.inference.formats._dicts", fail)
    assert run(capsys, *words)[0] == 2
    assert path.read_text() == before
    assert [one.name for one in path.parent.iterdir()] == ["out.jsonl"]


def test_captions():
    """As the two formats are written: SubRip has numbers and a comma, WebVTT a head and a point."""
    segments = (Segment(0.5, 59.9996, "yella"), Segment(3661.25, 3662.0, "sin"))
    answers = [{"": Transcript("a.wav", "yella sin", segments)}]
    assert "".join(CAPTIONS["srt"](answers)) == (
        "1\n00:00:00,500 --> 00:01:00,000\nyella\n\n2\n01:01:01,250 --> 01:01:02,000\nsin\n\n"
    )
    assert "".join(CAPTIONS["vtt"](answers)).startswith(
        "WEBVTT\n\n1\n00:00:00.500 --> 00:01:00.000\nyella\n\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a package"),
        (["P"], "Give audio files"),
        (["--adapter", "a=P", "a=P", "x.wav"], "'a=P' should be NAME=PACKAGE, each name once"),
        (["--adapter", "=P", "x.wav"], "'=P' should be NAME=PACKAGE"),
        (
            ["P", "x.wav", "y.wav", "--window", "1", "--picture", "p.png"],
            "--picture is of one recording",
        ),
        (
            ["P", "x.wav", "y.wav", "--window", "1", "--format", "audacity"],
            "--format audacity is of one",
        ),
        (["P", "x.wav", "--output", "/"], "--output: / is a folder"),
    ],
)
def test_command_lines_that_lack_something(words, message, capsys):
    status, _, err = run(capsys, *words)
    assert status == 2
    assert message in err
