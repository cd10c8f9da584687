"""A package that was cut, edited or taken apart is refused in one line; so is an encoder that has moved."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import cases, damaged
from support.models import build

from mambadapter import cli
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference import load_adapter, save_package
from mambadapter.inference.calibration import Calibration
from mambadapter.inference.package import TRANSCRIPTION
from mambadapter.methods import MambAdapters

METHOD = MambAdapters(rank=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, encoder_folders):
    return Path(
        shutil.copytree(encoder_folders["wav2vec2"], tmp_path_factory.mktemp("encoder") / "here")
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("package") / "adapter"
    adapted, head = build(str(encoder), METHOD)
    return save_package(
        folder, {"encoder": adapted, "head": head}, str(encoder), METHOD, list("abc")
    )


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("recogniser") / "adapter"
    adapted, _ = build(str(encoder), METHOD)
    modules = {"encoder": adapted, "head": CTCHead(adapted.width, 4, lstm=3)}
    labels = ["<blank>", "<unk>", "a", "b"]
    return save_package(folder, modules, str(encoder), METHOD, labels, TRANSCRIPTION)


@pytest.fixture
def copy(package, tmp_path):
    return Path(shutil.copytree(package, tmp_path / "adapter"))


def edit(folder, **changes):
    path = folder / "adapter.json"
    card = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            card.pop(key)
        else:
            card[key] = value
    path.write_text(json.dumps(card))


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def changed(**changes):
    return lambda folder: edit(folder, **changes)


def calibrated(**changes):
    kept = Calibration(2.0, 40, 0.5, 0.04, 25, 0.2, 15).to_dict() | changes
    return changed(calibration={key: value for key, value in kept.items() if value is not ...})


def method(**changes):
    def change(folder):
        card = json.loads((folder / "adapter.json").read_text())
        edit(folder, method={**card["method"], **changes})

    return change


AGAIN = "copy the whole `adapter` folder again"
DAMAGES = {
    "weights cut": (cut("adapter.safetensors"), r"adapter\.safetensors cannot be read .* Copy it again"),
    "weights absent": (
        lambda folder: (folder / "adapter.safetensors").unlink(),
        r"adapter\.safetensors cannot be read .* Copy it again",
    ),
    "weights pickled": (
        text("adapter.safetensors", pickle.dumps({"a": [1]})),
        r"adapter\.safetensors cannot be read .* Copy it again",
    ),
    "weights empty": (text("adapter.safetensors", b""), r"adapter\.safetensors cannot be read"),
    "card cut": (cut("adapter.json"), rf"adapter\.json is no whole JSON file .*; {AGAIN}"),
    "card empty": (text("adapter.json", b""), rf"adapter\.json is no whole JSON file .*; {AGAIN}"),
    "card of nothing": (text("adapter.json", b"{}"), rf"adapter\.json is of no known task; {AGAIN}"),
    "card a list": (text("adapter.json", b"[]"), rf"adapter\.json holds no dict; {AGAIN}"),
    "card deep": (text("adapter.json", b"[" * 100_000), "adapter.json is no whole JSON file"),
    "card binary": (text("adapter.json", b"\xff\xfe"), "adapter.json is no whole JSON file"),
    "no encoder": (changed(encoder=None), f"has no encoder.*; {AGAIN}"),
    "no fingerprint": (changed(encoder_fingerprint=None), f"has no encoder_fingerprint.*; {AGAIN}"),
    "no labels": (changed(labels=None), f"has no labels.*; {AGAIN}"),
    "one label": (changed(labels=["a"]), f"has no labels.*; {AGAIN}"),
    "labels a text": (changed(labels="abc"), f"has no labels.*; {AGAIN}"),
    "method a text": (changed(method="mamba"), f"has no method.*; {AGAIN}"),
    "unknown method": (method(name="Mamba"), f"the method cannot be .*unknown.*; {AGAIN}"),
    "method a list": (method(name=["Mamba"]), f"the method cannot be .*; {AGAIN}"),
    "unknown setting": (method(ranks=3), f"the method cannot be .*ranks.*; {AGAIN}"),
    "impossible setting": (method(rank=-3), f"the method cannot be .*rank=-3.*; {AGAIN}"),
    "task a list": (changed(task=["predict"]), f"is of no known task; {AGAIN}"),
    "unknown task": (changed(task="sing"), f"is of no known task; {AGAIN}"),
    "huge rank": (method(rank=10_000_000), rf"is of [\d,]+ parameters on .* holds [\d,]+; {AGAIN}"),
    "huger rank": (method(rank=10**30), f"adapter.json cannot be .*; {AGAIN}"),
    "huge state": (method(d_state=10**8), rf"is of [\d,]+ parameters on .* holds [\d,]+; {AGAIN}"),
    "another rank": (method(rank=1), "was saved from another model: .*of another shape"),
    "more labels": (
        changed(labels=[str(n) for n in range(100_000)]),
        rf"is of [\d,]+ parameters, .* holds [\d,]+; {AGAIN}",
    ),
    "other labels": (changed(labels=list("abcd")), "was saved from another model"),
    "other fingerprint": (changed(encoder_fingerprint="0"), "its frozen weights differ.*--encoder FOLDER"),
    "gone encoder": (changed(encoder="/gone/encoder"), "was in /gone/encoder, .*: --encoder FOLDER"),
    "hub encoder": (changed(encoder="no/such-encoder"), "Cannot load the encoder|neither a known"),
    "settings": (changed(encoder_settings={"max_length": 3}), "have no such setting"),
    "channel": (changed(audio_channel=0), f"has no audio_channel.*; {AGAIN}"),
    "format a text": (changed(version="1"), f"has no version.*; {AGAIN}"),
    "newer format": (changed(version=3), "is of format 3, and .* reads up to 2; take a newer one"),
    "calibration a number": (changed(calibration=2.0), f"has no calibration.*; {AGAIN}"),
    "cold": (calibrated(temperature=0), f"has no calibration.*; {AGAIN}"),
    "not a temperature": (calibrated(temperature=float("nan")), f"has no calibration.*; {AGAIN}"),
    "huge temperature": (calibrated(temperature=10**400), f"has no calibration.*; {AGAIN}"),
    "true for a threshold": (calibrated(threshold=True), f"has no calibration.*; {AGAIN}"),
    "high threshold": (calibrated(threshold=1.01), f"has no calibration.*; {AGAIN}"),
    "half a clip": (calibrated(clips=0.5), f"has no calibration.*; {AGAIN}"),
    "unknown rate": (calibrated(false_alarm=0.5), f"has no calibration.*; {AGAIN}"),
    "missing rate": (calibrated(false_reject=...), f"has no calibration.*; {AGAIN}"),
    "of whom": (calibrated(false_accept_of=["wrong"]), f"has no calibration.*; {AGAIN}"),
    "settings a list": (changed(encoder_settings=[1]), f"has no encoder_settings.*; {AGAIN}"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_packages_are_refused(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        load_adapter(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lstm", [10**9, 10**30, -1, "x"])
def test_impossible_heads_are_refused(recogniser, tmp_path, lstm):
    copy = Path(shutil.copytree(recogniser, tmp_path / "adapter"))
    load_adapter(copy)
    edit(copy, lstm=lstm)
    with pytest.raises(UserError, match=AGAIN):
        load_adapter(copy)


def test_values_that_are_not_finite_are_refused(copy):
    from safetensors.torch import load_file, save_file

    path = copy / "adapter.safetensors"
    tensors = load_file(path)
    first = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[first] = torch.full_like(tensors[first], torch.nan)
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"adapter\.safetensors holds values that are not finite"):
        load_adapter(copy)


@pytest.fixture
def clips(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    for name in ("a.wav", "b.wav", "cut.wav"):
        sf.write(tmp_path / name, noise, 16000)
    sf.write(tmp_path / "antiphase.wav", np.stack([noise, -noise], 1), 16000)
    whole = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:20_000])
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    return tmp_path


@pytest.mark.parametrize("command", ["predict", "transcribe"])
def test_good_files_are_answered_and_bad_named(package, recogniser, clips, capsys, command):
    """Whatever stands between them; and the exit status says that some failed."""
    folder = package if command == "predict" else recogniser
    names = ["a.wav", "missing.wav", "bad.wav", "cut.wav", "b.wav"]
    files = [str(clips / name) for name in names]
    assert cli.main([command, str(folder), *files]) == 1
    out, err = capsys.readouterr()
    assert [line.partition(": ")[0] for line in out.splitlines()] == [files[0], files[4]]
    named = err.splitlines()
    assert len(named) == 3
    assert all(
        line.startswith(f"error: {file}: ") for line, file in zip(named, files[1:4], strict=True)
    )
    assert cli.main([command, str(folder), files[0], "--encoder", "~nobody/x"]) == 2
    assert cli.main([command, str(folder), files[3], "--read_cut"]) == 0
    assert cli.main([command, str(folder), str(clips / ("x" * 300)), files[0]]) == 1


def test_an_encoder_that_moved_is_asked_for(copy, clips, encoder, capsys):
    edit(copy, encoder="/gone/encoder")
    command = ["predict", str(copy), str(clips / "a.wav")]
    assert cli.main(command) == 2
    assert "--encoder FOLDER" in capsys.readouterr().err
    assert cli.main([*command, "--encoder", str(encoder)]) == 0


@pytest.mark.parametrize("option", [("--top", "-1"), ("--top", "0"), ("--channel", "0")])
def test_impossible_numbers_are_refused(package, clips, capsys, option):
    assert cli.main(["predict", str(package), str(clips / "a.wav"), *option]) == 2
    assert f"error: {option[0]}: give at least 1" in capsys.readouterr().err


def test_a_tilde_is_the_home_folder(package, clips, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(clips))
    shutil.copytree(package, clips / "there")
    assert cli.main(["predict", "~/there", "~/a.wav", "--top", "99"]) == 0
    assert capsys.readouterr().out.startswith(f"{clips / 'a.wav'}: ")


def test_channels_that_cancel_are_said(package, clips, capsys, caplog):
    command = ["predict", str(package), str(clips / "antiphase.wav")]
    assert cli.main(command) == 0
    assert "--channel 1" in caplog.text
    caplog.clear()
    assert cli.main([*command, "--channel", "2"]) == 0
    assert caplog.text == ""
    assert cli.main([*command, "--channel", "3"]) == 1
    assert "has no channel 3: it has 2" in capsys.readouterr().err


def test_the_channel_of_the_training_is_taken(copy, clips, capsys, caplog):
    """Averaged, what it was trained on might be silence."""
    edit(copy, audio_channel=2)
    command = ["predict", str(copy), str(clips / "antiphase.wav")]
    assert cli.main(command) == cli.main([*command, "--channel", "2"]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other
    assert caplog.text == ""


@pytest.fixture(scope="module")
def scratch(package, tmp_path_factory):
    return Path(shutil.copytree(package, tmp_path_factory.mktemp("fuzz") / "adapter"))


@cases(150)
@given(st.data(), st.sampled_from(["adapter.json", "adapter.safetensors"]))
def test_any_package_is_loaded_or_refused(package, scratch, data, name):
    for file in package.iterdir():
        (scratch / file.name).write_bytes(file.read_bytes())
    (scratch / name).write_bytes(data.draw(damaged([(package / name).read_bytes()])))
    try:
        load_adapter(scratch)
    except UserError as error:
        assert str(error)
