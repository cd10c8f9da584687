"""Check a Speech Commands V2 folder and write its manifests, by the official lists.

Warden 2018, arXiv 1804.03209. ``validation_list.txt`` and ``testing_list.txt`` name their clips; all
others train. Of the 35 words' task ``_background_noise_`` is left out.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from mambadapter.data.corpora.preparation import (
    LabelledFile,
    find_corpus,
    require_file,
    warn_of_subset,
    write_splits,
)
from mambadapter.data.corpora.speech_commands_12 import NOISE, twelve_classes
from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

WORDS = (
    "backward bed bird cat dog down eight five follow forward four go happy house learn left marvin "
    "nine no off on one right seven sheila six stop three tree two up visual wow yes zero"
).split()
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def prepare_gsc(
    data_folder: str | Path,
    manifest_folder: str | Path,
    skip_unusable_audio: bool = False,
    classes: int = 35,
    test_folder: str | Path | None = None,
    seed: int = 1986,
) -> dict[str, Path]:
    """Write ``train.json``, ``valid.json`` and ``test.json``; nothing is done twice.

    The corpus may move, but not change, between two runs in the same output folder.

    Parameters
    ----------
    data_folder : str or Path
        The corpus: a folder for each word and the two lists. Fewer than the 35 words will do.
    manifest_folder : str or Path
        Where the manifests go.
    skip_unusable_audio : bool
        Leave unusable files out instead of refusing.
    classes : {35, 12}
        A class for each word; or ten words, the others as one class, and silence.
    test_folder : str or Path, optional
        Of 12 classes the published test set, ``speech_commands_test_set_v0.02``.
    seed : int
        Of 12 classes, by which other words and silence are drawn.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder is not the corpus, or a list is missing or names a file that is not there; and
        what `mambadapter.data.corpora.preparation.write_splits` refuses.

    Example
    -------
    >>> prepare_gsc("speech_commands_v0.02", "manifests")["train"].name  # doctest: +SKIP
    'train.json'
    """
    root = find_corpus(
        data_folder,
        corpus="Speech Commands",
        unpacked="speech_commands_v0.02",
        lacks="folder named after a word",
        is_corpus=lambda path: any((path / word).is_dir() for word in WORDS),
    )
    words = _find_words(root)
    found = {f"{word}/{path.name}" for word in words for path in (root / word).glob("*.wav")}
    listed = {split: _read_list(root / name) for split, name in LISTS.items()}
    _check_lists(listed, found, words)
    listed = {split: [name for name in names if name in found] for split, names in listed.items()}
    listed["train"] = list(found.difference(*listed.values()))
    if classes == 12:
        published = None if test_folder is None else Path(test_folder).expanduser()
        files = twelve_classes(root, listed, published, seed)
    elif test_folder is not None:
        raise UserError("test_folder is the test set of 12 classes; add --classes 12.")
    else:
        files = [
            LabelledFile(name, split, label=name.split("/")[0])
            for split, names in listed.items()
            for name in names
        ]
    return write_splits(root, manifest_folder, files, skip_unusable_audio)


def _find_words(root: Path) -> list[str]:
    """The word folders that are there, in alphabetical order."""
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    words = [word for word in WORDS if word in folders]
    others = sorted(folders - set(WORDS) - {NOISE})
    if others:
        logger.warning(
            "Left out folders that are no words of Speech Commands V2: %s", ", ".join(others)
        )
    warn_of_subset(words, len(WORDS), "words", root)
    return words


def _read_list(path: Path) -> list[str]:
    try:
        text = require_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read ({error}); unpack the corpus again.") from error
    # Not by `splitlines`, to which a form feed or U+2028 in a name ends a line.
    return [line.strip() for line in text.split("\n") if line.strip()]


def _check_lists(
    listed: dict[str, list[str]], found: Collection[str], words: Sequence[str]
) -> None:
    for split, names in listed.items():
        # A word whose whole folder was left away is allowed; one missing file is a broken corpus.
        absent = [name for name in names if name not in found and name.split("/")[0] in words]
        if absent:
            raise UserError(
                f"{LISTS[split]} names {len(absent)} files that are not there, such as "
                f"{', '.join(absent[:3])}; unpack the corpus again."
            )
