"""Check a Speech Commands V2 folder and write its manifests, by the official lists.

Warden 2018, arXiv 1804.03209. ``validation_list.txt`` and ``testing_list.txt`` name their clips; all
others train. ``_background_noise_`` is left out.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from mambadapter.data.audio import inspect_clips
from mambadapter.data.manifests import write_json, write_manifest
from mambadapter.errors import UserError

logger = logging.getLogger(__name__)

WORDS = (
    "backward bed bird cat dog down eight five follow forward four go happy house learn left marvin "
    "nine no off on one right seven sheila six stop three tree two up visual wow yes zero"
).split()
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
SAMPLE_RATE = 16000
NOISE = "_background_noise_"


def prepare_gsc(
    data_folder: str | Path, manifest_folder: str | Path, skip_unusable_audio: bool = False
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

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder is not the corpus, a list is missing or names a file that is not there, a split
        is empty, or files are unusable; if the manifest folder was prepared from other data.

    Example
    -------
    >>> prepare_gsc("speech_commands_v0.02", "manifests")["train"].name  # doctest: +SKIP
    'train.json'
    """
    root, manifest_folder = Path(data_folder).expanduser(), Path(manifest_folder)
    words = _find_words(root)
    paths = {
        f"{word}/{path.name}": path
        for word in words
        for path in sorted((root / word).glob("*.wav"))
    }
    listed = {split: _read_list(root / name) for split, name in LISTS.items()}
    _check_lists(listed, paths, words)

    manifests = {split: manifest_folder / f"{split}.json" for split in ("train", *LISTS)}
    done, fingerprint = (
        manifest_folder / "prepared.json",
        _fingerprint(root, paths, listed, skip_unusable_audio),
    )
    if done.is_file():
        before = json.loads(done.read_text(encoding="utf-8"))
        if before == fingerprint:
            return manifests
        if before["names"] != fingerprint["names"]:
            raise UserError(
                f"{manifest_folder} was prepared from other data: {before['files']} files then, "
                f"{len(paths)} now. Give another --output_folder, or delete that one."
            )

    split_of = {name: split for split, names in listed.items() for name in names}
    clips = inspect_clips(paths.values(), SAMPLE_RATE, skip_unusable_audio)
    for split, manifest in manifests.items():
        chosen = [
            clip
            for clip in clips
            if split_of.get(f"{clip.path.parent.name}/{clip.path.name}", "train") == split
        ]
        if not chosen:
            raise UserError(f"The {split} split of {root} is empty; is the corpus complete?")
        write_manifest(manifest, chosen, [clip.path.parent.name for clip in chosen], root)
        logger.info("%s: %d clips", split, len(chosen))
    write_json(done, fingerprint)
    return manifests


def _find_words(root: Path) -> list[str]:
    """The word folders that are there, in alphabetical order."""
    if not root.is_dir():
        raise UserError(
            f"There is no folder {root}; give data_folder, the unpacked speech_commands_v0.02."
        )
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    words = [word for word in WORDS if word in folders]
    if not words:
        nested = [
            path for path in root.iterdir() if path.is_dir() and (path / LISTS["test"]).is_file()
        ]
        hint = f"Did you mean {nested[0]}?" if nested else "It should hold a folder for each word."
        raise UserError(
            f"{root} is not Speech Commands: it has no folder named after a word. {hint}"
        )
    others = sorted(folders - set(WORDS) - {NOISE})
    if others:
        logger.warning(
            "Left out folders that are no words of Speech Commands V2: %s", ", ".join(others)
        )
    if len(words) < len(WORDS):
        logger.warning(
            "%d of the %d words are in %s: %s", len(words), len(WORDS), root, ", ".join(words)
        )
    return words


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path} is missing; it comes with the corpus, unpack that again.")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _check_lists(
    listed: dict[str, list[str]], paths: dict[str, Path], words: Sequence[str]
) -> None:
    for split, names in listed.items():
        # A word whose whole folder was left away is allowed; one missing file is a broken corpus.
        absent = [name for name in names if name not in paths and name.split("/")[0] in words]
        if absent:
            raise UserError(
                f"{LISTS[split]} names {len(absent)} files that are not there, such as "
                f"{', '.join(absent[:3])}; unpack the corpus again."
            )
    both = sorted(set(listed["valid"]) & set(listed["test"]))
    if both:
        raise UserError(
            f"{len(both)} files are in both lists, such as {both[0]}; unpack the corpus again."
        )


def _fingerprint(
    root: Path, paths: dict[str, Path], listed: dict[str, list[str]], skip_unusable_audio: bool
) -> dict[str, str | int | bool]:
    contents = json.dumps([sorted(paths), listed]).encode()
    return {
        "data_folder": str(root.resolve()),
        "files": len(paths),
        "names": hashlib.sha256(contents).hexdigest(),
        "skip_unusable_audio": skip_unusable_audio,
    }
