"""On a GPU: the scan beside its peers', and a training step of every kind of method.

    python benchmarks/speed/gpu.py scans
    python benchmarks/speed/gpu.py steps

Everything of one table runs in this process, in turn; a call is over when the GPU has finished. mamba-ssm
and mambapy are compared with where they are installed. The models have the published shapes and random
weights, which change no time.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch
from scans import mambapy_scan, scan_inputs
from torch import Tensor
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.cost.step import Step
from mambadapter.cost.timing import alternate
from mambadapter.encoders import AdaptedEncoder
from mambadapter.heads import PooledClassifier
from mambadapter.methods import FullFinetuning, LinearProbe, LoRA, MambAdapters
from mambadapter.ssm.backends import mamba_ssm, reference
from mambadapter.ssm.backends.triton import backend as gpu

SHAPES = [(8, 250, 24, 16), (32, 250, 24, 16), (16, 1500, 48, 16), (1, 250, 24, 16)]
DEVICE = "cuda"
CLIPS, SECONDS, CLASSES = 16, 5, 35
ROUNDS = 7


def compared() -> dict[str, Callable[..., Tensor]]:
    """What there is, ours first."""
    found = {"ours": gpu.selective_scan}
    if mamba_ssm.unusable("cuda") is None:
        found["mamba-ssm"] = mamba_ssm.selective_scan
    if importlib.util.find_spec("mambapy"):
        found["mambapy's pscan"] = mambapy_scan
    return {**found, "the plain reference": reference.selective_scan}


def backward(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    output = function(*inputs)
    return torch.autograd.grad(output, inputs, torch.ones_like(output))


def finished(function: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
    """The call, and the wait for the GPU."""

    def call() -> None:
        function(*arguments)
        torch.cuda.synchronize()

    return call


def compare_scans(shape: tuple[int, int, int, int]) -> None:
    inputs = scan_inputs(shape, DEVICE)
    oracle = backward(reference.selective_scan, tuple(x.double() for x in inputs))
    found = compared()
    rounds = ROUNDS if shape[1] < 1000 else 3
    forward = alternate({n: finished(f, *inputs) for n, f in found.items()}, rounds, burst=3)
    both = alternate({n: finished(backward, f, inputs) for n, f in found.items()}, rounds, burst=3)
    print(f"\nselective scan, (B, L, d_inner, N) = {shape}")
    print(f"{'':22}{'fwd, ms':>10}{'fwd+bwd, ms':>13}{'x fwd+bwd':>11}{'error of gradients':>20}")
    for name, function in found.items():
        got = backward(function, inputs)
        errors = [
            ((g.double() - w).abs().max() / w.abs().max()).item()
            for g, w in zip(got, oracle, strict=True)
        ]
        print(
            f"{name:22}{forward[name]:10.3f}{both[name]:13.3f}{both[name] / both['ours']:11.1f}"
            f"{max(errors):20.1e}",
            flush=True,
        )


def step(family: str, method: Any, backend: str, half: bool) -> Step:
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = AutoModel.from_config(architecture_config(family))
    encoder = AdaptedEncoder(model.cpu(), method).to(DEVICE)
    head = PooledClassifier(encoder.width, CLASSES).to(DEVICE)
    return Step(encoder, head, CLIPS, SECONDS, backend=backend, half=half)


def compare_steps(family: str, half: bool) -> None:
    methods = {
        "MambAdapter, ours": (MambAdapters(), "triton"),
        "MambAdapter, mamba-ssm": (MambAdapters(), "mamba_ssm"),
        "MambAdapter, the plain reference": (MambAdapters(), "reference"),
        "LoRA, r=8": (LoRA(8), "auto"),
        "linear probe": (LinearProbe(), "auto"),
        "full fine-tuning": (FullFinetuning(), "auto"),
    }
    if mamba_ssm.unusable("cuda") is not None:
        del methods["MambAdapter, mamba-ssm"]
    steps, memory = {}, {}
    for name, (method, backend) in methods.items():
        one = step(family, method, backend, half)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        one()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
        steps[name] = finished(one)
    times = alternate(steps, 5, warmup=1)
    print(f"\n{family}, {'bfloat16 autocast' if half else 'float32'}")
    print(f"{'':34}{'step, ms':>10}{'x':>7}{'peak over the weights, MiB':>28}")
    ours = times["MambAdapter, ours"]
    for name, time in times.items():
        print(f"{name:34}{time:10.1f}{time / ours:7.2f}{memory[name]:28.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="On a GPU: the scan and training steps.")
    parser.add_argument("part", choices=("scans", "steps"))
    part = parser.parse_args().part
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    if part == "scans":
        for shape in SHAPES:
            compare_scans(shape)
    else:
        print(f"\ntraining steps: {CLIPS} clips of {SECONDS} s, {CLASSES} classes")
        for family in ("wav2vec2-base", "wavlm-base"):
            for half in (False, True):
                compare_steps(family, half)


if __name__ == "__main__":
    sys.exit(main())
