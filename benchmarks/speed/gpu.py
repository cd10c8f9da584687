"""On a GPU: the scan beside its peers', and a training step of every kind of method.

    python benchmarks/speed/gpu.py scans
    python benchmarks/speed/gpu.py steps [FAMILY ...] [--json]     # 16 clips of 5 s
    python benchmarks/speed/gpu.py large [FAMILY ...] [--json]     # 64 clips of 10 s, bf16

Everything of one table runs in this process, in turn; a call is over when the GPU has finished. Of `steps`
and `large`, each row says what of the time no kernel ran, and how many there were. mamba-ssm, mambapy and
PEFT are compared with where they are installed. The models have the published shapes and random weights,
which change no time. `--device cpu --eager --clips 2 box` shows that it runs, and nothing else.
"""

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from output import Output, add_json
from peers import PEFT, Peft, has_peft
from scans import mambapy_scan, scan_inputs
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.cost.step import Step
from mambadapter.cost.timing import alternate, describe_machine
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import encoder_of, frontend_of
from mambadapter.heads import PooledClassifier
from mambadapter.methods import MENU
from mambadapter.ssm.backends import mamba_ssm, reference
from mambadapter.ssm.backends.triton import backend as gpu
from mambadapter.training.compiling import Compilation

SHAPES = [(8, 250, 24, 16), (32, 250, 24, 16), (16, 1500, 48, 16), (1, 250, 24, 16)]
DEVICE = "cuda"
CLASSES = 35
ROUNDS = 7

# Families, clips and seconds of a part.
PARTS = {
    "steps": (("wav2vec2-base", "wavlm-base"), 16, 5),
    "large": (("wav2vec2-large", "wavlm-large"), 64, 10),
}

# Dense bfloat16 FLOP a second without sparsity, from NVIDIA's data sheets of the SXM cards.
PEAKS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 311.9e12}


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
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return call


def compare_scans(shape: tuple[int, int, int, int], output: Output) -> None:
    inputs = scan_inputs(shape, DEVICE)
    oracle = backward(reference.selective_scan, tuple(x.double() for x in inputs))
    found = compared()
    rounds = ROUNDS if shape[1] < 1000 else 3
    forward = alternate({n: finished(f, *inputs) for n, f in found.items()}, rounds, burst=3)
    both = alternate({n: finished(backward, f, inputs) for n, f in found.items()}, rounds, burst=3)
    output.say(f"\nselective scan, (B, L, d_inner, N) = {shape}")
    output.say(
        f"{'':22}{'fwd, ms':>10}{'fwd+bwd, ms':>13}{'x fwd+bwd':>11}{'error of gradients':>20}"
    )
    for name, function in found.items():
        got = backward(function, inputs)
        errors = [
            ((g.double() - w).abs().max() / w.abs().max()).item()
            for g, w in zip(got, oracle, strict=True)
        ]
        output.keep(
            str(shape), name, forward_ms=forward[name], forward_backward_ms=both[name],
            over_ours=both[name] / both["ours"], error=max(errors),
        )  # fmt: skip
        output.say(
            f"{name:22}{forward[name]:10.3f}{both[name]:13.3f}{both[name] / both['ours']:11.1f}"
            f"{max(errors):20.1e}"
        )


@dataclass(frozen=True)
class Way:
    """How a step is made: a method of the menu or PEFT's LoRA, a backend of the scan, a way to compile."""

    method: str
    backend: str = "auto"
    compiled: str = "off"

    @property
    def name(self) -> str:
        more = [self.backend] * (self.backend != "auto") + [f"compile {self.compiled}"] * (
            self.compiled != "off"
        )
        return ", ".join([self.method, *more])


COMPILED = ("mambadapter", "mambadapter_longconv", "lora", "full_finetuning")


def ways() -> Iterator[Way]:
    for method in ("mambadapter", "mambadapter_longconv", "conformer", "lora", "linear_probe"):
        yield Way(method)
    yield Way("full_finetuning")
    if mamba_ssm.unusable("cuda") is None:
        yield Way("mambadapter", backend="mamba_ssm")
    if has_peft():
        yield Way(PEFT)
    for compiled in ("layers", "step"):
        for method in COMPILED:
            yield Way(method, compiled=compiled)


def step(family: str, way: Way, clips: int, seconds: float, half: bool, device: str) -> Step:
    torch.manual_seed(0)
    config = architecture_config(family)
    model = encoder_of(AutoModel.from_config(config, dtype=torch.float32))
    if way.method == PEFT:
        encoder = Peft(model)
    else:
        encoder = AdaptedEncoder(model, MENU[way.method], frontend_of(config))
    encoder.to(device)
    head = PooledClassifier(encoder.width, CLASSES).to(device)
    made = Step(encoder, head, clips, seconds, backend=way.backend, half=half)
    if way.compiled != "off":
        Compilation(way.compiled, torch.device(device)).start(encoder)
    return made


def peak_mib(one: Step) -> float:
    """Over what is there before, the weights."""
    if one.device.type != "cuda":
        return float("nan")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    one()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def kernels(call: Callable[[], object]) -> tuple[int, float]:
    """How many kernels a call runs, and the share of its time in which none does."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        call()
    ran = [event for event in profile.events() if event.device_type.name == "CUDA"]
    if not ran:
        return 0, float("nan")
    span = max(e.time_range.end for e in ran) - min(e.time_range.start for e in ran)
    return len(ran), 1 - sum(e.time_range.elapsed_us() for e in ran) / span


def compare_steps(
    family: str, clips: int, seconds: float, half: bool, device: str, eager: bool
) -> dict[str, dict[str, Any]]:
    """Each way's milliseconds, MiB over the weights, kernels, idle share and share of the card's peak."""
    found: dict[str, dict[str, Any]] = {}
    steps = {}
    for way in ways():
        if eager and way.compiled != "off":
            continue
        try:
            one = step(family, way, clips, seconds, half, device)
            one()
            found[way.name] = {"peak_mib": peak_mib(one)}
            steps[way.name] = finished(one)
        except Exception as error:
            found[way.name] = failed(error)
    times = timed(steps)
    peak = next((flops for name, flops in PEAKS.items() if name in describe_machine(device)), None)
    for name, milliseconds in times.items():
        row = found[name]
        if isinstance(milliseconds, str):
            row["failed"] = milliseconds
            continue
        row["milliseconds"] = milliseconds
        try:
            row["kernels"], row["idle"] = kernels(steps[name])
            if half and peak and "compile" not in name:
                with FlopCounterMode(display=False) as counter:
                    steps[name]()
                row["share_of_peak"] = counter.get_total_flops() / (milliseconds / 1e3) / peak
        except Exception as error:
            row["unprofiled"] = failed(error)["failed"]
    return found


def failed(error: Exception) -> dict[str, str]:
    """One way that a card or a version cannot go takes no other with it."""
    return {"failed": " ".join(str(error).split())[:200] or type(error).__name__}


def timed(steps: dict[str, Callable[[], None]]) -> dict[str, float | str]:
    """Milliseconds of each, in turn, or why there are none.

    Those that do not fit into memory together are timed one after the other.
    """
    with contextlib.suppress(torch.OutOfMemoryError):
        return dict(alternate(steps, 5, warmup=2))
    found: dict[str, float | str] = {}
    for name, call in steps.items():
        torch.cuda.empty_cache()
        try:
            found |= alternate({name: call}, 5, warmup=2)
        except Exception as error:
            found[name] = failed(error)["failed"]
    return found


def show_steps(title: str, found: dict[str, dict[str, Any]], output: Output) -> None:
    output.say(
        f"\n{title}\n{'':38}{'step, ms':>10}{'MiB':>8}{'kernels':>9}{'idle, %':>9}{'peak, %':>9}"
    )
    for name, row in found.items():
        output.keep(title, name, **row)
        if "failed" in row:
            output.say(f"{name:38}failed: {row['failed']}")
            continue
        output.say(
            f"{name:38}{row['milliseconds']:10.1f}{row['peak_mib']:8.0f}{row.get('kernels', 0):9}"
            f"{100 * row.get('idle', float('nan')):9.1f}{100 * row.get('share_of_peak', float('nan')):9.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="On a GPU: the scan and training steps.")
    parser.add_argument("part", choices=("scans", *PARTS))
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--eager", action="store_true", help="leave out what is compiled")
    add_json(parser)
    arguments = parser.parse_intermixed_args()
    if arguments.part == "scans":
        output = Output(arguments.json, arguments.device)
        for shape in SHAPES:
            compare_scans(shape, output)
        output.close()
        return
    families, clips, seconds = PARTS[arguments.part]
    clips = arguments.clips or clips
    torch.set_float32_matmul_precision("high")  # TF32
    output = Output(arguments.json, arguments.device, clips=clips, seconds=seconds, classes=CLASSES)
    output.say(f"{clips} clips of {seconds} s, {CLASSES} classes, the menu's sizes")
    try:
        for family in arguments.families or families:
            for half in (True, False) if arguments.part == "steps" else (True,):
                title = f"{family}, {'bfloat16 autocast' if half else 'float32 with TF32'}"
                found = compare_steps(
                    family, clips, seconds, half, arguments.device, arguments.eager
                )
                show_steps(title, found, output)
    finally:
        output.close()


if __name__ == "__main__":
    sys.exit(main())
