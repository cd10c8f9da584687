"""What branches read and emit before training, layer by layer: standard deviations on some clips.

"stream" is what the LayerNorm in front reads: in a pre-norm encoder, what a branch's output is added to.

    python benchmarks/evidence/scales.py mambadapter/box /data/fluent_speech_commands_dataset/wavs

The encoder is a hub name, a folder or the one in the box; the clips are the first eight below the folder.
"""

import sys
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from mambadapter.data.audio import read_clip
from mambadapter.encoders import AdaptedEncoder
from mambadapter.methods import MENU

METHODS = ("mambadapter", "mambadapter_longconv")
CLIPS = 8


def main(source: str, folder: str) -> None:
    """Print a table for each method."""
    clips = [read_clip(path, 16000) for path in islice(sorted(Path(folder).rglob("*.wav")), CLIPS)]
    for name in METHODS:
        torch.manual_seed(1)
        encoder = AdaptedEncoder.from_pretrained(source, MENU[name]).eval()
        print(f"\n{name} on {source}: W_down's weights {std(weights(encoder)):.3f}")
        print(f"{'layer':>5}{'stream':>10}{'input':>10}{'W_down emits':>14}{'block emits':>13}")
        for layer, (stream, read, low, block) in enumerate(measured(encoder, clips)):
            print(f"{layer:>5}{stream:>10.2f}{read:>10.2f}{low:>14.3f}{block:>13.4f}")


def weights(encoder: AdaptedEncoder) -> Tensor:
    """Of the W_down that all branches share."""
    return next(iter(encoder.branches.values())).down.weight


def measured(encoder: AdaptedEncoder, clips: list[Tensor]) -> list[list[float]]:
    """For each branch the deviations of the stream, of what enters it, what W_down and the block emit."""
    seen: dict[nn.Module, list[Tensor]] = {}
    stream: list[Tensor] = []

    def keep(branch: nn.Module, args: tuple) -> None:
        low = branch.low(args[0])
        now = [stream[-1], args[0], low, branch.mamba(low)]
        before = seen.get(branch, [tensor[:, :0] for tensor in now])
        seen[branch] = [torch.cat(pair, 1) for pair in zip(before, now, strict=True)]

    for branch in encoder.branches.values():
        branch.register_forward_pre_hook(keep)
    for place in encoder.sublayers:
        place.norm.register_forward_pre_hook(lambda _, args: stream.append(args[0]))
    with torch.no_grad():
        for clip in clips:
            encoder(clip[None])
    return [[std(tensor) for tensor in seen[branch]] for branch in encoder.branches.values()]


def std(tensor: Tensor) -> float:
    """Its standard deviation."""
    return float(tensor.detach().std())


if __name__ == "__main__":
    main(*sys.argv[1:])
