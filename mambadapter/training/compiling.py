"""An encoder through torch.compile: a layer compiled once and reused, or the whole of it with CUDA graphs."""

import logging
import math
import time
import weakref
from collections.abc import Callable
from types import MethodType
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
        self.clock = CompileClock()
        self._device = device

    def start(self, encoder: AdaptedEncoder) -> None:
        """Compile, when it is first called; the modules stay the same."""
        if self.way == "off":
            return
        import torch._inductor.config  # which takes seconds

        torch._dynamo.config.recompile_limit = _GRAPHS
        # With the forward, where `run` catches what cannot be compiled; by itself not before it is needed.
        torch._functorch.config.force_non_lazy_backward_lowering = True
        torch._inductor.config.fallback_random = True  # dropout draws what it draws without
        self.clock.start()
        options: dict[str, Any] = {"fullgraph": True, "dynamic": True, "backend": _BACKEND}
        if self.way == "layers":
            # Without the hooks on a layer, by which transformers collects outputs.
            for layer in encoder.layers:
                layer.forward = MethodType(torch.compile(type(layer).forward, **options), layer)
            return
        if self._device.type == "cuda":
            options["mode"] = "reduce-overhead"
        encoder.compile(**options)
        logger.info(
            "Clips are padded to one of %d lengths an octave: at most %.1f %% of a batch is added.",
            _STEPS, 100 * (1 - 2 ** (-1 / _STEPS)),
        )  # fmt: skip

    def pad(
        self, wavs: Tensor, lens: Tensor | None, longest: float = math.inf
    ) -> tuple[Tensor, Tensor | None]:
        """(B, S) waveforms to the next of few lengths, at most `longest`, and their (B,) relative lengths."""
        if self.way != "step" or wavs.shape[1] >= longest:
            return wavs, lens
        longer = int(min(padded_length(wavs.shape[1]), longest))
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
            return forward(*self.pad(wavs, lens, encoder.frontend.longest))
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
        encoder._compiled_call_impl = None
        for layer in encoder.layers:
            vars(layer).pop("forward", None)
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        logger.warning("compile: off from here on, since torch.compile failed (%s).", reason)

    def report(self) -> None:
        """Say what compiling took since this was last said."""
        if self.clock.graphs:
            logger.info("Compiled %d graphs in %.1f s.", self.clock.graphs, self.clock.seconds)
            self.clock.reset()


class CompileClock:
    """Counts graphs that torch.compile makes in this process, and the seconds that they take."""

    def __init__(self) -> None:
        self._runs = False
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.seconds, self.graphs = 0.0, 0

    def start(self) -> None:
        """From now on, for as long as this clock is used."""
        if self._runs:
            return
        self._runs = True
        clock, began = weakref.ref(self), [0.0]

        def begins(_: Any) -> None:
            began[0] = time.perf_counter()

        def ends(_: Any) -> None:
            if (counting := clock()) is not None:
                counting.seconds += time.perf_counter() - began[0]
                counting.graphs += 1

        handler = torch._dynamo.callback.callback_handler
        handler.register_start_callback(begins)
        handler.register_end_callback(ends)
        for registered, callback in (
            (handler.start_callbacks, begins),
            (handler.end_callbacks, ends),
        ):
            weakref.finalize(self, _remove, registered, callback)


def _remove(callbacks: list[Any], one: Any) -> None:
    if one in callbacks:  # torch._dynamo.reset removes them all
        callbacks.remove(one)


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
