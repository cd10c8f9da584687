"""What a folder or a table of recordings holds, and what is wrong with it, before anything is trained."""

import hashlib
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

import numpy as np

from mambadapter.data.corpora.prepared import SPLITS
from mambadapter.data.decoding import UnusableAudio, decode
from mambadapter.data.own.labels import likely_separator
from mambadapter.data.own.layouts import read_data
from mambadapter.data.own.prepare import RARE, characters
from mambadapter.data.own.rows import Listing, NoTarget, Row, Target
from mambadapter.data.own.splits import split_rows
from mambadapter.errors import UserError
from mambadapter.text import TextRules

_SILENT = 1e-3  # of full scale, which no sample reaches: -60 dB
_FULL, _CLIPPED = 0.999, 1e-3  # a sample at full scale, and the share of such
_ALIKE = 0.8  # of two labels, by difflib
_RARER = 10  # times, of a label that may be a typing error of the other
_MOST_CLASSES = 1000  # whose labels are compared


@dataclass(frozen=True)
class Finding:
    """Something that is wrong."""

    what: str  # in words, its count in front
    examples: Sequence[str]
    mend: str


@dataclass(frozen=True)
class Inspection:
    """All that is said of a folder or a table."""

    source: str
    facts: Mapping[str, str]
    seconds: Sequence[float]  # of each clip that can be read
    counts: Mapping[
        str, Mapping[str, int]
    ]  # for each class the usable clips of each split, or under "" where there are none; of speech empty
    letters: Mapping[str, int]  # how often each character occurs; of sounds empty
    findings: Sequence[Finding]
    command: str  # that trains on it


@dataclass(frozen=True)
class _Heard:
    """What is known of a clip that was decoded."""

    seconds: float
    rate: int
    channels: int
    peak: float
    clipped: float  # share of its samples
    digest: str


def inspect_data(
    data_folder: str | Path,
    settings: Mapping[str, str],
    task: str = "auto",
    cache_folder: Path | None = None,
) -> Inspection:
    """Read a folder or a table and decode every clip.

    Parameters
    ----------
    data_folder : str or Path
        A folder or a table.
    settings : Mapping[str, str]
        Those of ``hparams/own_data.yaml`` that are not as there.
    task : {"auto", "sounds", "speech"}
        Whether classes or transcripts are learnt; ``auto`` where there is only one of the two.
    cache_folder : Path, optional
        As of `mambadapter.data.own.layouts.read_data`.

    Returns
    -------
    Inspection

    Raises
    ------
    UserError
        If it cannot be read at all, or has classes and transcripts.

    Example
    -------
    >>> inspect_data("sounds", {}).facts["layout"]  # doctest: +SKIP
    'a folder for each class'
    """
    listing = read_listing(data_folder, settings, task, cache_folder)
    heard, problems = _listen(listing)
    split_of, findings = _splits(listing, set(heard))
    findings = [
        *_unusable(listing, problems),
        *_bad_sound(listing, heard),
        *_copies(listing, heard, split_of),
        *findings,
        *(_labels(listing) if listing.target == "label" else ()),
    ]
    texts = {}
    if listing.target == "text":
        rules = TextRules(None, word_marks="'-")
        texts = {row.key: rules.normalise(row.target).text for row in listing.rows}
        findings += _texts(listing, texts, split_of)
    counts: dict[str, dict[str, int]] = {}
    if listing.target == "label":
        for row in listing.rows:
            for label in row.classes:
                of_class = counts.setdefault(label, dict.fromkeys(SPLITS if split_of else ("",), 0))
                if row.key in heard:
                    of_class[split_of.get(row.key, "")] += 1
    return Inspection(
        str(data_folder),
        _facts(listing, heard, split_of, texts),
        [one.seconds for one in heard.values()],
        dict(sorted(counts.items())),
        dict(characters(texts.values()).most_common()),
        findings,
        _command(data_folder, listing, bool(problems)),
    )


def read_listing(
    data_folder: str | Path,
    settings: Mapping[str, str],
    task: str,
    cache_folder: Path | None = None,
) -> Listing:
    """What a folder or a table lists, whether it is for classes or for transcripts; as `inspect_data`."""
    targets: dict[str, Target] = {"sounds": "label", "speech": "text"}
    wanted = [targets[task]] if task in targets else list(targets.values())
    found, refused = [], []
    for target in wanted:
        try:
            found.append(read_data(data_folder, target, settings, cache_folder))
        except NoTarget as error:
            refused.append(error)
    if len(found) > 1:
        raise UserError(
            f"{data_folder} has classes and transcripts; say what is to be learnt: --task sounds, or "
            "--task speech."
        )
    if not found:
        raise refused[0]
    return found[0]


def _listen(listing: Listing) -> tuple[dict[str, _Heard], dict[str, str]]:
    """What was heard of each clip by its key, and why not of the others."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda row: _hear(listing.path(row), row), listing.rows, chunksize=64)
        by_key = {row.key: one for row, one in zip(listing.rows, found, strict=True)}
    heard = {key: one for key, one in by_key.items() if isinstance(one, _Heard)}
    return heard, {key: one for key, one in by_key.items() if isinstance(one, str)}


def _hear(path: Path, row: Row) -> _Heard | str:
    try:
        decoded = decode(path, start=row.start, end=row.end)
    except UnusableAudio as error:
        return str(error)
    samples = decoded.samples
    loud = np.abs(samples)
    return _Heard(
        len(samples) / decoded.sample_rate,
        decoded.sample_rate,
        samples.shape[1],
        float(loud.max()),
        float((loud >= _FULL).mean()),
        hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=16).hexdigest(),
    )


def _splits(listing: Listing, usable: set[str]) -> tuple[dict[str, str], list[Finding]]:
    """The split of each usable clip, as training will have it, and what is wrong with that."""
    if not usable:
        return {}, []
    used = np.array([key in usable for key in listing.rows.keys()])  # noqa: SIM118
    try:
        numbers = split_rows(listing, used)
    except UserError as error:
        return {}, [Finding("No splits can be made", [], str(error).removesuffix("."))]
    rows = [row for row, one in zip(listing.rows, used, strict=True) if one]
    split_of = {row.key: SPLITS[n] for row, n in zip(rows, numbers[used], strict=True)}
    findings = []
    for one, several, of_row in (
        ("speaker or group", "speakers or groups", lambda r: r.group),
        ("file", "files", lambda r: r.name),
    ):
        sides: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if of_row(row):
                sides[of_row(row)].add(split_of[row.key])
        both = sorted(name for name, splits in sides.items() if len(splits) > 1)
        if both:
            findings.append(
                Finding(
                    f"{_count(both, f'{one} is', f'{several} are')} in more than one split",
                    [
                        f"{name}: {', '.join(s for s in SPLITS if s in sides[name])}"
                        for name in both
                    ],
                    "give each to one, or let new splits be made: --data.split none"
                    if any(row.split for row in rows)
                    else "no other splits can be made, or --data.group none asks for these",
                )
            )
    if listing.target == "label":
        trained = {c for row in rows if split_of[row.key] == "train" for c in row.classes}
        if unseen := sorted({c for row in rows for c in row.classes} - trained):
            findings.append(
                Finding(
                    _count(unseen, "class has", "classes have") + " no training clip",
                    unseen,
                    "give them some",
                )
            )
    return split_of, findings


def _unusable(listing: Listing, problems: Mapping[str, str]) -> list[Finding]:
    by_reason = defaultdict(list)
    where = {row.key: row.where for row in listing.rows}
    for key, problem in problems.items():
        at = "" if where[key] == key else f" ({where[key]})"
        by_reason[problem.partition(":")[0]].append(f"{key}{at}: {problem}")
    return [
        Finding(
            f"{_count(examples, 'clip', 'clips')} cannot be used, {reason}", examples,
            "mend them, or leave them out: --skip_unusable_audio true",
        )
        for reason, examples in by_reason.items()
    ]  # fmt: skip


def _bad_sound(listing: Listing, heard: Mapping[str, _Heard]) -> list[Finding]:
    silent = [key for key, one in heard.items() if one.peak < _SILENT]
    clipped = [key for key, one in heard.items() if one.clipped > _CLIPPED]
    findings = []
    if silent:
        what = _count(silent, "clip is", "clips are") + " silent, below -60 dB"
        findings.append(Finding(what, silent, "listen to them; delete those that hold nothing"))
    if clipped:
        shown = [f"{key}: {100 * heard[key].clipped:.1f} % of its samples" for key in clipped]
        what = _count(clipped, "clip is", "clips are") + " clipped, samples cut at full scale"
        findings.append(Finding(what, shown, "record them at a lower level, if you can"))
    return findings


def _copies(
    listing: Listing, heard: Mapping[str, _Heard], split_of: Mapping[str, str]
) -> list[Finding]:
    target = {row.key: row.target for row in listing.rows}
    alike = defaultdict(list)
    for key, one in heard.items():
        if one.peak >= _SILENT:  # silences are alike
            alike[one.digest].append(key)
    groups = [keys for keys in alike.values() if len(keys) > 1]
    across = [keys for keys in groups if len({split_of.get(key) for key in keys}) > 1]
    differ = [keys for keys in groups if len({target[key] for key in keys}) > 1]
    findings = []
    for found, (one_is, they_are), what, mend in (
        (groups, ("is there", "are there"), "under several names", "keep one of each"),
        (
            across,
            ("is", "are"),
            "in more than one split",
            "keep one of each; such a test is of what was trained",
        ),
        (
            differ,
            ("has", "have"),
            f"more than one {listing.target}",
            f"keep the one with the right {listing.target}",
        ),
    ):
        if found:
            findings.append(
                Finding(
                    f"{_count(found, f'recording {one_is}', f'recordings {they_are}')} {what}",
                    [" = ".join(keys) for keys in found],
                    mend,
                )
            )
    return findings


def _labels(listing: Listing) -> list[Finding]:
    findings = []
    if not listing.several and (mark := likely_separator(row.target for row in listing.rows)):
        cells = [*dict.fromkeys(row.target for row in listing.rows if mark in row.target)]
        findings.append(
            Finding(
                _count(cells, "label seems", "labels seem") + f" to be several, parted by '{mark}'", cells,
                f"if a clip may have several, say so: --data.label_separator '{mark}'",
            )
        )  # fmt: skip
    counts = Counter(label for row in listing.rows for label in row.classes)
    if len(counts) > _MOST_CLASSES:
        return findings
    same = defaultdict(list)
    for label in sorted(counts):
        same[" ".join(label.casefold().replace("_", " ").replace("-", " ").split())].append(label)
    cased = [labels for labels in same.values() if len(labels) > 1]
    named = {label for labels in cased for label in labels}
    typos = []
    for one, other in combinations(sorted(set(counts) - named), 2):
        rare, often = sorted((one, other), key=counts.__getitem__)
        close = min(len(one), len(other)) > 3 and counts[often] >= _RARER * counts[rare]
        if close and SequenceMatcher(None, one.casefold(), other.casefold()).ratio() >= _ALIKE:
            typos.append((rare, often))

    def said(labels: Iterable[str]) -> str:
        return ", ".join(f"'{label}' ({counts[label]})" for label in labels)

    if cased:
        what = _count(cased, "class is", "classes are") + " written in several ways"
        findings.append(Finding(what, [*map(said, cased)], "write each in one way"))
    if typos:
        what = _count(typos, "label may be a typing error", "labels may be typing errors")
        findings.append(Finding(what, [*map(said, typos)], "look at their clips"))
    return findings


def _texts(
    listing: Listing, texts: Mapping[str, str], split_of: Mapping[str, str]
) -> list[Finding]:
    findings = []
    if empty := [key for key, text in texts.items() if not text]:
        findings.append(
            Finding(
                _count(empty, "transcript has", "transcripts have") + " no word",
                empty,
                "they are left out",
            )
        )
    training = characters(t for k, t in texts.items() if split_of.get(k) == "train")
    rare = [f"'{c}' ({count})" for c, count in training.most_common() if count < RARE]
    if rare:
        what = (
            _count(rare, "character is", "characters are")
            + " rare in the training texts, and hardly learnt"
        )
        findings.append(
            Finding(what, rare, "mend their spelling, or give --language.rules.look_alikes")
        )
    everywhere = characters(texts.values())
    if split_of and (unseen := sorted(everywhere.keys() - training.keys())):
        shown = [f"'{c}' ({everywhere[c]})" for c in unseen]
        findings.append(
            Finding(
                _count(shown, "character is", "characters are") + " never in the training texts",
                shown,
                "as above",
            )
        )
    return findings


def _facts(
    listing: Listing,
    heard: Mapping[str, _Heard],
    split_of: Mapping[str, str],
    texts: Mapping[str, str],
) -> dict[str, str]:
    seconds = np.array([one.seconds for one in heard.values()] or [0.0])
    least, middle, most = (f"{one:.2f}" for one in np.quantile(seconds, [0, 0.5, 1]))
    lengths = f"{least} to {most}, half of them up to {middle}" if least != most else least
    groups = {row.group for row in listing.rows if row.group}
    files = len({row.name for row in listing.rows})
    said = "none can be made"
    if split_of:
        splits = Counter(split_of.values())
        said = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS)
        if any(row.split for row in listing.rows):
            said += ", as given"
        else:
            said += ", made"
            if listing.flags.get("group") != "none":
                said += f" so that no {'speaker or group' if groups else 'file'} is in two"
    facts = {
        "layout": listing.read,
        "clips": f"{len(listing.rows):,}" + (f" in {files:,} files" if files < len(listing.rows) else ""),
        "hours": f"{seconds.sum() / 3600:.2f}",
        "seconds of a clip": lengths,
        "sample rates": _counted(f"{one.rate:,} Hz" for one in heard.values()),
        "channels": _counted(str(one.channels) for one in heard.values()),
        "speakers or groups": f"{len(groups):,}" if groups else "not given",
        "splits": said,
    }  # fmt: skip
    if listing.target == "label":
        facts["classes"] = f"{len({label for row in listing.rows for label in row.classes}):,}"
        if listing.several:
            of_clips = Counter(len(row.classes) for row in listing.rows)
            clips = (f"{count} ({of_clips[count]:,} clips)" for count in sorted(of_clips))
            facts["labels of a clip"] = ", ".join(clips)
    else:
        words = sum(len(text.split()) for text in texts.values())
        facts["words"] = (
            f"{words:,}, {len({w for t in texts.values() for w in t.split()}):,} different"
        )
        facts["characters"] = f"{len(characters(texts.values())):,} different"
    return facts


def _count(found: Sequence, one: str, several: str) -> str:
    """How many, and what that is called."""
    return f"{len(found)} {one if len(found) == 1 else several}"


def _counted(values: Iterable[str]) -> str:
    return ", ".join(f"{value} ({count:,})" for value, count in Counter(values).most_common())


def _command(data_folder: str | Path, listing: Listing, skip: bool) -> str:
    recipe = "YourSounds" if listing.target == "label" else "YourSpeech"
    where = Path(data_folder).expanduser().absolute()
    arguments = ["--data_folder", str(where)]
    for key, value in listing.flags.items():
        if key == "audio_folder":
            value = str(Path(value).expanduser().absolute())
        arguments += [f"--data.{key}", value]
    if skip:
        arguments += ["--skip_unusable_audio", "true"]
    arguments += ["--output_root", f"results/{where.stem}"]
    return f"cd recipes/{recipe}\npython train.py hparams/quickstart.yaml {shlex.join(arguments)}"
