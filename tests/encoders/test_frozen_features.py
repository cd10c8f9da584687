"""What is frozen is computed once for each clip, and changes nothing."""

import copy
import multiprocessing
import os
import shutil
import time

import pytest
import torch
from support.contract import SAMPLES, build, moved, waveforms
from torch import nn

from mambadapter.encoders.frozen_features import ALL, FINAL_NORM, frozen_until
from mambadapter.methods import MENU, ConformerAdapters, LoRA, MambAdapters
from mambadapter.utils.tensor_store import TensorStore

pytestmark = pytest.mark.exhaustive

# Those that have least in common.
UNLIKE = pytest.mark.parametrize(
    "any_encoder_folder",
    ["wav2vec2", "hubert-stable", "wavlm-stable", "ast", "whisper"],
    indirect=True,
)


def outputs(encoder, head):
    """What a batch with padding gives in training, and the gradients."""
    torch.manual_seed(3)
    encoder.train().zero_grad()
    hidden, frames = encoder(*waveforms())
    logits = head(hidden, frames)
    logits.square().sum().backward()
    return logits.detach(), [p.grad for p in encoder.parameters() if p.grad is not None]


def assert_same(one, other):
    assert torch.equal(one[0], other[0])
    assert len(one[1]) == len(other[1])
    for grad, again in zip(one[1], other[1], strict=True):
        assert torch.equal(grad, again)


# Every method on two encoders, and on the others those that end what is frozen elsewhere.
PAIRS = [
    *((encoder, name) for encoder in ("wav2vec2", "whisper") for name in MENU),
    *(
        (encoder, name)
        for encoder in ("hubert-stable", "wavlm-stable", "ast")
        for name in ("mambadapter_longconv", "lora", "prompt_deep", "linear_probe", "weighted_sum")
    ),
]


@pytest.mark.parametrize(("any_encoder_folder", "name"), PAIRS, indirect=["any_encoder_folder"])
def test_kept_or_not_it_is_the_same_to_the_bit(any_encoder_folder, name, tmp_path):
    """And but for rounding what a batch computed as one gives."""
    encoder, head = build(any_encoder_folder, MENU[name])
    moved(encoder)
    expected = outputs(copy.deepcopy(encoder), head)
    results, counts = [], []
    for limit in (0, 1e9, 1e9):
        one = copy.deepcopy(encoder)
        one.keep_frozen(tmp_path / "features", limit)
        if name == "full_finetuning":
            assert one.features is None
            return
        results += [outputs(one, head), outputs(one, head)]
        counts.append((one.features.computed, one.features.read))
    assert counts == [(6, 0), (3, 3), (0, 6)]
    for other in results[1:]:
        assert_same(results[0], other)
    logits, grads = results[0]
    torch.testing.assert_close(logits, expected[0], rtol=1e-4, atol=1e-5)
    for grad, again in zip(grads, expected[1], strict=True):
        torch.testing.assert_close(grad, again, rtol=1e-3, atol=1e-5)


@UNLIKE
def test_gradient_checkpointing_finds_the_same_clips(any_encoder_folder, tmp_path):
    encoder, head = build(any_encoder_folder, MENU["mambadapter"])
    moved(encoder)
    encoder.keep_frozen(tmp_path, 1e9)
    plain = outputs(encoder, head)
    encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    encoder.backbone.train()
    torch.testing.assert_close(outputs(encoder, head), plain, rtol=1e-4, atol=1e-6)


def test_training_on_changed_clips_reads_none_that_were_kept(encoder_folders, tmp_path):
    """Nor does a backward that computes layers once more."""
    encoder, head = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    moved(encoder)
    encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    expected = outputs(copy.deepcopy(encoder), head)
    encoder.keep_frozen(tmp_path, 0, training=False)
    encoder.eval()
    encoder(torch.randn(3, SAMPLES))
    assert encoder.features.computed == 3
    with torch.no_grad():
        encoder(torch.randn(3, SAMPLES))
    assert_same(outputs(encoder, head), expected)
    assert encoder.features.computed == 6


@pytest.mark.parametrize("any_encoder_folder", ["wav2vec2", "whisper"], indirect=True)
@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("linear_probe", FINAL_NORM),
        ("weighted_sum", ALL),
        ("mambadapter", 0),
        ("lora", 0),
        ("prompt_shallow", 0),
        ("bitfit", 0),
        ("full_finetuning", None),
    ],
)
def test_where_it_ends(any_encoder_folder, name, ends):
    assert frozen_until(build(any_encoder_folder, MENU[name])[0]) == ends


@pytest.mark.parametrize(
    ("any_encoder_folder", "method", "ends"),
    [
        ("wav2vec2", MambAdapters(last_layers=1), 1),
        ("wav2vec2-stable", LoRA(last_layers=1), 1),
        # Beside the attention of a post-norm layer the LayerNorm that ends the layer below learns.
        ("wav2vec2", MambAdapters(placement="houlsby", last_layers=1), 0),
        ("whisper", MambAdapters(placement="houlsby", last_layers=1), 1),
        ("hubert", ConformerAdapters(last_layers=1), 1),
        ("ast", LoRA(last_layers=1), 1),
        ("wavlm", LoRA(last_layers=1), 0),
    ],
    indirect=["any_encoder_folder"],
    ids=str,
)
def test_layers_that_are_not_adapted_are_computed_once(any_encoder_folder, method, ends, tmp_path):
    encoder, head = build(any_encoder_folder, method)
    moved(encoder)
    assert frozen_until(encoder) == ends
    expected = outputs(copy.deepcopy(encoder), head)
    ran, layer = [], encoder.layers[0]
    layer.register_forward_hook(lambda *_: ran.append(1))
    encoder.keep_frozen(tmp_path, 1e9)
    first, second = outputs(encoder, head), outputs(encoder, head)
    assert len(ran) == (3 if ends else 2)  # of three clips, or in both batches
    assert len(encoder.layers) == 2
    assert_same(first, second)
    logits, grads = first
    torch.testing.assert_close(logits, expected[0], rtol=1e-4, atol=1e-5)
    for grad, again in zip(grads, expected[1], strict=True):
        torch.testing.assert_close(grad, again, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("any_encoder_folder", ["wav2vec2", "whisper"], indirect=True)
def test_it_ends_in_front_of_a_compiled_layer(any_encoder_folder, tmp_path):
    encoder, head = build(any_encoder_folder, LoRA(last_layers=1))
    moved(encoder)
    expected = outputs(copy.deepcopy(encoder), head)
    encoder.keep_frozen(tmp_path, 1e9)
    encoder.layers[1].compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(outputs(encoder, head), expected, rtol=1e-3, atol=1e-5)


def test_methods_share_it_and_encoders_do_not(encoder_folders, tmp_path):
    counts = []
    for family, name in [
        ("wav2vec2", "lora"),
        ("wav2vec2", "mambadapter"),
        ("hubert", "lora"),
    ]:
        encoder, _ = build(encoder_folders[family], MENU[name])
        encoder.keep_frozen(tmp_path, 1e9)
        encoder(*waveforms())
        counts.append(encoder.features.computed)
    assert counts == [3, 0, 3]


def test_what_is_random_above_is_the_same_too(encoder_folders, tmp_path):
    """Computing a clip draws no number, so dropout goes on where it would when the clip is read."""
    encoder, head = build(encoder_folders["wav2vec2-stable"], LoRA(rank=2, dropout=0.5))
    with torch.no_grad():
        for parameter in encoder.branches.parameters():
            parameter.normal_()
    encoder.keep_frozen(tmp_path, 1e9)
    assert_same(outputs(encoder, head), outputs(encoder, head))
    assert encoder.features.read == 3


@pytest.mark.parametrize("below", [True, False])
def test_a_branch_in_front_of_the_transformer_learns(encoder_folders, tmp_path, below):
    """One at the end of what else would be frozen leaves nothing of that."""
    encoder, head = build(encoder_folders["wav2vec2"], MENU["lora"])
    place = encoder.backbone.feature_projection if below else encoder.backbone.encoder.layer_norm
    encoder.insert("front", place, Scaled())
    encoder.keep_frozen(tmp_path, 1e9)
    assert (encoder.features is None) == below
    outputs(encoder, head)
    assert encoder.branches["front"].scale.grad.abs() > 0


class Scaled(nn.Module):
    """A branch of one number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, hidden, lengths):
        # A projection's input has other channels than its output.
        return self.scale * hidden.mean(-1, keepdim=True)


@pytest.mark.parametrize("any_encoder_folder", ["wav2vec2", "ast"], indirect=True)
@pytest.mark.parametrize("name", ["weighted_sum", "lora"])
def test_without_branches_and_past_the_features(any_encoder_folder, name, tmp_path):
    encoder, _ = build(any_encoder_folder, MENU[name])
    moved(encoder)
    wavs, _ = waveforms()
    with torch.no_grad():
        with encoder.branches_off():
            expected = encoder(wavs)[0]
        encoder.keep_frozen(tmp_path, 1e9)
        assert not torch.allclose(encoder(wavs)[0], expected, atol=1e-2)
        with encoder.branches_off():
            torch.testing.assert_close(encoder(wavs)[0], expected, rtol=1e-4, atol=1e-5)
            # The backbone itself computes what it is given, not the batch before.
            plain = encoder.run(**encoder.frontend.inputs(wavs.flip(0), None))
            torch.testing.assert_close(plain.flip(0), expected, rtol=1e-4, atol=1e-5)


def test_waveforms_may_lie_in_memory_as_they_like(encoder_folders, tmp_path):
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["lora"])
    encoder.keep_frozen(tmp_path, 1e9)
    wavs, lens = waveforms()
    encoder(wavs, lens)
    encoder(wavs.T.contiguous().T, lens)
    assert (encoder.features.computed, encoder.features.read) == (3, 3)


@pytest.mark.parametrize(
    "changed",
    [
        lambda patch: patch.setattr("mambadapter.encoders.frozen_features.source_digest", str),
        lambda patch: patch.setattr("transformers.__version__", "other"),
        lambda patch: patch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "other"),
        lambda patch: patch.setattr("torch.get_float32_matmul_precision", lambda: "medium"),
    ],
    ids=["code", "library", "processor", "products"],
)
def test_other_code_or_another_machine_computes_its_own(
    encoder_folders, tmp_path, changed, monkeypatch
):
    for _ in range(2):
        encoder, _ = build(encoder_folders["wav2vec2"], MENU["lora"])
        encoder.keep_frozen(tmp_path, 1e9)
        encoder(*waveforms())
        assert encoder.features.computed == 3
        changed(monkeypatch)


def test_another_precision_has_its_own(encoder_folders, tmp_path):
    encoder, _ = build(encoder_folders["wav2vec2-stable"], MENU["lora"])
    encoder.keep_frozen(tmp_path, 1e9)
    encoder(*waveforms())
    with torch.autocast("cpu", torch.bfloat16):
        encoder(*waveforms())
        encoder(*waveforms())
    assert (encoder.features.computed, encoder.features.read) == (6, 3)


def test_samples_that_differ_are_other_clips(encoder_folders, tmp_path):
    """And those behind a clip's end are not its own."""
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["lora"])
    encoder.keep_frozen(tmp_path, 1e9)
    wavs, lens = waveforms()
    encoder(wavs, lens)
    wavs[1, round(0.7 * SAMPLES) :] = 3.0
    wavs[0, 5] += 1e-6
    encoder(wavs, lens)
    assert (encoder.features.computed, encoder.features.read) == (4, 2)


def test_it_stops_at_the_limit(tmp_path, caplog):
    store = TensorStore(tmp_path, "a", 10_000)
    for number in range(5):
        store.write(f"{number}", torch.ones(1000))
    assert [store.read(f"{number}") is not None for number in range(5)] == [True] * 2 + [False] * 3
    assert "has reached its limit" in caplog.text
    assert caplog.text.count("No more frozen features") == 1


def test_a_full_folder_makes_room_of_what_was_opened_longest_ago(tmp_path):
    """But not of what a run has open."""
    running = TensorStore(tmp_path, "running", 15_000)
    running.write("x", torch.ones(1000))
    for group in ("old", "new"):
        TensorStore(tmp_path, group, 15_000).write("x", torch.ones(1000))
        time.sleep(0.01)
    TensorStore(tmp_path, "own", 15_000).write("x", torch.ones(1000))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"running", "new", "own"}
    assert running.read("x") is not None


def test_what_is_only_read_is_not_counted(tmp_path, monkeypatch):
    """A million files take a while."""
    TensorStore(tmp_path, "a", 10_000).write("x", torch.ones(10))
    monkeypatch.setattr("os.scandir", lambda *args: pytest.fail("counted"))
    assert TensorStore(tmp_path, "a", 10_000).read("x") is not None


def test_what_others_wrote_meanwhile_counts(tmp_path):
    one, other = (TensorStore(tmp_path, "a", 100_000) for _ in range(2))
    for number in range(100):
        (one if number % 2 else other).write(f"{number}", torch.ones(1000))
    # Each may write a twentieth more than is there when it looks.
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 110_000


def test_some_of_the_disk_is_left_to_others(tmp_path, monkeypatch, caplog):
    usage = shutil.disk_usage(tmp_path)
    store = TensorStore(tmp_path, "a", 10_000)
    for key, free in [("x", 2_000_000_000), ("y", 1_000_003_999), ("z", 2_000_000_000)]:
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: usage._replace(free=free))
        store.write(key, torch.ones(1000))
    assert [store.read(key) is not None for key in "xyz"] == [True, False, False]
    assert caplog.text.count("less than 1 GB is left on the disk") == 1


def test_what_killed_runs_left_is_removed(tmp_path):
    TensorStore(tmp_path, "a", 1e9).write("x", torch.ones(10))
    old, fresh = (tmp_path / "a/0" / f"{age}.partial" for age in ("old", "fresh"))
    old.parent.mkdir()
    old.touch()
    fresh.touch()
    os.utime(old, (0, 0))
    TensorStore(tmp_path, "b", 1e9).write("x", torch.ones(10))
    assert not old.exists()
    assert fresh.exists()


def test_what_else_is_in_the_folder_stays(encoder_folders, tmp_path):
    """Such as compiled kernels, or a user's own."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/scan.bin").write_bytes(bytes(20_000))
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["lora"])
    encoder.keep_frozen(tmp_path, 10_000)
    encoder(*waveforms())
    assert (tmp_path / "kernels/scan.bin").exists()
    assert (tmp_path / "frozen_features").is_dir()


def test_damaged_files_are_computed_again(tmp_path):
    store = TensorStore(tmp_path, "a", 10_000)
    store.write("x", torch.ones(10))
    (file,) = (tmp_path / "a").rglob("x.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    assert store.read("x") is None
    store.write("x", torch.ones(10))
    assert torch.equal(store.read("x"), torch.ones(10))


def test_a_disk_that_fails_stops_nothing(tmp_path, caplog, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    store = TensorStore(tmp_path, "a", 10_000)
    monkeypatch.setattr("mambadapter.utils.tensor_store.save_file", full)
    store.write("x", torch.ones(10))
    store.write("y", torch.ones(10))
    assert store.read("x") is None
    assert caplog.text.count("No space left on device") == 1
    (tmp_path / "file").write_text("")
    assert TensorStore(tmp_path / "file", "a", 10_000).read("x") is None


def hammer(folder, seed):
    store = TensorStore(folder, "a", 1e9)
    generator = torch.Generator().manual_seed(seed)
    while True:
        number = int(torch.randint(50, (), generator=generator))
        found = store.read(f"{number}")
        assert found is None or torch.equal(found, torch.full((500,), float(number)))
        store.write(f"{number}", torch.full((500,), float(number)))


def test_two_at_once_and_killed_leave_whole_tensors(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=hammer, args=(tmp_path, seed)) for seed in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(0.5)
        assert process.is_alive()
        process.kill()
        process.join()
    store = TensorStore(tmp_path, "a", 1e9)
    found = [store.read(f"{number}") for number in range(50)]
    assert sum(tensor is not None for tensor in found) > 40
    for number, tensor in enumerate(found):
        assert tensor is None or torch.equal(tensor, torch.full((500,), float(number)))
    shutil.rmtree(tmp_path)
