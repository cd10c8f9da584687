"""Read audio of any format as mono waveforms at one rate, and find unusable files before training."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import soundfile
import speechbrain as sb
from speechbrain.dataio.dataio import read_audio
from torch import Tensor
from torchaudio.transforms import Resample

from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

# One frame of wav2vec2, HuBERT and WavLM: 400 samples at 16 kHz.
SHORTEST_SECONDS = 0.025


@dataclass(frozen=True)
class Clip:
    """A usable audio file.

    Attributes
    ----------
    path : Path
        The file.
    seconds : float
        Duration.
    sample_rate : int
        Hz, as stored.
    channels : int
        As stored.
    """

    path: Path
    seconds: float
    sample_rate: int
    channels: int


def read_clip(path: str | Path, sample_rate: int) -> Tensor:
    """Read an audio file: channels averaged, resampled.

    Returns (T,).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no audio file {path}.")
    try:
        stored_rate = soundfile.info(path).samplerate
        wav = read_audio(str(path)).float()
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"{path} cannot be decoded ({error}); delete it or get it again."
        ) from error
    if wav.dim() == 2:
        wav = wav.mean(1)
    if wav.numel() == 0:
        raise UserError(f"{path} holds no samples; delete it or get it again.")
    if not wav.isfinite().all():
        raise UserError(f"{path} holds samples that are not finite; delete it or get it again.")
    return wav if stored_rate == sample_rate else _resampler(stored_rate, sample_rate)(wav)


def audio_pipeline(sample_rate: int) -> sb.utils.data_pipeline.DynamicItem:
    """Make the SpeechBrain dynamic item that reads ``signal`` (T,) from ``wav``, a path."""

    @sb.utils.data_pipeline.takes("wav")
    @sb.utils.data_pipeline.provides("signal")
    def read(wav: str) -> Tensor:
        return read_clip(wav, sample_rate)

    return read


def inspect_clips(
    paths: Iterable[Path], sample_rate: int, skip_unusable: bool = False
) -> list[Clip]:
    """Read the headers of many files, and refuse those that would fail hours later."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:
        looked = list(pool.map(_look, paths, chunksize=64))
    usable = [clip for clip in looked if isinstance(clip, Clip)]
    bad = [
        f"{path}: {what}" for path, what in zip(paths, looked, strict=True) if isinstance(what, str)
    ]
    if bad:
        shown = "\n  ".join(bad[:5]) + ("\n  ..." if len(bad) > 5 else "")
        if not skip_unusable:
            raise UserError(
                f"{len(bad)} of {len(paths)} audio files are unusable:\n  {shown}\n"
                "Delete them or get them again, or set skip_unusable_audio: true to leave them out."
            )
        logger.warning("Left out %d of %d unusable audio files:\n  %s", len(bad), len(paths), shown)
    many_channels = sum(clip.channels > 1 for clip in usable)
    if many_channels:
        logger.info("%d files have several channels: they are averaged.", many_channels)
    other_rate = sum(clip.sample_rate != sample_rate for clip in usable)
    if other_rate:
        logger.info("%d files are not at %d Hz: they are resampled.", other_rate, sample_rate)
    return usable


def _look(path: Path) -> Clip | str:
    """What a header says, or what is wrong with it."""
    if not path.is_file():
        return "missing"
    if path.stat().st_size == 0:
        return "empty"
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return "corrupt: not audio that can be decoded"
    if info.frames == 0:
        return "empty: a header without samples"
    if info.duration < SHORTEST_SECONDS:
        return f"too short: {1000 * info.duration:.1f} ms, one encoder frame is 25 ms"
    if _truncated(path):
        return "corrupt: shorter than its header says"
    return Clip(path, info.duration, info.samplerate, info.channels)


def _truncated(path: Path) -> bool:
    """Whether a RIFF file ends before the size in its header; libsndfile shrugs that off."""
    with path.open("rb") as file:
        header = file.read(8)
    if header[:4] != b"RIFF":
        return False
    size = int.from_bytes(header[4:], "little")
    # Streaming writers leave 0 or the largest number for "unknown".
    return 0 < size < 0xFFFFFFFF - 8 and path.stat().st_size < size + 8


@cache
def _resampler(stored_rate: int, sample_rate: int) -> Resample:
    return Resample(stored_rate, sample_rate)
