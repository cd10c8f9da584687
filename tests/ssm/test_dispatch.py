"""The choice of a scan is explicit, made once, logged, and never a silent slow one."""

import logging
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from mambadapter.errors import UserError
from mambadapter.ssm import (
    Mamba,
    backend_report,
    dispatch,
    set_backend,
)
from mambadapter.ssm.backends import mamba_ssm, reference
from mambadapter.ssm.backends.numba import backend as cpu


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch):
    monkeypatch.setattr(dispatch, "_requested", None)
    monkeypatch.setattr(dispatch, "_chosen", {})
    monkeypatch.delenv(dispatch.ENVIRONMENT, raising=False)
    mamba_ssm._optional.cache_clear()
    yield
    mamba_ssm._optional.cache_clear()


def test_a_cpu_gets_the_cpu_kernels(caplog):
    """And says so once."""
    caplog.set_level(logging.INFO, "mambadapter")
    for _ in range(3):
        Mamba(4)(torch.randn(1, 5, 4))
    assert dispatch.backend_for("cpu") is cpu
    assert [r.message for r in caplog.records] == ["Selective scan on cpu: cpu."]


def test_a_name_is_honoured(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "mambadapter")
    set_backend("reference")
    assert dispatch.backend_for("cpu") is reference
    monkeypatch.setattr(dispatch, "_requested", None)
    monkeypatch.setattr(dispatch, "_chosen", {})
    monkeypatch.setenv(dispatch.ENVIRONMENT, "reference")
    assert dispatch.backend_for("cpu") is reference
    assert caplog.records[-1].message == "Selective scan on cpu: reference, as asked."


def test_an_impossible_choice_is_refused():
    set_backend("mamba_ssm")
    with pytest.raises(UserError, match="'mamba_ssm' cannot serve cpu: its kernels run on CUDA"):
        Mamba(4)(torch.randn(1, 5, 4))
    with pytest.raises(UserError, match="did you mean 'reference'"):
        set_backend("referense")


def test_falling_back_to_the_reference_warns_once(monkeypatch, caplog):
    monkeypatch.setattr(cpu, "HAVE_NUMBA", False)
    for _ in range(2):
        Mamba(4)(torch.randn(1, 5, 4))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "SLOW" in record.message
    assert "pip install numba" in record.message


def test_float64_is_the_oracles():
    block = Mamba(4).double()
    assert block(torch.randn(1, 5, 4, dtype=torch.float64)).dtype == torch.float64
    assert dispatch._chosen == {}


def on_device(device_type):
    """What the choice looks at of a tensor, on hardware that is not here."""
    return types.SimpleNamespace(device=torch.device(device_type), dtype=torch.float32)


@pytest.mark.parametrize("device_type", ["mps", "xpu"])
def test_other_devices_get_the_reference_with_a_warning(device_type, caplog):
    for _ in range(2):
        assert dispatch._backend(on_device(device_type)) is reference
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"Selective scan on {device_type}: the plain reference, which is SLOW" in record.message


def test_a_name_is_not_ignored_on_other_devices():
    set_backend("cpu")
    with pytest.raises(UserError, match="'cpu' cannot serve mps: its kernels run on CPU"):
        dispatch._backend(on_device("mps"))
    set_backend("reference")
    assert dispatch._backend(on_device("mps")) is reference


def test_shapes_alone_choose_nothing(caplog):
    set_backend("cpu")
    block = Mamba(4).to("meta")
    lengths = torch.tensor([5, 3], device="meta")
    x = torch.randn(2, 5, 4, device="meta")
    assert block(x, lengths, reverse=True).shape == (2, 5, 4)
    assert dispatch._chosen == {}
    assert not caplog.records


def test_report_names_every_backend():
    report = {name: (usable, reason) for name, usable, reason in backend_report()}
    assert report["cpu"] == (True, "on cpu")
    assert report["reference"][0]
    assert not report["mamba_ssm"][0]
    assert report["triton"][0] == torch.cuda.is_available()
    assert set(report) == {"cpu", "triton", "mamba_ssm", "reference"}


def assert_convolvable(x):
    """What csrc/causal_conv1d.cpp checks of (B, D, T), and what its kernels rely on unchecked."""
    assert x.stride(1) == 1 or x.stride(2) == 1
    if x.stride(1) == 1 and x.stride(2) > 1:
        assert x.shape[1] % 8 == 0
        assert x.stride(0) % 8 == 0
        assert x.stride(2) % 8 == 0
        assert x.storage_offset() % 8 == 0
    else:
        assert x.is_contiguous()


def fake_peers(monkeypatch, calls):
    """mamba-ssm's and causal-conv1d's functions, by signature, computed in plain PyTorch."""

    def selective_scan_fn(
        u,
        delta,
        A,
        B,
        C,
        D=None,
        z=None,
        delta_bias=None,
        delta_softplus=False,
        return_last_state=False,
    ):
        assert delta_softplus
        assert u.shape == delta.shape == z.shape
        assert B.shape == (u.shape[0], A.shape[1], u.shape[2])
        assert all(t.is_contiguous() for t in (u, delta, B, C, z))
        calls.append("scan")
        turned = [t.transpose(1, 2) for t in (u, delta, B, C, z)]
        u, delta, B, C, z = turned
        return reference.selective_scan(u, delta, A, B, C, D, z, delta_bias).transpose(1, 2)

    def causal_conv1d_fn(x, weight, bias=None, seq_idx=None, initial_states=None,
                         return_final_states=False, final_states_out=None, activation=None):  # fmt: skip
        assert activation == "silu"
        assert weight.shape[0] == x.shape[1]
        assert_convolvable(x)
        calls.append("conv")
        padded = F.pad(x, (weight.shape[1] - 1, 0))
        return F.silu(F.conv1d(padded, weight[:, None], bias, groups=x.shape[1]))

    scan = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    scan.selective_scan_fn = selective_scan_fn
    conv = types.ModuleType("causal_conv1d")
    conv.causal_conv1d_fn = causal_conv1d_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, scan.__name__, scan)
    monkeypatch.setitem(sys.modules, "causal_conv1d", conv)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, torch.tensor([20, 9])], ids=["whole", "padded"])
@pytest.mark.parametrize(("taps", "kernels"), [(4, ["conv", "scan"]), (8, ["scan"])])
@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("width", [12, 13], ids=["24 channels", "26 channels"])
def test_mamba_ssm_is_called_as_its_functions_want(
    monkeypatch, width, lookahead, taps, kernels, lengths, reverse
):
    calls = []
    fake_peers(monkeypatch, calls)
    assert mamba_ssm.unusable("cuda") is None
    torch.manual_seed(0)
    block = Mamba(width, d_conv=taps, lookahead=lookahead)
    x = torch.randn(2, 20, width)
    set_backend("reference")
    wanted = block(x, lengths, reverse)
    monkeypatch.setitem(dispatch._chosen, "cpu", mamba_ssm)
    torch.testing.assert_close(block(x, lengths, reverse), wanted)
    assert calls == kernels


def half_of(*shape, channels=24, skipped=0):
    """x of a tensor xz that is itself part of another, as (B, D, T)."""
    return torch.randn(shape)[..., skipped : skipped + channels].transpose(1, 2)


def test_whole_vectors_of_channels_are_not_copied():
    x = half_of(2, 20, 48)
    assert_convolvable(x)
    assert mamba_ssm._in_accepted_strides(x) is x


@pytest.mark.parametrize(
    "x",
    [
        half_of(2, 20, 52, channels=26),
        half_of(2, 20, 50),
        half_of(2, 20, 56, skipped=4),
        half_of(1, 1, 52, channels=26),
        half_of(2, 1, 48),
        half_of(2, 20, 2, channels=1),
        torch.randn(2, 1, 48)[..., :24].expand(2, 20, 24).transpose(1, 2),
        torch.randn(20, 24, 2).permute(2, 1, 0),
    ],
    ids=["channels", "frame", "offset", "one frame", "a gradient", "one", "repeated", "turned"],
)
def test_other_layouts_are_copied_for_the_convolution(x):
    got = mamba_ssm._in_accepted_strides(x)
    assert got.stride(2) == 1
    assert_convolvable(got)
    assert torch.equal(got, x)


def test_mamba_ssm_scan_alone(monkeypatch):
    fake_peers(monkeypatch, [])
    torch.manual_seed(0)
    u, delta, z = torch.randn(3, 2, 20, 6)
    B, C = torch.randn(2, 2, 20, 4)
    A, D, bias = -torch.rand(6, 4), torch.randn(6), torch.randn(6)
    lengths = torch.tensor([20, 9])
    arguments = (u, delta, A, B, C, D, z, bias, lengths, True)
    torch.testing.assert_close(
        mamba_ssm.selective_scan(*arguments), reference.selective_scan(*arguments)
    )


def test_the_cpu_kernels_leave_torchs_thread_count_alone():
    """numba's OpenMP layer would set it to the number of cores at its first kernel."""
    script = (
        "import torch; torch.set_num_threads(1); from mambadapter.ssm import Mamba; "
        "Mamba(4)(torch.randn(3, 40, 4)).sum().backward(); print(torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "1"


def test_missing_kernels_say_what_to_install():
    assert "pip install mamba-ssm" in mamba_ssm.unusable("cuda")
