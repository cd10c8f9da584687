"""An ONNX graph, from waveforms to the head's scores."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.errors import UserError, first_line
from mambadapter.export.loaded import Loaded
from mambadapter.utils.files import write_json

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_FILE = "model.onnx"
_TOLERANCE = 1e-3
_SURENESS = (
    "calibration",
    "thresholds",
)  # of a package, by which scores become what `predict` says
# Seconds of the clips of the batches by which the written graph is compared.
_BATCHES = ((1.0,), (1.3, 0.6), (0.5, 0.5, 0.4))


class _Whole(nn.Module):
    """An encoder and its head: waveforms and valid samples to scores and valid frames."""

    def __init__(self, encoder: AdaptedEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, waveforms: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S), (B,) to (B, classes) or (B, T, tokens), and (B,)."""
        hidden, frames = self.encoder(waveforms, samples.double() / waveforms.shape[1])
        return self.head(hidden, frames), frames


def write_onnx(loaded: Loaded, folder: Path) -> str:
    """Write the graph and what its inputs and outputs are, and compare it to this package."""
    if isinstance(loaded.head, AdaptedDecoder):
        raise UserError(
            "A Whisper writes token by token, which is more than one graph; export it --to transformers."
        )
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise UserError(
            f"--to onnx needs the package {missing[0]}; pip install 'mambadapter[export]'."
        )
    loaded.fold()
    whole = _Whole(loaded.encoder, loaded.head).eval()
    dynamic = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.no_grad():
            program = torch.export.export(
                whole,
                _batch(_BATCHES[1], loaded.encoder.sample_rate),
                dynamic_shapes={"waveforms": {0: dynamic, 1: dynamic}, "samples": {0: dynamic}},
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            graph = torch.onnx.export(
                program, output_names=["scores", "frames"], dynamo=True, verbose=False
            )
        assert graph is not None
        graph.save(folder / _FILE)
    except Exception as error:  # whatever the exporter, or one of its many passes, raises
        raise UserError(
            f"torch's exporter does not take the graph of {loaded.method} on {loaded.family} with "
            f"{type(loaded.head).__name__} ({type(error).__name__}: {first_line(error)})."
        ) from error
    _compare(whole, folder / _FILE, loaded)
    about: dict[str, Any] = {
        "task": loaded.card["task"],
        "labels": loaded.card["labels"],
        **{one: loaded.card[one] for one in _SURENESS if one in loaded.card},
        "sample_rate": loaded.encoder.sample_rate,
        "inputs": {
            "waveforms": "float32 (B, S), padded on the right with zeros",
            "samples": "int64 (B,), valid samples of each",
        },
        "outputs": {"scores": "logits", "frames": "int64 (B,), valid frames of each"},
    }
    write_json(folder / "about.json", about)
    return f"onnxruntime.InferenceSession('{{folder}}/{_FILE}')"


def _batch(seconds: tuple[float, ...], rate: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    samples = torch.tensor([round(rate * length) for length in seconds])
    clips = [0.1 * torch.randn(count, generator=generator) for count in samples.tolist()]
    return nn.utils.rnn.pad_sequence(clips, batch_first=True), samples


def _compare(whole: nn.Module, path: Path, loaded: Loaded) -> None:
    """Refuse a graph that computes something else."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path))
    for seconds in _BATCHES:
        waveforms, samples = _batch(seconds, loaded.encoder.sample_rate)
        with torch.no_grad():
            scores, frames = whole(waveforms, samples)
        inputs = {"waveforms": waveforms.numpy(), "samples": samples.numpy()}
        found, counted = (torch.from_numpy(array) for array in session.run(None, inputs))
        for clip, count in enumerate(frames.tolist()):
            valid = slice(count if scores.dim() == 3 else None)
            same = torch.allclose(found[clip, valid], scores[clip, valid], _TOLERANCE, _TOLERANCE)
            if not same or counted[clip] != count:
                raise UserError(
                    f"The ONNX graph of {loaded.method} on {loaded.family} computes something else "
                    "than this package, so it is not kept."
                )
