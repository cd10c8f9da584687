"""A device that is not there is refused before anything is prepared for it."""

import pytest
import torch
from support.small_recipe import load

from mambadapter.errors import UserError
from mambadapter.utils.devices import warn_of_slow_bf16


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_there(recipe, no_gpu, device):
    with pytest.raises(UserError, match=f"--device {device}: there is none here; there is cpu"):
        load(recipe, "--device", device)


@pytest.mark.parametrize("device", ["gpu", "cuda0", "cpu:x", "", "meta", "CPU", "xla"])
def test_a_device_that_is_unknown(recipe, no_gpu, device):
    with pytest.raises(UserError, match=r"--device: '.*' is unknown; .*cpu, cuda, mps"):
        load(recipe, f"--device={device}")


def test_gpu_is_cuda(recipe, no_gpu):
    with pytest.raises(UserError, match="'gpu' is unknown; did you mean 'cuda'"):
        load(recipe, "--device=gpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", "cpu"])
def test_devices_that_are_there(recipe, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert load(recipe, "--device", device).run_opts["device"] == device
    with pytest.raises(UserError, match="--device cuda:2: .*; there is cpu, cuda:0, cuda:1"):
        load(recipe, "--device", "cuda:2")


def test_without_a_device_speechbrain_chooses(recipe, no_gpu):
    assert "device" not in load(recipe).run_opts.overridden_args


@pytest.mark.parametrize(
    ("device", "precision", "capabilities", "warned"),
    [
        ("cpu", "bf16", {"amx_bf16": False}, True),
        ("cpu", "bf16", {"amx_bf16": True}, False),
        ("cpu", "bf16", {"neon": True}, False),
        ("cpu", "fp32", {"amx_bf16": False}, False),
        ("cuda:0", "bf16", {"amx_bf16": False}, False),
    ],
)
def test_bf16_on_a_processor_without_amx(
    monkeypatch, caplog, device, precision, capabilities, warned
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    warn_of_slow_bf16(device, precision)
    assert ("has no AMX" in caplog.text) == warned
    hardly = not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert ("many times as slow" in caplog.text) == (warned and hardly)
