"""Clips of none of the classes: what a package says of them, in every format, and in timelines."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from support.models import build

from mambadapter import cli, load_adapter
from mambadapter.errors import UserError
from mambadapter.inference import save_package
from mambadapter.inference.calibration import Calibration
from mambadapter.inference.model_card import model_card
from mambadapter.methods import LoRA
from mambadapter.training.calibration import calibrate

LABELS = ["a", "unknown", "(none of these)"]  # a class may have any name
KEPT = Calibration(2.5, 40, 0.9, 0.04, 25, 0.2, 15)
METHOD = LoRA(rank=2)


@pytest.fixture(scope="module")
def modules(encoder_folders):
    torch.manual_seed(0)
    encoder, head = build(encoder_folders["wav2vec2"], METHOD)
    with torch.no_grad():
        head.linear.weight.mul_(40)  # so that clips differ in how sure it is
    return {"encoder": encoder.eval(), "head": head.eval()}


@pytest.fixture(scope="module")
def package(tmp_path_factory, encoder_folders, modules):
    folder = tmp_path_factory.mktemp("package") / "adapter"
    source = encoder_folders["wav2vec2"]
    return save_package(folder, modules, source, METHOD, LABELS, calibration=KEPT)


@pytest.fixture(scope="module")
def old(package, tmp_path_factory):
    """As packages were before."""
    folder = Path(shutil.copytree(package, tmp_path_factory.mktemp("old") / "adapter"))
    card = json.loads((folder / "adapter.json").read_text())
    assert card.pop("version") == 1
    assert card.pop("calibration") == KEPT.to_dict()
    (folder / "adapter.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for number in range(12):
        time = np.arange(6400) / 16000
        tone = 0.1 * number * np.sin(2 * np.pi * 200 * number * time)
        noise = np.random.default_rng(number).normal(0, 0.05, 6400)
        paths.append(str(folder / f"{number:02}.wav"))
        sf.write(paths[-1], np.clip(tone + noise, -1, 1), 16000)
    return paths


def test_probabilities_are_calibrated(package, old, clips):
    for calibrated, plain in zip(
        load_adapter(package).predict(clips), load_adapter(old).predict(clips), strict=True
    ):
        logits = np.log([plain.scores[label] for label in LABELS])  # up to a constant
        wanted = torch.from_numpy(logits / KEPT.temperature).softmax(-1).tolist()
        assert [calibrated.scores[label] for label in LABELS] == pytest.approx(wanted, rel=1e-6)
        assert calibrated.label == plain.label
        assert calibrated.below_threshold is (calibrated.probability < KEPT.threshold)
        assert plain.below_threshold is None


def test_below_the_threshold_there_is_no_label(package, clips):
    """And of a class that is called so there is one."""
    model = load_adapter(package)
    sure, asked = model.predict(clips), model.predict(clips, unknown=True)
    assert {one.label is None for one in asked} == {True, False}
    for one, other in zip(sure, asked, strict=True):
        assert other.label == (None if one.probability < KEPT.threshold else one.label)
        assert other.scores == one.scores
        assert str(other).startswith(f"{one.source}: (none of these), at most ") == (
            other.label is None
        )
    none = [
        sum(o.label is None for o in model.predict(clips, threshold=t)) for t in (0, 0.7, 0.99, 1)
    ]
    assert none == sorted(none)
    assert (none[0], none[-1]) == (0, 12)
    with pytest.raises(
        UserError, match=r"threshold=1\.5 is impossible: give a probability, 0 to 1"
    ):
        model.predict(clips[0], threshold=1.5)


def test_on_the_command_line(package, clips, capsys):
    wanted = [one.label for one in load_adapter(package).predict(clips, unknown=True)]

    def said(*words):
        assert cli.main(["predict", str(package), *clips, *words]) == 0
        return capsys.readouterr().out

    found = json.loads(said("--unknown", "--format", "json"))
    assert [one["label"] for one in found] == wanted
    assert [one["below_threshold"] for one in found] == [label is None for label in wanted]
    rows = [line.split(",")[1] for line in said("--unknown", "--format", "csv").splitlines()[1:]]
    assert rows == [label or "" for label in wanted]
    assert said("--threshold", "1").count(": (none of these), at most ") == 12
    assert "at most" not in said()
    assert cli.main(["predict", str(package), clips[0], "--threshold", "nan"]) == 2
    assert "error: threshold=nan is impossible" in capsys.readouterr().err


def test_packages_of_before_say_what_they_lack(old, clips, capsys):
    assert cli.main(["predict", str(old), clips[0], "--unknown"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no threshold" in line
    assert "--threshold 0.5" in line
    assert cli.main(["predict", str(old), clips[0], "--threshold", "1"]) == 0
    assert "(none of these)" in capsys.readouterr().out


def test_each_adapter_has_its_own_threshold(package, old, clips):
    model = load_adapter(package)
    model.add_adapter("old", old)
    both = model.predict(clips[:2], adapter=["default", "old"], threshold=1)
    assert all(one.label is None for answer in both for one in answer.values())
    with pytest.raises(UserError, match="has no threshold"):
        model.predict(clips[0], adapter=["default", "old"], unknown=True)


def test_timelines_have_gaps(package, clips, tmp_path, capsys):
    """Where the mean over the windows is below; the rest of it stays as it is."""
    model = load_adapter(package)
    samples = np.concatenate([sf.read(path)[0] for path in clips])
    threshold = 0.96
    gappy = model.timeline((samples, 16000), window=0.4, hop=0.4, threshold=threshold).segments
    rows = [model.predict((samples[at : at + 6400], 16000)) for at in range(0, len(samples), 6400)]
    cells = [one.label if one.probability >= threshold else None for one in rows]
    got = [
        next((s.text for s in gappy if s.start <= 0.4 * cell + 0.2 < s.end), None)
        for cell in range(len(cells))
    ]
    assert got == cells
    assert 0 < sum(one is None for one in cells) < len(cells)

    sf.write(tmp_path / "a.wav", np.clip(samples, -1, 1), 16000)
    words = [
        "predict",
        str(package),
        str(tmp_path / "a.wav"),
        "--window",
        "0.4",
        "--threshold",
        "1",
    ]
    assert cli.main([*words, "--picture", str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out.endswith("a.wav: (none of these)\n")
    assert (tmp_path / "a.png").is_file()


def test_the_model_card_says_them(package):
    logits = np.random.default_rng(0).normal(0, 2, (60, 3))
    kept, told = calibrate(logits, np.arange(60) % 3)
    card = json.loads((package / "adapter.json").read_text()) | {"calibration": kept.to_dict()}
    result = {
        "parameters": dict.fromkeys(("trained", "adapter", "encoder", "layer_norm", "head"), 1),
        "corpus": "x", "metrics": {}, "lr": 1, "seed": 1, "best_epoch": 1, "calibration": told,
    }  # fmt: skip
    text = model_card(card, result)
    assert f"| temperature | {kept.temperature:.3g}, of 60 validation clips |" in text
    assert f"a highest probability below {kept.threshold:.3f} |" in text
    assert "| false reject | " in text
    assert "validation clips that are classified wrong |" in text
    assert "temperature" not in model_card(card, {**result, "calibration": None})
