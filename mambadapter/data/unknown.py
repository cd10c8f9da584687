"""Clips of none of the classes, by which a classifier's threshold is measured."""

from collections.abc import Mapping
from pathlib import Path

from speechbrain.dataio.dataset import DynamicItemDataset

from mambadapter.data.audio import audio_pipeline, inspect_clips
from mambadapter.data.own.folders import audio_files
from mambadapter.data.own.splits import same_audio
from mambadapter.errors import UserError


def unknown_dataset(
    folder: str | Path,
    known: Mapping[str, DynamicItemDataset],
    sample_rate: int,
    channel: int | None = None,
    skip_unusable: bool = False,
) -> DynamicItemDataset:
    """Make a SpeechBrain dataset of the audio in a folder, at any depth; its ``label_index`` is -1.

    Raises
    ------
    UserError
        If there is none, or one is also in a `known` dataset, or cannot be used and is not skipped.
    """
    if not Path(folder).is_dir():
        raise UserError(
            f"unknown_folder: there is no folder {folder}; give one with clips of none of the classes."
        )
    paths = [path.resolve() for path in audio_files(Path(folder))]
    if not paths:
        raise UserError(
            f"unknown_folder: there is no audio in {folder}; give clips of none of the classes."
        )
    used = {Path(entry["wav"]) for dataset in known.values() for entry in dataset.data.values()}
    listed = [*paths, *used]
    digests = {listed[n]: one for n, one in same_audio(len(listed), listed.__getitem__).items()}
    known_digests = {digests[path] for path in used if path in digests}
    copies = (path for path in paths if path in used or digests.get(path) in known_digests)
    if both := next(copies, None):
        raise UserError(
            f"unknown_folder: {both} is a clip of one of the classes; give a folder with clips of none."
        )
    clips, _ = inspect_clips(paths, sample_rate, skip_unusable)
    entries = {
        str(clip.path): {"wav": str(clip.path), "start": None, "end": None, "label_index": -1}
        for clip in clips
    }
    pipeline = [audio_pipeline(sample_rate, channel, segments=True)]
    return DynamicItemDataset(entries, pipeline, ["id", "signal", "label_index"])
