"""The convolutions in front of wav2vec2-base, computed in several ways, in one process, in turn.

    python benchmarks/speed/front_end.py [--rounds N] [--bf16] [--device cpu|cuda] [--json]

Forward alone, without gradients, as a frozen front end runs: 4 clips of 5 s, convolutions and activations,
without the first one's GroupNorm. `as the package has it` are the encoder's own modules. The rest is what
they could be: the same with two dimensions, channels last in memory; and a matrix product of each window's
frames, of which a kernel as long as its stride copies nothing. The weights are random, which changes no time.
"""

import argparse
import sys
from functools import partial

import torch
import torch.nn.functional as F
from output import Output, add_json
from torch import Tensor, nn
from transformers import AutoModel

from mambadapter.budget.count import architecture_config
from mambadapter.cost.timing import alternate
from mambadapter.encoders.linear import compute_faster

CLIPS, SECONDS = 4, 5


def as_it_is(convolutions: list[nn.Conv1d], wavs: Tensor) -> Tensor:
    """(B, S) to (B, C, T)."""
    hidden = wavs[:, None]
    for convolution in convolutions:
        hidden = F.gelu(convolution(hidden))
    return hidden


def channels_last(convolutions: list[nn.Conv1d], weights: list[Tensor], wavs: Tensor) -> Tensor:
    """The same of images one pixel high, whose channels are neighbours in memory."""
    hidden = wavs[:, None, None].contiguous(memory_format=torch.channels_last)
    for convolution, weight in zip(convolutions, weights, strict=True):
        stride = (1, convolution.stride[0])
        hidden = F.gelu(F.conv2d(hidden, weight, convolution.bias, stride))
    return hidden[:, :, 0]


def products(convolutions: list[nn.Conv1d], weights: list[Tensor], wavs: Tensor) -> Tensor:
    """The same as a matrix product of (B, T, C), whose windows lie in memory as they are read."""
    hidden = wavs[..., None]
    for convolution, weight in zip(convolutions, weights, strict=True):
        (taps,), (stride,), channels = convolution.kernel_size, convolution.stride, hidden.shape[2]
        frames = (hidden.shape[1] - taps) // stride + 1
        strides = (hidden.stride(0), stride * channels, 1)
        windows = hidden.as_strided((len(hidden), frames, taps * channels), strides)
        hidden = F.gelu(F.linear(windows, weight, convolution.bias))
    return hidden.mT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="cpu")
    add_json(parser)
    arguments = parser.parse_args()
    output = Output(arguments.json, arguments.device, clips=CLIPS, seconds=SECONDS)
    torch.manual_seed(0)
    model = AutoModel.from_config(architecture_config("wav2vec2-base")).requires_grad_(False)
    model.to(arguments.device, torch.bfloat16 if arguments.bf16 else torch.float32)
    compute_faster(model)
    convolutions = [layer.conv for layer in model.feature_extractor.conv_layers]
    images = [
        c.weight[:, :, None].contiguous(memory_format=torch.channels_last) for c in convolutions
    ]
    matrices = [c.weight.mT.flatten(1).contiguous() for c in convolutions]
    wavs = torch.randn(CLIPS, SECONDS * 16000, device=arguments.device, dtype=model.dtype)
    ways = {
        "as the package has it": partial(as_it_is, convolutions, wavs),
        "channels last": partial(channels_last, convolutions, images, wavs),
        "matrix products": partial(products, convolutions, matrices, wavs),
    }
    expected = ways["as the package has it"]().float()
    for name, way in ways.items():
        error = ((way().float() - expected).norm() / expected.norm()).item()
        assert error < (0.02 if arguments.bf16 else 1e-4), (
            f"{name} computes something else: {error}"
        )

    def finished(way) -> None:
        way()
        if arguments.device != "cpu":
            torch.cuda.synchronize()

    taken = alternate(
        {name: partial(finished, way) for name, way in ways.items()}, arguments.rounds
    )
    for name, milliseconds in taken.items():
        ratio = milliseconds / taken["as the package has it"]
        output.keep(name, ms=milliseconds, ratio=ratio)
        output.say(f"{name:24}{milliseconds:9.1f} ms{ratio:7.2f}")
    output.close()


if __name__ == "__main__":
    sys.exit(main())
