"""What each method costs at inference: a folded encoder beside the bare frozen one, one clip of 5 s.

    python benchmarks/speed/inference.py [ARCHITECTURE ...] [--rounds N] [--json]

The published shapes with random weights, which change no time; default wav2vec2-base and the one in the box.
One thread, and processor time, so that other processes cost a call little; a round calls the bare encoder and
the adapted one in turn, and the overhead is the median over rounds of the ratio of the two.
"""

import argparse
import statistics
import sys
import time

import torch
from output import Output, add_json
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import encoder_of, frontend_of
from mambadapter.encoders.stack import Unadapted
from mambadapter.methods import MENU

SECONDS, WARMUP = 5, 3
PARTS = 4  # of a round, to give a spread


def encoder(architecture: str, method) -> AdaptedEncoder:
    torch.manual_seed(0)
    config = architecture_config(architecture)
    adapted = AdaptedEncoder(
        encoder_of(AutoModel.from_config(config).float()), method, frontend_of(config)
    )
    return adapted.eval()


def call(module: AdaptedEncoder, wavs: torch.Tensor) -> float:
    start = time.process_time()
    module(wavs)
    return time.process_time() - start


@torch.inference_mode()
def overhead(bare: AdaptedEncoder, adapted: AdaptedEncoder, rounds: int) -> tuple[float, ...]:
    """Median milliseconds of both, and quartiles of their ratio."""
    wavs = 0.1 * torch.randn(1, SECONDS * bare.sample_rate)
    pairs = []
    for turn in range(WARMUP + rounds):
        order = (bare, adapted) if turn % 2 else (adapted, bare)
        times = {id(module): call(module, wavs) for module in order}
        if turn >= WARMUP:
            pairs.append((times[id(bare)], times[id(adapted)]))
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=PARTS)
    ours, theirs = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    return ours, theirs, low, middle, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=["wav2vec2-base", "box"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--methods", nargs="*", default=list(MENU))
    add_json(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    output = Output(arguments.json, seconds=SECONDS, rounds=arguments.rounds)
    output.say(f"one clip of {SECONDS} s, {arguments.rounds} rounds, in turn; median [quartiles]")
    for architecture in arguments.architectures:
        bare = encoder(architecture, Unadapted())
        output.say(f"\n| {architecture} | bare, ms | adapted, ms | not folded, % | folded, % |")
        output.say("| --- | ---: | ---: | ---: | ---: |")
        for name in arguments.methods:
            adapted = encoder(architecture, MENU[name])
            *_, before, _ = overhead(bare, adapted, arguments.rounds)
            adapted.fold()
            ours, theirs, *quartiles = overhead(bare, adapted, arguments.rounds)
            low, middle, high = (100 * (ratio - 1) for ratio in quartiles)
            output.keep(
                architecture, name, bare_ms=ours, adapted_ms=theirs, not_folded=before - 1,
                folded=middle / 100, folded_quartiles=[low / 100, high / 100],
            )  # fmt: skip
            output.say(
                f"| {name} | {ours:.1f} | {theirs:.1f} | {100 * (before - 1):+.1f} | "
                f"{middle:+.1f} [{low:+.1f}, {high:+.1f}] |"
            )
    output.close()


if __name__ == "__main__":
    sys.exit(main())
