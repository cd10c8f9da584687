"""A whole training step on a CPU: this package's beside the naive one, in one process, in turn.

    python benchmarks/speed/training_step.py [FAMILY ...] [--rounds N] [--one-thread] [--json]

Naive is what a first script does: `requires_grad_(False)`, train mode, a scan in plain PyTorch, float32.
`kept` has read what is frozen below the first branch from disk, as every epoch after the first does. 4 clips
of 5 s; the weights are random, which changes no time, and methods are as the menu has them; bfloat16 where
oneDNN has it, from AVX-512 on. With --one-thread it is processor time that counts, to which other programs
add little.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from output import Output, add_json
from peers import PEFT, Peft, has_peft
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.cost.memory import kept_mib
from mambadapter.cost.step import Step
from mambadapter.cost.timing import alternate
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.heads import PooledClassifier
from mambadapter.methods import MENU

CLIPS, SECONDS, CLASSES = 4, 5, 35
FAMILIES = ("wav2vec2-base", "wavlm-base")
NAIVE, OURS = "naive", "mambadapter"


@dataclass(frozen=True)
class Way:
    """How a step is made: a method of the menu, in bfloat16, with what is frozen read from disk."""

    method: str = OURS
    bf16: bool = False
    kept: bool = False

    @property
    def name(self) -> str:
        how = [word for word, on in (("bf16", self.bf16), ("kept", self.kept)) if on]
        return ", ".join([self.method, *how])


WAYS = [
    *(
        Way(OURS, bf16, kept)
        for bf16 in (False, True)
        for kept in (False, True)
    ),
    *(
        Way(method, kept=kept)
        for method in ("lora", "conformer", "bottleneck", "linear_probe")
        for kept in (False, True)
    ),
    Way("full_finetuning"),
]  # fmt: skip


def naive(family: str) -> Step:
    """Its front end learns nothing, and yet is in the graph."""
    torch.manual_seed(0)
    config = architecture_config(family)
    config.apply_spec_augment, config.layerdrop = True, 0.0
    model = AutoModel.from_config(config, dtype=torch.float32)
    encoder = AdaptedEncoder(model, MENU[OURS])
    model.feature_extractor._requires_grad = True
    for module in model.modules():
        vars(module).pop("forward", None)  # transformers' and PyTorch's own again
    head = PooledClassifier(encoder.width, CLASSES)
    made = Step(encoder, head, CLIPS, SECONDS, lr=1e-3, backend="reference")
    model.train()
    return made


def step(checkpoint: SharedCheckpoint, way: Way, folder: Path) -> Step:
    torch.manual_seed(0)
    encoder = checkpoint.encoder(MENU[way.method], {})
    if way.kept:
        encoder.keep_frozen(folder, 1e9)
    head = PooledClassifier(encoder.width, CLASSES)
    return Step(encoder, head, CLIPS, SECONDS, lr=1e-3, half=way.bf16)


def compare(family: str, rounds: int, clock, folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of a step, what it keeps for the backward, and how much shorter than naive it is."""
    config = architecture_config(family)
    AutoModel.from_config(config, dtype=torch.float32).save_pretrained(folder / "checkpoint")
    checkpoint = SharedCheckpoint(
        str(folder / "checkpoint")
    )  # a copy for each way would fill a laptop
    steps = {NAIVE: naive(family)}
    # Without oneDNN's help such a step takes minutes.
    onednn = torch.backends.mkldnn.is_available()
    half = onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    ways = [way for way in WAYS if half or not way.bf16]
    steps |= {way.name: step(checkpoint, way, folder / "kept") for way in ways}
    # Where attention reads the weights past their modules, PEFT's change would do nothing.
    if has_peft() and config.model_type != "wavlm":
        peers = Peft(AutoModel.from_config(config, dtype=torch.float32))
        head = PooledClassifier(peers.width, CLASSES)
        steps[PEFT] = Step(peers, head, CLIPS, SECONDS, lr=1e-3)
    milliseconds = alternate(steps, rounds, warmup=1, clock=clock)
    return {
        name: {
            "milliseconds": milliseconds[name],
            "naive_over_it": milliseconds[NAIVE] / milliseconds[name],
            "kept_activations_mib": kept_mib(one.forward, one.modules),
        }
        for name, one in steps.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A training step on a CPU, beside the naive one.")
    parser.add_argument("families", nargs="*", default=FAMILIES, metavar="FAMILY")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-thread", action="store_true")
    add_json(parser)
    arguments = parser.parse_args()
    clock = time.perf_counter
    if arguments.one_thread:
        torch.set_num_threads(1)
        clock = time.process_time
    measured = "processor" if arguments.one_thread else "wall"
    output = Output(
        arguments.json, clips=CLIPS, seconds=SECONDS, rounds=arguments.rounds, clock=measured
    )
    output.say(f"{CLIPS} clips of {SECONDS} s, the menu's sizes, {measured} time")
    for family in arguments.families:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(family, arguments.rounds, clock, Path(folder))
        output.say(f"\n{family:26}{'step, ms':>10}{'naive / it':>12}{'kept activations, MiB':>24}")
        for name, row in found.items():
            output.keep(family, name, **row)
            output.say(
                f"{name:26}{row['milliseconds']:10.0f}{row['naive_over_it']:12.2f}"
                f"{row['kept_activations_mib']:24.0f}"
            )
    output.close()


if __name__ == "__main__":
    sys.exit(main())
