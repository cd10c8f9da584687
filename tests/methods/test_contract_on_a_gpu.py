"""What every method on the menu gives on a GPU, on every encoder family, is what it gives on the CPU."""

import contextlib
import copy

import pytest
import speechbrain as sb
import torch
from support import tiny_run
from support.contract import SAMPLES, build, has_batch_norm, moved, waveforms
from torch import nn

from mambadapter.methods import MENU
from mambadapter.training.sanity_check import prove_alive

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """cuDNN's convolutions would run in TF32, three digits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(params=MENU)
def method(request):
    return MENU[request.param]


@contextlib.contextmanager
def no_waiting():
    """Whatever makes the host wait for the GPU is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def losses(encoder, head, half=None):
    """The hidden states, after a backward pass."""
    device = next(encoder.parameters()).device.type
    wavs, lens = (x.to(device) for x in waveforms())
    with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
        hidden, frames = encoder(wavs, lens)
        logits = head(hidden, frames)
    nn.functional.cross_entropy(logits.float(), torch.arange(3, device=device)).backward()
    return hidden.detach().float().cpu()


def assert_near(got, wanted, tolerance):
    assert (got - wanted).norm() <= tolerance * wanted.norm() + 1e-6


def test_outputs_and_gradients_are_those_of_the_cpu(any_encoder_folder, method):
    encoder, head = build(any_encoder_folder, method)
    moved(encoder).train()
    there = copy.deepcopy(encoder).cuda(), copy.deepcopy(head).cuda()
    wanted, got = losses(encoder, head), losses(*there)
    valid = encoder.frames((waveforms()[1] * SAMPLES).round().long())
    for clip, frames in enumerate(valid):
        assert_near(got[clip, :frames], wanted[clip, :frames], 1e-4)
    for (name, one), other in zip(encoder.named_parameters(), there[0].parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None and not name.endswith("k_proj.bias"):
            assert_near(other.grad.cpu(), one.grad, 1e-3)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_it_trains_under_autocast(any_encoder_folder, method, half):
    encoder, head = build(any_encoder_folder, method)
    moved(encoder).train()
    exact = losses(copy.deepcopy(encoder), head)
    got = losses(encoder.cuda(), head.cuda(), half)
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is None) != parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    valid = encoder.frames((waveforms()[1] * SAMPLES).round().long())
    if not has_batch_norm(encoder):
        for clip, frames in enumerate(valid):
            assert_near(got[clip, :frames], exact[clip, :frames], 0.1)


def test_the_proof_of_life_passes(any_encoder_folder, method):
    encoder, head = build(any_encoder_folder, method)
    prove_alive(encoder.cuda(), head.cuda())


def test_a_step_keeps_no_host_waiting(any_encoder_folder, method):
    """Forward, loss, backward and optimiser; after a first one, which sets things up."""
    encoder, head = (module.cuda() for module in build(any_encoder_folder, method))
    moved(encoder).train()
    learning = [p for m in (encoder, head) for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, fused=True)
    wavs, lens = (x.cuda() for x in waveforms())
    labels = torch.arange(3, device="cuda")

    def step():
        optimiser.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logits = head(*encoder(wavs, lens))
        nn.functional.cross_entropy(logits.float(), labels).backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()

    step()
    with no_waiting():
        step()


def test_a_brains_step_and_validation_keep_no_host_waiting(encoder_folders, tmp_path):
    """As a recipe trains: audio, loss, clipping, schedule and metrics among it."""
    folder, options = encoder_folders["wav2vec2"], {"device": "cuda:0"}
    brain, _, _ = tiny_run.build(folder, tmp_path, run_opts=options)
    loader = brain.make_dataloader(tiny_run.dataset(12, 0), sb.Stage.TRAIN, batch_size=4)
    brain.on_fit_start()
    brain.modules.train()
    for step, batch in enumerate(loader):
        brain.step = step + 1
        with no_waiting() if step else contextlib.nullcontext():
            brain.update_average(brain.fit_batch(batch), 0.0)
    brain.modules.eval()
    brain.start_metrics()
    with no_waiting():
        brain.evaluate_batch(batch, sb.Stage.VALID)
    assert brain.stage_metrics()["clips"] == 4
