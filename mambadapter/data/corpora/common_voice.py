"""Choose hours of a Common Voice release and write their manifests (Ardila et al. 2020, arXiv 1912.06670)."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mambadapter.data.corpora.common_voice_table import Utterance, read_table
from mambadapter.data.corpora.preparation import find_corpus, require_file, warn_of_overlap
from mambadapter.data.corpora.prepared import Chosen, write_manifests
from mambadapter.data.durations import DurationCache
from mambadapter.errors import UserError
from mambadapter.text import TextRules
from mambadapter.utils.columns import Strings, chunks

logger = logging.getLogger(__name__)

TABLES = {"test": "test.tsv", "valid": "dev.tsv", "train": "train.tsv"}

# Clips that are decoded at a time; a limit of hours is met after the first that reaches it.
_CHUNK = 512


def prepare_common_voice(
    data_folder: str | Path,
    manifest_folder: str | Path,
    cache_folder: str | Path,
    language: str,
    rules: TextRules,
    hours: Mapping[str, float],
    longest_seconds: float = 10.0,
    seed: int = 1986,
    skip_broken_rows: bool = False,
) -> dict[str, Path]:
    """Write ``train.json``, ``valid.json`` and ``test.json``; nothing is done twice.

    The clips of a split are taken in an order drawn by the seed until there are as many hours as wanted.
    Left out, and written to ``left_out.json`` with the reason, are clips that are missing, unreadable or
    longer than the limit, and those without a word. From training also sentences with characters outside of
    the alphabet, and those that the test or validation split has too; the splits that are scored keep such
    clips, which count as whatever is recognised.

    Parameters
    ----------
    data_folder : str or Path
        A release, such as ``cv-corpus-13.0-2023-03-09``, or the language's folder in it.
    manifest_folder : str or Path
        Where the manifests go.
    cache_folder : str or Path
        Where the lengths of clips are remembered, for all runs.
    language : str
        Common Voice's code, such as ``kab``.
    rules : TextRules
        The language's.
    hours : Mapping[str, float]
        At most so many hours of ``train``, ``valid`` and ``test``.
    longest_seconds : float
        Of a clip.
    seed : int
        Of the order in which clips are taken.
    skip_broken_rows : bool
        Leave out rows whose cells are not those of the columns, instead of refusing.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder is no release, a table lacks a column or has a broken row, a clip is listed twice or in
        two splits, nothing is left of a split, or the manifest folder was prepared from other data.

    Example
    -------
    >>> rules = TextRules("abcdefghijklmnoprstuvwyz", word_marks="'")
    >>> prepare_common_voice("cv-corpus-13.0-2023-03-09", "manifests", "cache", "rw", rules,
    ...                      {"train": 10, "valid": 1, "test": 1})["train"].name  # doctest: +SKIP
    'train.json'
    """
    root = _language_folder(data_folder, language)
    made_from = {
        "data_folder": str(root.resolve()),
        "table": {name: _digest(require_file(root / name)) for name in TABLES.values()},
        "rule": asdict(rules) | {"look_alikes": dict(rules.look_alikes)},
        "hours": dict(hours),
        "longest_seconds": longest_seconds,
        "seed": seed,
        "skip_broken_rows": skip_broken_rows,
    }

    def choose() -> Chosen:
        tables = {s: read_table(root / name, rules) for s, name in TABLES.items()}
        broken = [line for table in tables.values() for line in table.broken]
        if broken and not skip_broken_rows:
            raise UserError(
                f"{len(broken)} rows are broken:\n  {_listed(broken)}\nUnpack the release again, or set "
                "skip_broken_rows: true to leave them out."
            )
        if broken:
            logger.warning("Left out %d broken rows:\n  %s", len(broken), _listed(broken))
        listed = {split: table.utterances for split, table in tables.items()}
        _check_clips(listed, root)
        cache = DurationCache(
            Path(cache_folder) / f"{root.resolve().parent.name}-{language}-durations.json",
            root / "clips",
            Strings(utterance.clip for utterances in listed.values() for utterance in utterances),
        )
        scored = {utterance.text for split in ("valid", "test") for utterance in listed[split]}
        left_out: dict[str, dict[str, str]] = {}
        speakers: dict[str, set[str]] = {}
        entries = {}
        for split, utterances in listed.items():
            chosen, left_out[split] = _choose(
                utterances,
                cache,
                hours[split],
                longest_seconds,
                seed,
                scored if split == "train" else None,
            )
            if not chosen:
                raise UserError(
                    f"Nothing is left of the {split} split of {root}: "
                    f"{_counted(left_out[split]) or 'its table is empty'}. Is clips/ unpacked?"
                )
            speakers[split] = {utterance.speaker for utterance, _ in chosen}
            entries[split] = _entries(chosen, root)
            total = sum(seconds for _, seconds in chosen) / 3600
            logger.info("%s: %d clips, %.2f hours", split, len(chosen), total)
            if left_out[split]:
                logger.warning("%s: left out %s", split, _counted(left_out[split]))
        warn_of_overlap(speakers, "speakers")
        return Chosen(entries, left_out)

    return write_manifests(Path(manifest_folder), made_from, root / "clips", choose)


def _language_folder(data_folder: str | Path, language: str) -> Path:
    given = Path(data_folder).expanduser()
    if (given / language).is_dir():
        given = given / language
    return find_corpus(
        given,
        corpus=f"the folder '{language}' of a Common Voice release",
        unpacked=f"release that has a folder '{language}'",
        lacks=f"{TABLES['train']}",
        is_corpus=lambda path: path.name == language and (path / TABLES["train"]).is_file(),
    )


def _check_clips(listed: Mapping[str, Sequence[Utterance]], root: Path) -> None:
    split_of: dict[str, str] = {}
    for split, utterances in listed.items():
        for utterance in utterances:
            other = split_of.setdefault(utterance.clip, split)
            if other != split:
                raise UserError(
                    f"{root}: {utterance.clip} is in the {other} and in the {split} split; "
                    "unpack the release again."
                )


def _choose(
    utterances: Sequence[Utterance],
    cache: DurationCache,
    hours: float,
    longest_seconds: float,
    seed: int,
    scored: set[str] | None,
) -> tuple[list[tuple[Utterance, float]], dict[str, str]]:
    """Usable clips with their seconds up to the limit, and the others that were looked at with the reason."""
    chosen: list[tuple[Utterance, float]] = []
    left_out: dict[str, str] = {}
    seconds = 0.0
    ordered = sorted(utterances, key=lambda u: hashlib.sha256(f"{seed} {u.clip}".encode()).digest())
    for chunk in chunks(ordered, _CHUNK):
        places = cache.names.find_all([utterance.clip for utterance in chunk])
        measured = cache.measure([place for place in places if place is not None])
        for place, (utterance, length) in enumerate(
            zip(chunk, measured.seconds.tolist(), strict=True)
        ):
            problem = measured.problems.get(place) or _problem(
                utterance, length, longest_seconds, scored
            )
            if problem:
                left_out[utterance.clip] = problem
            elif seconds + length > 3600 * hours:
                return chosen, left_out
            else:
                chosen.append((utterance, length))
                seconds += length
    return chosen, left_out


def _problem(
    utterance: Utterance, seconds: float, longest_seconds: float, scored: set[str] | None
) -> str:
    """Why a clip that can be read is not used; `scored` holds the sentences not to train on."""
    text = utterance.text
    if not text:
        return "no words in its sentence"
    if seconds > longest_seconds:
        return f"longer than {longest_seconds:g} s"
    if scored is None:
        return ""
    if utterance.outside:
        return f"outside of the alphabet: {utterance.outside}"
    return "its sentence is in the test or validation split" if text in scored else ""


def _entries(chosen: Sequence[tuple[Utterance, float]], root: Path) -> dict[str, dict]:
    return {
        Path(utterance.clip).stem: {
            "wav": str((root / "clips" / utterance.clip).resolve()),
            "duration": seconds,
            "text": utterance.text,
            "sentence": utterance.sentence,
        }
        for utterance, seconds in sorted(chosen, key=lambda pair: pair[0].clip)
    }


def _counted(left_out: Mapping[str, str]) -> str:
    counts = Counter(reason.partition(":")[0] for reason in left_out.values())
    return ", ".join(f"{count} ({reason})" for reason, count in counts.most_common())


def _listed(lines: Sequence[str]) -> str:
    return "\n  ".join(lines[:5]) + ("\n  ..." if len(lines) > 5 else "")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
