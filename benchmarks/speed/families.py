"""A training step of every family: MambAdapter beside the linear probe and full fine-tuning.

    python benchmarks/speed/families.py [--json]

The published shapes with random weights, which change no time. Of one family all methods run in this
process, in turn, on 2 clips of 5 s.
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import torch
from output import Output, add_json
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.cost.memory import kept_mib, learning_mib
from mambadapter.cost.step import Step
from mambadapter.cost.timing import alternate
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.encoders.families import encoder_of, frontend_of
from mambadapter.heads import PooledClassifier
from mambadapter.methods import FullFinetuning, LinearProbe, MambAdapters

CLIPS, SECONDS, TOKENS = 2, 5, 20
ROUNDS = 3
CLASSES = 50

METHODS = {
    "linear probe": LinearProbe(),
    "MambAdapter": MambAdapters(),
    "full fine-tuning": FullFinetuning(),
}


@dataclass(frozen=True)
class Family:
    """An architecture and the settings of its frontend; with its decoder, which stays frozen, or without."""

    architecture: str
    settings: dict[str, Any]
    decoder: bool = False


FAMILIES = {
    "wav2vec2-base": Family("wav2vec2-base", {}),
    "wavlm-base": Family("wavlm-base", {}),
    "AST, 5 s": Family("ast", {"max_length": 100 * SECONDS}),
    "Whisper-small's encoder, as long as the clips": Family("whisper-small", {"padding": "clip"}),
    "Whisper-small's encoder, 30 s": Family("whisper-small", {"padding": "full"}),
    "Whisper-small, as long as the clips": Family(
        "whisper-small", {"padding": "clip"}, decoder=True
    ),
}


def step(family: Family, method: Any) -> Step:
    torch.manual_seed(0)
    config = architecture_config(family.architecture)
    model = AutoModel.from_config(config)
    frontend = frontend_of(config, settings=family.settings)
    encoder = AdaptedEncoder(encoder_of(model), method, frontend)
    head = (
        AdaptedDecoder(model.decoder, LinearProbe(norms="none"), [1, 2, 3], 4)
        if family.decoder
        else PooledClassifier(encoder.width, CLASSES)
    )
    return Step(encoder, head, CLIPS, SECONDS, tokens=TOKENS if family.decoder else 0)


def measure(family: Family) -> dict[str, tuple[float, float]]:
    """Milliseconds of a step and MiB it keeps, of every method."""
    steps = {name: step(family, method) for name, method in METHODS.items()}
    milliseconds = alternate(steps, ROUNDS, warmup=1)
    return {
        name: (milliseconds[name], kept_mib(of.forward, of.modules) + learning_mib(of.learning))
        for name, of in steps.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A training step of every family.")
    add_json(parser)
    output = Output(parser.parse_args().json, clips=CLIPS, seconds=SECONDS, rounds=ROUNDS)
    output.say(
        f"{CLIPS} clips of {SECONDS} s; memory: activations kept, gradients and AdamW's moments"
    )
    output.say(
        f"\n| family | {' | '.join(f'{name}, ms | MiB' for name in METHODS)} | "
        "full / MambAdapter: time | memory | MambAdapter / probe: time | memory |"
    )
    output.say("|" + " --- |" + " ---: |" * (2 * len(METHODS) + 4))
    for name, family in FAMILIES.items():
        measured = measure(family)
        probe, ours, full = (measured[method] for method in METHODS)
        numbers = [f"{number:.0f}" for pair in measured.values() for number in pair]
        ratios = [
            a / b for pair in ((full, ours), (ours, probe)) for a, b in zip(*pair, strict=True)
        ]
        for method, (milliseconds, mib) in measured.items():
            output.keep(name, method, milliseconds=milliseconds, mib=mib)
        output.say(f"| {name} | {' | '.join([*numbers, *(f'{ratio:.2f}' for ratio in ratios)])} |")
    output.close()


if __name__ == "__main__":
    sys.exit(main())
