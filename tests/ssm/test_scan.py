"""Every scan against float64 autograd through the plain reference."""

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.oracle import compare, inner_inputs, scan_inputs, single, value_and_gradients

from mambadapter.ssm import Mamba, mamba_inner, selective_scan
from mambadapter.ssm.backends import reference
from mambadapter.ssm.backends.numba import backend as cpu
from mambadapter.ssm.backends.numba import runtime
from mambadapter.utils.files import source_digest, user_cache

LENGTHS = {"whole": None, "padded": torch.tensor([37, 20, 1])}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("gated", [True, False])
def test_cpu_scan(gated, lengths, reverse):
    inputs = scan_inputs(3, 37, 10, 16, gated)
    compare(cpu.selective_scan, inputs, lengths=lengths, reverse=reverse)


@pytest.mark.parametrize(
    ("batch", "time", "channels", "states"),
    [(1, 1, 1, 1), (1, 16, 24, 16), (2, 15, 7, 20), (2, 33, 24, 8), (5, 100, 48, 16)],
)
def test_cpu_scan_shapes(batch, time, channels, states):
    compare(cpu.selective_scan, scan_inputs(batch, time, channels, states))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("taps", [1, 2, 4, 8, 31, 32])
def test_cpu_inner(taps, lengths, reverse):
    inputs = inner_inputs(3, 37, 10, 16, taps, rank=1)
    compare(cpu.mamba_inner, inputs, lengths=lengths, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("taps", "lookahead"), [(4, 3), (7, 2), (31, 15)])
def test_cpu_inner_looking_ahead(taps, lookahead, lengths, reverse):
    inputs = inner_inputs(3, 37, 10, 16, taps, rank=1)
    compare(cpu.mamba_inner, inputs, lengths=lengths, reverse=reverse, lookahead=lookahead)


@pytest.mark.parametrize(
    ("batch", "time", "channels", "states", "taps", "rank"),
    [(1, 1, 1, 1, 4, 1), (1, 16, 24, 16, 4, 1), (2, 3, 7, 20, 8, 3), (4, 70, 48, 16, 4, 2)],
)
def test_cpu_inner_shapes(batch, time, channels, states, taps, rank):
    compare(cpu.mamba_inner, inner_inputs(batch, time, channels, states, taps, rank))


@pytest.mark.parametrize("extreme", [-200.0, 60.0])
def test_extreme_step_sizes_stay_finite(extreme):
    inputs = single(scan_inputs(2, 20, 8, 4))
    inputs["delta"] = torch.full((2, 20, 8), extreme).requires_grad_()
    output, gradients = value_and_gradients(cpu.selective_scan, inputs)
    assert output.isfinite().all()
    assert all(g.isfinite().all() for g in gradients.values())


@pytest.mark.parametrize("time", [0, 5])
def test_empty_batches_and_sequences(time):
    for batch in (0, 2) if time == 0 else (0,):
        inputs = single(scan_inputs(batch, time, 8, 4))
        assert cpu.selective_scan(**inputs).shape == (batch, time, 8)


def test_reference_gradients_by_finite_differences():
    inputs = scan_inputs(2, 5, 3, 2)
    names, values = zip(*inputs.items(), strict=True)
    lengths = torch.tensor([5, 3])
    for reverse in (False, True):
        assert torch.autograd.gradcheck(
            lambda *v: reference.selective_scan(
                **dict(zip(names, v, strict=True)),
                lengths=lengths,
                reverse=reverse,  # noqa: B023
            ),
            values,
        )


def test_reference_against_transformers():
    """An independent implementation of the same block, with the same weights."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    block = Mamba(12, d_state=16)
    config = MambaConfig(
        hidden_size=12, state_size=16, conv_kernel=4, expand=2, time_step_rank=1, use_mambapy=False
    )
    peer = MambaMixer(config, layer_idx=0)
    peer.load_state_dict(block.state_dict())
    x = torch.randn(2, 40, 12)
    with torch.no_grad():
        torch.testing.assert_close(block(x), peer(x), rtol=1e-4, atol=1e-6)


BLOCKS = [{"d_conv": 4}, {"d_conv": 8, "d_state": 7}, {"expand": 3}, {"d_conv": 9, "lookahead": 4}]


@pytest.mark.parametrize("double", [False, True], ids=["cpu", "reference"])
@pytest.mark.parametrize(("settings", "reverse"), itertools.product(BLOCKS, [False, True]))
def test_padding_never_leaks(settings, reverse, double):
    torch.manual_seed(0)
    dtype = torch.float64 if double else torch.float32
    block = Mamba(6, **settings).to(dtype)
    lengths = torch.tensor([30, 17, 1])
    x = torch.randn(3, 30, 6, dtype=dtype, requires_grad=True)
    spoilt = x.detach().clone()
    for clip, length in enumerate(lengths):
        spoilt[clip, length:] = 1e4
    spoilt.requires_grad_()
    together, poisoned = block(x, lengths, reverse), block(spoilt, lengths, reverse)
    assert torch.equal(together, poisoned)
    poisoned.square().sum().backward()
    for clip, length in enumerate(lengths):
        alone = block(x[clip : clip + 1, :length], reverse=reverse)[0]
        torch.testing.assert_close(together[clip, :length], alone)
        assert (together[clip, length:] == 0).all()
        assert (spoilt.grad[clip, length:] == 0).all()


@pytest.mark.parametrize("double", [False, True], ids=["cpu", "reference"])
def test_reverse_is_flip_scan_flip(double):
    torch.manual_seed(0)
    block = Mamba(6).to(torch.float64 if double else torch.float32)
    x = torch.randn(2, 30, 6, dtype=block.D.dtype)
    torch.testing.assert_close(block(x, reverse=True), block(x.flip(1)).flip(1))


def test_bfloat16_autocast_runs_the_scan_in_float32():
    torch.manual_seed(0)
    block = Mamba(12)
    x = torch.randn(2, 50, 12)
    with torch.autocast("cpu", torch.bfloat16):
        output = block(x)
        output.float().square().sum().backward()
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), block(x), rtol=0.05, atol=0.02)
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in block.parameters()
    )


def test_inputs_need_not_be_contiguous():
    inputs = single(inner_inputs(2, 20, 8, 4, 4, 1))
    turned = {**inputs, "xz": inputs["xz"].detach().transpose(0, 1).contiguous().transpose(0, 1)}
    assert torch.equal(mamba_inner(**turned), mamba_inner(**inputs))


def kept_bytes(time):
    xz = torch.randn(2, time, 48, requires_grad=True)
    block = Mamba(12)
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        mamba_inner(
            xz, block.conv1d.weight, block.conv1d.bias, block.x_proj.weight, block.dt_proj.weight,
            block.dt_proj.bias, -block.A_log.exp(), block.D,
        )  # fmt: skip
    return sum(storages.values()), xz.numel() * 4


def test_kept_memory_is_linear_with_a_small_constant():
    (short, _), (double, _), (long, size) = (kept_bytes(time) for time in (1600, 3200, 6400))
    assert long - double == pytest.approx(2 * (double - short), rel=0.01)
    # The input, and 16 states of 24 channels every 16 steps: half the input again.
    assert long < 1.6 * size


def test_nothing_is_kept_without_gradients():
    with torch.no_grad():
        inputs = single(scan_inputs(2, 20, 8, 4))
        output = selective_scan(**inputs)
    assert output.grad_fn is None


def test_autocast_inputs_keep_their_dtype():
    inputs = {n: t.detach().bfloat16() for n, t in scan_inputs(2, 20, 8, 4).items()}
    assert selective_scan(**inputs).dtype == torch.bfloat16


def test_softplus_gate_and_exp_are_accurate():
    """One channel, one state, one step: y = dt B C u silu(z) shows each function by itself."""
    x = torch.linspace(-30, 30, 4001).reshape(-1, 1, 1)
    one = torch.ones(4001, 1, 1)
    dt = cpu.selective_scan(one, x, -torch.ones(1, 1), one, one, torch.zeros(1))
    wanted = F.softplus(x.double())
    # e^-30 in float32: the rounding of 30 log2(e) alone is 43 * 2^-24.
    assert ((dt.double() - wanted) / wanted).abs().max() < 3e-6
    gate = cpu.selective_scan(one, one, -torch.ones(1, 1), one * 0, one, torch.ones(1), z=x)
    silu = F.silu(x.double())
    assert (gate.double() - silu).abs().max() < 4e-6


def test_kernels_are_cached_for_each_source(tmp_path):
    """numba alone would look at a kernel's own file only, and run old code on."""
    (tmp_path / "cpu_scan.py").write_text("kernel")
    (tmp_path / "cpu_math.py").write_text("called by it")
    before = source_digest(tmp_path)
    assert source_digest(tmp_path) == before
    (tmp_path / "cpu_math.py").write_text("called by it, changed")
    assert source_digest(tmp_path) != before
    kept = cpu.scan_forward.stats.cache_path
    assert f"kernels-{source_digest(Path(runtime.__file__).parent)}" in kept


def test_kernels_go_to_the_users_cache_where_the_package_cannot_be_written(tmp_path, monkeypatch):
    """And nowhere that lasts without a home."""
    (tmp_path / "package").write_text("no folder")
    monkeypatch.setattr(runtime, "_SOURCES", tmp_path / "package")
    monkeypatch.setattr(runtime.numba.config, "CACHE_DIR", "")

    def chosen(xdg):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        with runtime.caching_kernels():
            return Path(runtime.numba.config.CACHE_DIR).parent

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    assert chosen(str(tmp_path / "xdg")) == tmp_path / "xdg/mambadapter"
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert chosen("") == chosen("not/absolute") == tmp_path / "home/.cache/mambadapter"
    monkeypatch.setattr(Path, "home", no_home)
    assert user_cache() is None
    assert chosen("").name.startswith("mambadapter-")


def test_what_is_no_number_is_passed_on():
    inputs = single(scan_inputs(1, 20, 8, 4))
    inputs["delta"].data[0, 3, 2] = float("nan")
    output = cpu.selective_scan(**inputs)
    assert output[0, 3:, 2].isnan().all()
    assert output[0, :, [0, 1, 3]].isfinite().all()


def test_the_operators_keep_pytorchs_rules():
    """Of schema, fake kernels, gradients and graphs."""
    from torch.library import opcheck

    from mambadapter.encoders.padding import _long_enough
    from mambadapter.ssm.arguments import _within

    width, lengths = cpu.LANES, torch.tensor([20, 9])
    scan = tuple(single(scan_inputs(2, 20, width, 4)).values())
    opcheck(cpu._scan, (*scan, lengths, True, True))
    inner = tuple(single(inner_inputs(2, 20, width, 4, 4, rank=2)).values())
    opcheck(cpu._inner, (*inner, None, False, 1, True))
    with torch.no_grad():  # a backward has no gradient of its own
        y, saved = cpu._scan(*scan, lengths, True, True)
        read = [x.detach() for x in scan]
        opcheck(cpu._scan_backward, (y, *read, lengths, saved, True))
        y, saved = cpu._inner(*inner, None, False, 1, True)
        read = [x.detach() for x in inner]
        opcheck(cpu._inner_backward, (y, *read, None, saved, False, 1))
    opcheck(_within, (lengths, 20))
    opcheck(_long_enough, (lengths,))
