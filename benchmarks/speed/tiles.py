"""On a GPU: which tiles of frames, channels and warps suit the scan.

    python benchmarks/speed/tiles.py

Each call is replayed from a CUDA graph, so only the GPU's own time counts.
"""

import argparse
import sys
from collections.abc import Callable
from statistics import median

import torch
from gpu import DEVICE, backward
from output import Output, add_json
from scans import scan_inputs
from torch import Tensor

from mambadapter.ssm.backends.triton import backend as gpu

SHAPES = [(32, 250, 24, 16), (16, 1500, 48, 16)]
TILES = [  # channels, frames, warps
    (1, 64, 2), (1, 128, 2), (1, 128, 4), (1, 256, 4), (1, 256, 8),
    (2, 32, 2), (2, 64, 2), (2, 64, 4), (2, 128, 4), (2, 128, 8),
    (4, 16, 2), (4, 32, 2), (4, 32, 4), (4, 64, 4), (4, 64, 8),
    (8, 16, 4), (8, 32, 4), (8, 32, 8),
]  # fmt: skip
REPLAYS = 5


def use(width: int, frames: int, warps: int) -> None:
    """Give every scan from now on these tiles."""

    def tiles(u: Tensor, A: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
        grid = (u.shape[0], -(-A.shape[0] // width))
        return grid, {
            "FRAMES": frames, "CHANNELS": width, "STATES": A.shape[1], "num_warps": warps,
        }  # fmt: skip

    gpu._scan_tiles = tiles


def microseconds(function: Callable[[], object], calls: int = 10) -> float:
    """Of one call on the GPU: the median of a graph's replays."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    times = []
    for _ in range(REPLAYS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(1e3 * start.elapsed_time(end) / calls)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_json(parser)
    output = Output(parser.parse_args().json, DEVICE, clock="GPU time only")
    for shape in SHAPES:
        inputs = scan_inputs(shape, DEVICE)
        plain = tuple(x.detach() for x in inputs)
        for tile in TILES:
            use(*tile)
            forward = microseconds(lambda: gpu.selective_scan(*plain))  # noqa: B023
            both = microseconds(lambda: backward(gpu.selective_scan, inputs))  # noqa: B023
            output.keep(str(shape), str(tile), forward_us=forward, forward_backward_us=both)
            output.say(
                f"{shape} C {tile[0]} F {tile[1]} warps {tile[2]} "
                f"fwd {forward:.1f} us, fwd+bwd {both:.1f} us"
            )
    output.close()


if __name__ == "__main__":
    sys.exit(main())
