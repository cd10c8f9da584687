"""The formats, by name."""

from collections.abc import Callable
from pathlib import Path

from mambadapter.errors import UserError, did_you_mean
from mambadapter.export.graph import write_onnx
from mambadapter.export.loaded import Loaded
from mambadapter.export.low_rank import write_peft
from mambadapter.export.plain import write_plain
from mambadapter.utils.files import whole_folder

# Each writes into a folder, and returns what loads it.
FORMATS: dict[str, Callable[[Loaded, Path], str]] = {
    "transformers": write_plain,
    "peft": write_peft,
    "onnx": write_onnx,
}


def export_package(
    package: str | Path, destination: str | Path, to: str, source: str | None = None
) -> str:
    """Write a trained adapter in a format that needs no `mambadapter`.

    Parameters
    ----------
    package : str or Path
        A run's output folder, or the ``adapter`` folder in it.
    destination : str or Path
        A folder that is not there yet, or is empty; it appears whole or not at all.
    to : str
        ``transformers``: the whole model as a checkpoint, for transformers' Auto classes.
        ``peft``: LoRA or DoRA in PEFT's format, beside the encoder.
        ``onnx``: a graph from waveforms of any length to scores, of every method that torch's exporter takes.
    source : str, optional
        Where the frozen encoder is now, if not where it was.

    Returns
    -------
    str
        What loads it.

    Raises
    ------
    UserError
        If the format has no place for the method or its head, or the destination is taken.

    Example
    -------
    >>> export_package("results/run", "checkpoint", "transformers")  # doctest: +SKIP
    "AutoModelForAudioClassification.from_pretrained('checkpoint')"
    """
    if to not in FORMATS:
        raise UserError(f"--to {to} is no format; {did_you_mean(to, FORMATS)}.")
    destination = Path(destination).expanduser()
    with whole_folder(destination) as folder:
        return FORMATS[to](Loaded.of(package, source), folder).format(folder=destination)
