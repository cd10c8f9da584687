"""An encoder through torch.compile: a layer compiled once and reused, or the whole of it with CUDA graphs."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mambadapter.encoders import AdaptedEncoder

logger = logging.getLogger(__name__)

_BACKEND = "inductor"
_STEPS = 8  # of the ladder of lengths, in an octave
_RUNG = 16000  # samples, one of its rungs

# Of what graphs there may be of one function before PyTorch gives up: layers, in training and evaluation.
_GRAPHS = 256


class Compilation:
    """How an encoder is compiled, and what that cost.

    Parameters
    ----------
    way : str
        ``off``; ``layers``: each Transformer layer, whose graph serves clips of all lengths; ``step``: all of
        the encoder in one graph, on a GPU replayed from a CUDA graph for each length, of which `pad` leaves
        few; ``auto``: ``layers`` on a GPU, else ``off``.
    device : torch.device
        Where it runs.
    """

    def __init__(self, way: str | bool, device: torch.device) -> None:
        way = way or "off"  # which YAML reads as false
        self.way = ("layers" if device.type == "cuda" else "off") if way == "auto" else way
        self.seconds, self.graphs = 0.0, 0
        self._device, self._began = device, 0.0

    def start(self, encoder: AdaptedEncoder) -> None:
        """Compile, when it is first called; the modules stay the same."""
        if self.way == "off":
            return
        torch._dynamo.config.recompile_limit = _GRAPHS
        torch._dynamo.callback.on_compile_start(self._start_clock)
        torch._dynamo.callback.on_compile_end(self._stop_clock)
        options: dict[str, Any] = {"fullgraph": True, "dynamic": True, "backend": _BACKEND}
        if self.way == "layers":
            for layer in encoder.layers:
                layer.compile(**options)
            return
        if self._device.type == "cuda":
            options["mode"] = "reduce-overhead"
        encoder.compile(**options)
        logger.info(
            "Clips are padded to one of %d lengths an octave: at most %.1f %% of a batch is added.",
            _STEPS, 100 * (1 - 2 ** (-1 / _STEPS)),
        )  # fmt: skip

    def pad(self, wavs: Tensor, lens: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, S) waveforms to the next of few lengths, and their (B,) relative lengths."""
        if self.way != "step":
            return wavs, lens
        longer = padded_length(wavs.shape[1])
        lens = wavs.new_ones(len(wavs)) if lens is None else lens
        padded = F.pad(wavs, (0, longer - wavs.shape[1]))
        return padded, lens.double() * (wavs.shape[1] / longer)

    def run(
        self,
        forward: Callable[..., Any],
        encoder: AdaptedEncoder,
        wavs: Tensor,
        lens: Tensor | None,
    ) -> Any:
        """Call `forward`, which is the encoder or wraps it; what cannot be compiled runs as it is written."""
        if self.way == "off":
            return forward(wavs, lens)
        device = [wavs.device] if wavs.is_cuda else []
        before = torch.get_rng_state(), [torch.cuda.get_rng_state(one) for one in device]
        try:
            return forward(*self.pad(wavs, lens))
        except Exception as error:
            if not cannot_compile(error):
                raise
            self._give_up(encoder, error)
        torch.set_rng_state(before[0])
        for one, state in zip(device, before[1], strict=True):
            torch.cuda.set_rng_state(state, one)
        return forward(wavs, lens)

    def _give_up(self, encoder: AdaptedEncoder, error: Exception) -> None:
        self.way = "off"
        for module in encoder.modules():
            module._compiled_call_impl = None
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        logger.warning("compile: off from here on, since torch.compile failed (%s).", reason)

    def report(self) -> None:
        """Say what compiling took."""
        if self.graphs:
            logger.info("Compiled %d graphs in %.1f s.", self.graphs, self.seconds)
            self.graphs = 0

    def _start_clock(self, _: Any) -> None:
        self._began = time.perf_counter()

    def _stop_clock(self, _: Any) -> None:
        self.seconds += time.perf_counter() - self._began
        self.graphs += 1


def padded_length(samples: int) -> int:
    """The next length of the ladder.

    Example
    -------
    >>> padded_length(16000), padded_length(16001)
    (16000, 17448)
    """
    rung = math.floor(_STEPS * math.log2(samples / _RUNG))
    lengths = (round(_RUNG * 2 ** (step / _STEPS)) for step in range(rung, rung + 3))
    return next(length for length in lengths if length >= samples)


def cannot_compile(error: Exception) -> bool:
    """Whether an error is torch.compile's own, and not of what it ran."""
    from torch._inductor.exc import InductorError

    return isinstance(error, torch._dynamo.exc.TorchDynamoException | InductorError)
