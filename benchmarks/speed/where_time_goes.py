"""Where a training step's time goes on a CPU: which operators, and what lies between them, Python.

    python benchmarks/speed/where_time_goes.py [FAMILY] [--adapters NAME ...] [--json]    # 4 clips of 5 s

Times of PyTorch's profiler, in a process of so many threads as it is given; medians over steps.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict

import torch
from output import Output, add_json
from torch.autograd.profiler_util import FunctionEvent

from mambadapter.budget.count import architecture_config
from mambadapter.cost.step import Step, random_step
from mambadapter.methods import MENU

STEPS, WARMUP = 5, 2
KINDS = {
    "products and convolutions": ("addmm", "mmbackward", "bmm", "aten::mm", "linear", "conv"),
    "attention": ("scaleddotproduct", "softmax"),
    "this project's kernels": ("mambadapter",),
    "norms and activations": ("norm", "gelu", "silu", "sigmoid", "glu", "tanh"),
}
OTHERS, BETWEEN = "other operators", "between operators"


def kind(name: str) -> str:
    """What an operator, or the node that runs its backward, is counted as."""
    plain = name.lower().replace("_", "")
    return next((k for k, parts in KINDS.items() if any(part in plain for part in parts)), OTHERS)


def outermost(events: list[FunctionEvent]) -> list[FunctionEvent]:
    """Operators, and nodes of the backward, that no other one called."""
    found, ends = [], -1.0
    for event in sorted(events, key=lambda one: (one.time_range.start, -one.time_range.end)):
        if "::" in event.name and event.time_range.start >= ends:
            found.append(event)
            ends = event.time_range.end
    return found


def step_times(step: Step) -> dict[str, float]:
    """Milliseconds of one step, by kind."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        begins = time.perf_counter()
        step()
        whole = 1e3 * (time.perf_counter() - begins)
    spent: dict[str, float] = defaultdict(float)
    for event in outermost(list(profile.events())):
        spent[kind(event.name)] += event.time_range.elapsed_us() / 1e3
    return {**spent, BETWEEN: whole - sum(spent.values()), "whole": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", nargs="?", default="wav2vec2-base")
    parser.add_argument("--adapters", nargs="+", default=["mambadapter_longconv", "lora"])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    add_json(parser)
    arguments = parser.parse_args()
    settings = {"family": arguments.family, "clips": arguments.clips, "seconds": arguments.seconds}
    output = Output(arguments.json, **settings)
    output.say(", ".join(f"{name} {value}" for name, value in settings.items()))
    for name in arguments.adapters:
        config = architecture_config(arguments.family)
        step = random_step(config, MENU[name], arguments.clips, arguments.seconds)
        taken = [step_times(step) for _ in range(WARMUP + STEPS)][WARMUP:]
        kinds = [*KINDS, OTHERS, BETWEEN]
        median = {k: statistics.median(one.get(k, 0.0) for one in taken) for k in [*kinds, "whole"]}
        output.keep(name, **median)
        output.say(f"\n{name}: {median['whole']:.0f} ms")
        for each in kinds:
            output.say(
                f"  {each:28}{median[each]:9.1f} ms{100 * median[each] / median['whole']:7.1f} %"
            )
    output.close()


if __name__ == "__main__":
    sys.exit(main())
