"""The twelve classes of Speech Commands: ten words, the other words as one class, and silence.

As published (Warden 2018, arXiv 1804.03209, and TensorFlow's ``input_data.py``): for every ten clips of the
ten words one of another word and one of silence, rounded up. The published test set,
``speech_commands_test_set_v0.02``, has 4,074 clips of the ten words, 408 ``_unknown_`` and 408 ``_silence_``.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mambadapter.data.audio import inspect_clips
from mambadapter.data.corpora.preparation import SAMPLE_RATE, LabelledFile
from mambadapter.data.corpora.prepared import SPLITS
from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
NOISE = "_background_noise_"

_FOR_EACH = 10  # clips of the ten words one of another word, and one of silence
_SECONDS = 1.0  # of a clip of silence
_STEP = 0.01  # s, from one place where silence may be cut to the next

# What of each recording of noise a split's silence is cut from: none is on two sides.
_PARTS = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}


def twelve_classes(
    root: Path, listed: Mapping[str, Sequence[str]], test_folder: Path | None, seed: int
) -> list[LabelledFile]:
    """The files of each split, and the segments that are silence.

    Parameters
    ----------
    root : Path
        The corpus.
    listed : Mapping[str, Sequence[str]]
        Of each split the names of its clips of all words.
    test_folder : Path, optional
        The published test set, used as it is; None: the test is made of the test's list, as the rest.
    seed : int
        Of what is drawn. The order of names does not matter.

    Returns
    -------
    list[LabelledFile]

    Raises
    ------
    UserError
        If a word is missing, there is too little noise, or the folder is not the published test set.
    """
    words = {_word(name) for names in listed.values() for name in names}
    if absent := [word for word in COMMANDS if word not in words]:
        raise UserError(
            f"classes: 12 needs all of the ten words, and {root} has no {', '.join(absent)}; unpack the "
            "whole corpus, or take --classes 35, which any words will do for."
        )
    splits = [split for split in SPLITS if split != "test" or test_folder is None]
    files, needed = [], {}
    for split in splits:
        wanted = [name for name in listed[split] if _word(name) in COMMANDS]
        others = sorted(name for name in listed[split] if _word(name) not in COMMANDS)
        needed[split] = math.ceil(len(wanted) / _FOR_EACH)
        if len(others) < needed[split]:
            raise UserError(
                f"classes: 12 needs {needed[split]} clips of other words in the {split} split, and {root} "
                f"has {len(others)}; unpack the whole corpus."
            )
        unknown = _generator(seed, split, UNKNOWN).permutation(others)[: needed[split]].tolist()
        files += [LabelledFile(name, split, _word(name)) for name in wanted]
        files += [LabelledFile(name, split, UNKNOWN) for name in unknown]
    files += _silence(root, needed, seed)
    if test_folder is None:
        ten = sum(_word(name) in COMMANDS for name in listed["test"])
        logger.warning(
            "The test is made of testing_list.txt: %d clips of the ten words, %d of others, %d of silence. "
            "The published one is another draw: --test_folder speech_commands_test_set_v0.02.",
            ten, needed["test"], needed["test"],
        )  # fmt: skip
        return files
    return files + _published(test_folder)


def _silence(root: Path, needed: Mapping[str, int], seed: int) -> list[LabelledFile]:
    """Segments of the recordings of noise, each split's from its own part of them."""
    paths = sorted((root / NOISE).glob("*.wav"))
    if not paths:
        raise UserError(
            f"classes: 12 cuts silence from {root / NOISE}, which has no wav; unpack the corpus again."
        )
    clips, _ = inspect_clips(paths, SAMPLE_RATE)
    files = []
    for split, count in needed.items():
        first, last = _PARTS[split]
        places = [
            (f"{NOISE}/{clip.path.name}", step)
            for clip in clips
            for step in range(
                math.ceil(first * clip.seconds / _STEP),
                math.floor((last * clip.seconds - _SECONDS) / _STEP + 1e-6) + 1,
            )
        ]
        if len(places) < count:
            raise UserError(
                f"classes: 12 needs {count} s of silence to {split}, of different places, and "
                f"{root / NOISE} has {len(places)}; unpack the corpus again."
            )
        drawn = _generator(seed, split, SILENCE).choice(len(places), count, replace=False)
        for name, step in (places[place] for place in sorted(drawn.tolist())):
            start = round(step * _STEP, 2)
            files.append(LabelledFile(name, split, SILENCE, start, round(start + _SECONDS, 2)))
    return files


def _published(folder: Path) -> list[LabelledFile]:
    """The published test set, a folder a class."""
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}; give test_folder, the unpacked speech_commands_test_set_v0.02."
        )
    files = []
    for label in (*COMMANDS, UNKNOWN, SILENCE):
        found = sorted((folder / label).glob("*.wav"))
        if not found:
            raise UserError(
                f"{folder} is not the published test set: it has no clip of {label}; give the unpacked "
                "speech_commands_test_set_v0.02."
            )
        files += [
            LabelledFile(f"{label}/{path.name}", "test", label, folder=folder) for path in found
        ]
    logger.info("The test is the published one, %d clips in %s.", len(files), folder)
    return files


def _word(name: str) -> str:
    return name.partition("/")[0]


def _generator(seed: int, split: str, what: str) -> np.random.Generator:
    return np.random.default_rng([seed, *split.encode(), *what.encode()])
