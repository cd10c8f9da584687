"""onnxruntime runs what is exported to it: of any length, and padded."""

import json

import pytest
import torch
from support.packages import VOCABULARY, batch, package_of

from mambadapter import cli
from mambadapter.demo import write_encoder
from mambadapter.export import graph
from mambadapter.methods import LinearProbe, MambAdapters

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

METHOD = MambAdapters(rank=4, d_state=4, lookahead=2, bidirectional=True)


def test_onnxruntime_computes_the_same(tmp_path, capsys):
    """With a scan in both directions and taps that look ahead, behind a front end with GroupNorm."""
    source = str(write_encoder(tmp_path / "encoder", width=16, layers=1))
    model = package_of(tmp_path / "package", source, METHOD, "ctc")
    assert (
        cli.main(["export", str(tmp_path / "package"), "--to", "onnx", str(tmp_path / "to")]) == 0
    )
    assert "InferenceSession" in capsys.readouterr().out
    about = json.loads((tmp_path / "to/about.json").read_text())
    assert about["labels"] == list(VOCABULARY.tokens)
    session = onnxruntime.InferenceSession(str(tmp_path / "to/model.onnx"))
    for lengths in ((3000,), (11000, 4000), (6000, 6000, 5999), (2000, 9000)):
        clips = [0.1 * torch.randn(length) for length in lengths]
        wavs, lens = batch(clips)
        with torch.no_grad():
            hidden, frames = model["encoder"](wavs, lens)
            wanted = model["head"](hidden, frames)
        inputs = {"waveforms": wavs.numpy(), "samples": torch.tensor(lengths).numpy()}
        scores, counted = session.run(None, inputs)
        assert counted.tolist() == frames.tolist()
        for clip, count in enumerate(frames.tolist()):
            found = torch.from_numpy(scores[clip, :count])
            assert torch.allclose(found, wanted[clip, :count], atol=1e-3)


def test_a_whisper_that_writes_is_refused(encoder_folders, tmp_path, capsys):
    package_of(tmp_path / "package", encoder_folders["whisper"], LinearProbe(), "fr")
    assert (
        cli.main(["export", str(tmp_path / "package"), "--to", "onnx", str(tmp_path / "to")]) == 2
    )
    assert "more than one graph" in capsys.readouterr().err


def test_what_the_exporter_does_not_take_is_one_line(
    encoder_folders, tmp_path, capsys, monkeypatch
):
    def fail(*arguments, **options):
        raise NotImplementedError("an operator\nand much more")

    monkeypatch.setattr(graph.torch.export, "export", fail)
    package_of(tmp_path / "package", encoder_folders["hubert"], METHOD, "ctc")
    assert (
        cli.main(["export", str(tmp_path / "package"), "--to", "onnx", str(tmp_path / "to")]) == 2
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.endswith(
        "graph of MambAdapters on hubert with CTCHead (NotImplementedError: an operator)."
    )
    assert not (tmp_path / "to").exists()


def test_a_graph_that_computes_something_else_is_not_kept(encoder_folders, tmp_path, monkeypatch):
    """Here one that emits zeros."""
    seen = []

    class Session:
        def __init__(self, path):
            pass

        def run(self, names, inputs):
            seen.append(inputs)
            frames = torch.full((len(inputs["samples"]),), 1)
            return torch.zeros(len(frames), 3).numpy(), frames.numpy()

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(graph.torch.export, "export", lambda *a, **k: None)
    monkeypatch.setattr(graph.torch.onnx, "export", lambda *a, **k: Graph())
    package_of(tmp_path / "package", encoder_folders["hubert"], LinearProbe(), "classifier")
    assert (
        cli.main(["export", str(tmp_path / "package"), "--to", "onnx", str(tmp_path / "to")]) == 2
    )
    assert seen
    assert not (tmp_path / "to").exists()


class Graph:
    def save(self, path):
        path.write_bytes(b"")
