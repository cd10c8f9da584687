"""An encoder through torch.compile trains as it does without; what cannot be compiled runs, and says why."""

import copy
import functools
import logging
import os

import numpy as np
import pytest
import torch
from functorch.compile import make_boxed_compiler, nop
from speechbrain.dataio.dataset import DynamicItemDataset
from support.contract import build, moved, waveforms
from support.tiny_run import build as build_brain
from support.tiny_run import dataset, fit_and_be_killed, train
from torch._dynamo.backends.common import aot_autograd

from mambadapter.data.batching import batches_by_length
from mambadapter.encoders.trained import trained_tensors
from mambadapter.methods import MENU, Bottlenecks, LoRA
from mambadapter.training import compiling
from mambadapter.training.compiling import Compilation, CompileClock, padded_length

pytestmark = pytest.mark.exhaustive

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_graphs(monkeypatch):
    """Traced, and run as they are: what a backend makes of a graph is PyTorch's own."""
    monkeypatch.setattr(compiling, "_BACKEND", "eager")
    torch._dynamo.reset()


def test_layers_train_and_resume_to_the_same(encoder_folders, tmp_path, caplog):
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
    fit_and_be_killed(brain, counter, 4)
    resumed, others = train(folder, tmp_path / "killed", **options)
    assert resumed == whole
    assert all(torch.equal(others[name], tensor) for name, tensor in weights.items())
    assert not any("compile: off" in r.message for r in caplog.records)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        *(("layers", one) for one in ("mambadapter", "conformer", "prefix_tuning", "linear_probe")),
        *(("step", one) for one in ("mambadapter", "lora", "weighted_sum")),
    ],
)
def test_a_run_stays_compiled(encoder_folders, tmp_path, caplog, way, name):
    """A first batch of whole clips, then padded ones; one of the batches is looked at closely."""
    caplog.set_level(logging.INFO, "mambadapter")
    found = {}
    for one in ("off", way):
        options = {"number_of_epochs": 2, "method": MENU[name], "compile": one}
        brain, counter, modules = build_brain(
            encoder_folders["wav2vec2"], tmp_path / one, **options
        )
        brain.opt_class = functools.partial(torch.optim.SGD, lr=0.01)
        train_set = dataset(13, 0)
        # By length, which the last digit says.
        train_set.data_ids = "0 10 1 2 11 12".split()
        brain.fit(counter, train_set, dataset(3, 1000),
                  train_loader_kwargs={"batch_size": 2}, valid_loader_kwargs={"batch_size": 3})  # fmt: skip
        weights = {name: t.detach().clone() for name, t in trained_tensors(modules).items()}
        found[one] = weights, brain.history.epochs[-1]["valid"]["loss"]
        assert brain._compilation.way == one
        assert brain.pace.summary["shares"]["encoder"] > 0
    assert not any("compile: off" in r.message for r in caplog.records)
    assert found[way][1] == pytest.approx(found["off"][1], rel=1e-4)
    for name, tensor in found["off"][0].items():
        torch.testing.assert_close(found[way][0][name], tensor, rtol=1e-3, atol=1e-4)


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
    assert 0 < compilation.clock.graphs <= len(encoder.layers)


@pytest.mark.skipif(
    os.environ.get("GRAPHS") != "all",
    reason="it compiles C++ for minutes: GRAPHS=all",
)
@pytest.mark.parametrize("name", ["mambadapter", "conformer", "lora"])
def test_pytorchs_own_backend_computes_the_same(encoder_folders, monkeypatch, name):
    monkeypatch.setattr(compiling, "_BACKEND", "inductor")
    encoder, _ = build(encoder_folders["wav2vec2"], MENU[name])
    moved(encoder).train()
    compiled = copy.deepcopy(encoder)
    compilation = Compilation("layers", CPU)
    compilation.start(compiled)
    (wavs, lens), readout = waveforms(), torch.randn(encoder.width)
    valid = encoder.frames((lens * wavs.shape[1]).long())
    for lengths in (None, lens):
        encoder.zero_grad()
        compiled.zero_grad()
        torch.manual_seed(3)
        hidden, _ = encoder(wavs, lengths)
        torch.manual_seed(3)
        got, _ = compilation.run(compiled, compiled, wavs, lengths)
        for clip, frames in enumerate(valid):
            torch.testing.assert_close(
                got[clip, :frames], hidden[clip, :frames], rtol=1e-4, atol=1e-5
            )
        for one in (hidden, got):
            sum(
                (one[clip, :frames] @ readout).sum() for clip, frames in enumerate(valid)
            ).backward()
        for (parameter_name, one), other in zip(
            encoder.named_parameters(), compiled.parameters(), strict=True
        ):
            if one.grad is not None:
                torch.testing.assert_close(
                    other.grad, one.grad, rtol=1e-3, atol=1e-4, msg=parameter_name
                )
    assert compilation.way == "layers"


def no_kernel(graph, inputs):
    raise NotImplementedError("no such kernel")


BACKWARD_ALONE = aot_autograd(fw_compiler=make_boxed_compiler(nop), bw_compiler=no_kernel)


@pytest.mark.parametrize("backend", [no_kernel, BACKWARD_ALONE], ids=["forward", "backward"])
def test_what_cannot_be_compiled_runs_as_written(encoder_folders, monkeypatch, caplog, backend):
    monkeypatch.setattr(compiling, "_BACKEND", backend)
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    encoder.train()
    compilation = Compilation("layers", CPU)
    wanted = encoder(*waveforms())[0]
    compilation.start(encoder)
    caplog.set_level(logging.WARNING, "mambadapter")
    for _ in range(2):
        hidden = compilation.run(encoder, encoder, *waveforms())[0]
        hidden.sum().backward()
        assert torch.equal(hidden, wanted)
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


def test_lengths_stay_within_what_an_encoder_reads(encoder_folders):
    encoder, _ = build(encoder_folders["whisper"], MENU["mambadapter"])
    encoder.frontend.max_frames = 95  # of a model that reads 1.9 s
    seen = []
    forward = lambda *batch: seen.append(batch) or encoder(*batch)  # noqa: E731
    wavs = torch.zeros(1, 30_000)
    _, frames = Compilation("step", CPU).run(forward, encoder, wavs, None)
    ((padded, _),) = seen
    assert padded.shape[1] == 30_400 < padded_length(30_000)
    assert frames == encoder(wavs)[1]


def test_what_is_kept_is_not_compiled(encoder_folders, tmp_path):
    """So that it is the same to the bit for a run that compiles and one that does not."""
    method = LoRA(rank=2, last_layers=1)
    kept = []
    for way in ("off", "layers"):
        encoder, _ = build(encoder_folders["wav2vec2"], method)
        compilation = Compilation(way, CPU)
        compilation.start(encoder)
        encoder.keep_frozen(tmp_path, 0)
        compilation.run(encoder, encoder, *waveforms())
        assert encoder.features.ends == len(encoder.layers) - 1
        (compiled, graphs) = compilation.way, compilation.clock.graphs
        kept.append(encoder.features._features(waveforms()[0], None))
        assert (compilation.way, compilation.clock.graphs) == (compiled, graphs)
    assert graphs
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))


def test_a_copy_computes_with_its_own_weights(encoder_folders):
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    compilation = Compilation("layers", CPU)
    compilation.start(encoder)
    compilation.start(encoder)  # as when it is fitted twice
    other = copy.deepcopy(encoder)
    wanted = encoder(*waveforms())[0]
    graphs = compilation.clock.graphs
    with torch.no_grad():
        for parameter in encoder.layers.parameters():
            parameter.zero_()
    assert torch.equal(other(*waveforms())[0], wanted)
    assert not torch.allclose(encoder(*waveforms())[0], wanted)
    assert 0 < graphs <= len(encoder.layers)


def test_the_clock_starts_anew_and_goes_with_its_owner():
    handler = torch._dynamo.callback.callback_handler
    before = len(handler.start_callbacks), len(handler.end_callbacks)
    clock = CompileClock()
    clock.start()
    torch.compile(torch.sin, backend="eager")(torch.ones(2))
    assert (clock.graphs, clock.seconds > 0) == (1, True)
    clock.reset()
    assert (clock.graphs, clock.seconds) == (0, 0)
    del clock
    assert (len(handler.start_callbacks), len(handler.end_callbacks)) == before


def test_auto_is_for_gpus():
    assert Compilation("auto", CPU).way == "off"
    assert Compilation("auto", torch.device("cuda")).way == "layers"
    assert Compilation(False, CPU).way == "off"  # as YAML reads off
