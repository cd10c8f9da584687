"""An encoder through torch.compile trains as it does without; what cannot be compiled runs, and says why."""

import logging

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from support.contract import build, moved, waveforms
from support.tiny_run import build as build_brain
from support.tiny_run import fit, train

from mambadapter.data.batching import batches_by_length
from mambadapter.methods import MENU, Bottlenecks
from mambadapter.training import compiling
from mambadapter.training.compiling import Compilation, padded_length

pytestmark = pytest.mark.exhaustive

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_graphs(monkeypatch):
    """Traced, and run as they are: what a backend makes of a graph is PyTorch's own."""
    monkeypatch.setattr(compiling, "_BACKEND", "eager")
    torch._dynamo.reset()


def test_layers_train_and_resume_to_the_same(encoder_folders, tmp_path, monkeypatch, caplog):
    folder = encoder_folders["wav2vec2"]
    caplog.set_level(logging.INFO, "mambadapter")
    options = {"number_of_epochs": 1, "method": Bottlenecks(rank=4)}
    plain, _ = train(folder, tmp_path / "plain", **options)
    options["compile"] = "layers"
    whole, weights = train(folder, tmp_path / "whole", **options)
    assert whole["test"] == pytest.approx(plain["test"], rel=1e-4)
    assert any(r.message.startswith("Compiled") for r in caplog.records)

    options["run_opts"] = {"ckpt_interval_steps": 1}
    brain, counter, _ = build_brain(folder, tmp_path / "killed", **options)
    step = brain.optimizers_step

    def killed():
        step()
        if brain.optimizer_step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(brain, "optimizers_step", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(brain, counter)
    resumed, others = train(folder, tmp_path / "killed", **options)
    assert resumed == whole
    assert all(torch.equal(others[name], tensor) for name, tensor in weights.items())
    assert not any("compile: off" in r.message for r in caplog.records)


def test_one_graph_serves_layers_and_lengths(encoder_folders):
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    moved(encoder).train()
    compilation = Compilation("layers", CPU)
    wavs, lens = waveforms()
    wanted = [encoder(wavs[:, :samples], lens)[0] for samples in (6000, 5700)]
    compilation.start(encoder)
    for samples, hidden in zip((6000, 5700), wanted, strict=True):
        got = compilation.run(encoder, encoder, wavs[:, :samples], lens)[0]
        torch.testing.assert_close(got, hidden, rtol=1e-5, atol=1e-6)
    assert compilation.way == "layers"
    assert 0 < compilation.graphs <= len(encoder.layers)


def test_what_cannot_be_compiled_runs_as_written(encoder_folders, monkeypatch, caplog):
    def broken(graph, inputs):
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(compiling, "_BACKEND", broken)
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    encoder.train()
    compilation = Compilation("layers", CPU)
    wanted = encoder(*waveforms())[0]
    compilation.start(encoder)
    caplog.set_level(logging.WARNING, "mambadapter")
    for _ in range(2):
        assert torch.equal(compilation.run(encoder, encoder, *waveforms())[0], wanted)
    (record,) = [r for r in caplog.records if "compile: off" in r.message]
    assert "no such kernel" in record.message


def test_few_lengths_and_little_padding():
    """Under 10 % whatever the lengths; and what is added changes nothing."""
    lengths = {samples: padded_length(samples) for samples in range(4000, 320_000, 97)}
    assert all(0 <= longer - samples < 0.09 * longer for samples, longer in lengths.items())
    assert len(set(lengths.values())) < 60


@pytest.mark.parametrize("seconds", [40, 200])
def test_batches_of_about_one_length_are_padded_little(seconds):
    """Sentences as in Common Voice: what batches and rungs add together, and how many shapes are left."""
    draw = np.random.default_rng(0)
    durations = draw.normal(4.8, 1.6, 4000).clip(1.2, 10.0)
    clips = DynamicItemDataset({str(n): {"duration": one} for n, one in enumerate(durations)})
    batches = batches_by_length({"train": clips}, seconds, 10.0, {})["train"]["batch_sampler"]
    shapes, padded, clips_seen = set(), 0, 0
    for batch in batches:
        clips_seen += len(batch)
        longest = padded_length(round(16000 * durations[batch].max()))
        shapes.add((len(batch), longest))
        padded += len(batch) * longest
    assert clips_seen == len(durations)
    assert padded < 1.10 * 16000 * durations.sum()
    assert len(shapes) < 64


def test_padding_to_a_length_changes_nothing(encoder_folders):
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    moved(encoder).eval()
    wavs, lens = waveforms()
    wavs = wavs[:, :5900]
    with torch.no_grad():
        wanted, frames = encoder(wavs, lens)
        padded, relative = Compilation("step", CPU).pad(wavs, lens)
        got, counted = encoder(padded, relative)
    assert padded.shape[1] > 5900
    assert torch.equal(counted, frames)
    for clip, count in enumerate(frames):
        torch.testing.assert_close(got[clip, :count], wanted[clip, :count], rtol=1e-4, atol=1e-5)


def test_auto_is_for_gpus():
    assert Compilation("auto", CPU).way == "off"
    assert Compilation("auto", torch.device("cuda")).way == "layers"
    assert Compilation(False, CPU).way == "off"  # as YAML reads off
