"""Manifests: one JSON file a split, from clip to wav and label or text, and the datasets made of them."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from speechbrain.utils.data_pipeline import DynamicItem
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from torch import Tensor

from mambadapter.data.audio import Clip, audio_pipeline, resampled
from mambadapter.data.clips import ClipDataset, Clips
from mambadapter.data.few_shot import draw_shots
from mambadapter.data.tokens import Encode, Tokens
from mambadapter.errors import UserError
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.utils.columns import chunks
from mambadapter.utils.files import read_items, shown

logger = logging.getLogger(__name__)

_LONGEST = 1e9  # seconds


def manifest_entry(
    clip: Clip, label: str, start: float | None = None, end: float | None = None
) -> dict[str, Any]:
    """What a manifest says of a labelled clip: a whole file, or what is between two times in s."""
    entry: dict[str, Any] = {"wav": str(clip.path.resolve())}
    if start is None or end is None:
        return {**entry, "duration": round(clip.seconds, 4), "label": label}
    return {**entry, "duration": round(end - start, 4), "label": label, "start": start, "end": end}


def check_splits(labels: Mapping[str, Collection[str]], source: Path) -> None:
    """Refuse a split without clips, or with a label that training never sees."""
    for split, present in labels.items():
        if not present:
            raise UserError(f"The {split} split is empty; is {source} complete?")
        unseen = sorted(set(present) - set(labels["train"]))
        if unseen:
            raise UserError(
                f"The {split} split has labels that training never sees: {', '.join(unseen)}; "
                f"is {source} complete?"
            )


def main_first(prepare: Callable[[], Any]) -> Any:
    """Run `prepare` in the main process, then in the others, which find its work done."""
    if not if_main_process():
        ddp_barrier()
        return prepare()
    result = prepare()
    ddp_barrier()
    return result


def classification_datasets(
    manifests: Mapping[str, str | Path],
    sample_rate: int,
    shots_per_class: int | None = None,
    seed: int = 0,
    channel: int | None = None,
) -> tuple[dict[str, ClipDataset], list[str]]:
    """Make SpeechBrain datasets of labelled clips.

    Labels are numbered in alphabetical order, whatever the order of the files. A clip's is ``label_index``;
    where clips may have several, ``label_row`` is (classes,), 1 for each that it has and 0 elsewhere.
    """
    entries = _read_all(manifests, "label")
    several = any("labels" in next(iter(of.values()), {}) for of in entries.values())
    present = {
        split: {label for entry in content.values() for label in labels_of(entry)}
        for split, content in entries.items()
    }
    check_splits(present, Path(manifests["train"]).parent)
    if several and shots_per_class is not None:
        raise UserError(
            "shots_per_class is for clips of one label each; leave it out, or give a smaller table."
        )
    if shots_per_class is not None:
        drawn = draw_shots(entries["train"], shots_per_class, seed)
        entries["train"] = Clips(drawn.items())
    labels = sorted(present["train"])
    index = {label: number for number, label in enumerate(labels)}
    if several:
        item = DynamicItem(["labels"], partial(_label_row, index=index), ["label_row"])
    else:
        item = DynamicItem(["label"], index.__getitem__, ["label_index"])
    items = [audio_pipeline(sample_rate, channel, segments=True), item]
    keys = ["id", "signal", "label_row" if several else "label_index"]
    datasets = {split: ClipDataset(content, items, keys) for split, content in entries.items()}
    return datasets, labels


def labels_of(entry: Mapping[str, Any]) -> Sequence[str]:
    """The labels of a manifest's clip, or its only one."""
    return entry["labels"] if "labels" in entry else (entry["label"],)


def has_several_labels(dataset: ClipDataset) -> bool:
    """Whether a clip may have several labels."""
    return "labels" in next(iter(dataset.data.values()))


def _label_row(labels: Sequence[str], index: Mapping[str, int]) -> Tensor:
    row = torch.zeros(len(index))
    row[[index[label] for label in labels]] = 1
    return row


def transcription_datasets(
    manifests: Mapping[str, str | Path],
    sample_rate: int,
    frames: Callable[[Tensor], Tensor],
    channel: int | None = None,
    tokens: Tokens | None = None,
) -> tuple[dict[str, ClipDataset], Vocabulary]:
    """Make SpeechBrain datasets of transcribed clips, and the vocabulary of the training texts.

    Left out of training is what CTC cannot align with the `frames` that (B,) samples make.
    """
    entries = _read_all(manifests, "text")
    encode: Encode
    if tokens is not None and tokens.has_pieces:
        texts = [entry["text"] for entry in entries["train"].values()]
        learnt = main_first(partial(tokens.pieces, texts))
        vocabulary, encode = learnt.vocabulary, learnt.encode
        entries["train"] = alignable(entries["train"], sample_rate, frames, encode)
    else:
        entries["train"] = alignable(entries["train"], sample_rate, frames)
        vocabulary = Vocabulary.of(entry["text"] for entry in entries["train"].values())
        encode = vocabulary.encode
    return _text_datasets(entries, sample_rate, encode, channel), vocabulary


def alignable(
    entries: Clips,
    sample_rate: int,
    frames: Callable[[Tensor], Tensor],
    encode: Callable[[str], Sequence] = str,
) -> Clips:
    """Leave out clips with fewer frames than CTC needs: one a token, and one between two alike.

    Without `encode` a token is a character.
    """
    short = set()
    for some in chunks(entries.items()):
        samples = [resampled(entry["duration"], sample_rate) for _, entry in some]
        for (name, entry), there in zip(some, frames(torch.tensor(samples)).tolist(), strict=True):
            tokens = encode(entry["text"])
            if there < 2 * len(tokens) and there < frames_needed(tokens):
                short.add(name)
    if not short:
        return entries
    logger.warning(
        "train: left out %d clips with more tokens than CTC has frames, such as %s",
        len(short), shown(next(name for name in entries if name in short)),
    )  # fmt: skip
    kept = Clips(item for item in entries.items() if item[0] not in short)
    if not kept:
        raise UserError("No training clip has as many frames as tokens; are the texts theirs?")
    return kept


def frames_needed(tokens: Sequence) -> int:
    """How many frames CTC needs for tokens: between two alike it puts a blank.

    Example
    -------
    >>> frames_needed("yella")
    6
    """
    return len(tokens) + sum(one == other for one, other in pairwise(tokens))


def text_datasets(
    manifests: Mapping[str, str | Path],
    sample_rate: int,
    encode: Encode,
    channel: int | None = None,
) -> dict[str, ClipDataset]:
    """Make SpeechBrain datasets of transcribed clips."""
    return _text_datasets(_read_all(manifests, "text"), sample_rate, encode, channel)


def _text_datasets(
    entries: Mapping[str, Clips],
    sample_rate: int,
    encode: Encode,
    channel: int | None,
) -> dict[str, ClipDataset]:
    tokens = DynamicItem(["text"], partial(_tokens, encode=encode), ["tokens"])
    items = [audio_pipeline(sample_rate, channel, segments=True), tokens]
    keys = ["id", "signal", "tokens", "text", "duration"]
    return {split: ClipDataset(e, items, keys) for split, e in entries.items()}


def _tokens(text: str, encode: Encode) -> Tensor:
    return torch.tensor(encode(text))


def _read_all(
    manifests: Mapping[str, str | Path], key: Literal["label", "text"]
) -> dict[str, Clips]:
    """The manifests' entries, each with ``wav``, ``duration``, and ``label``, ``labels`` or ``text``."""
    checked = _Checked(key)
    return {split: Clips(checked.items(Path(path))) for split, path in manifests.items()}


class _Checked:
    """Reads manifests, and refuses an entry that lacks what the first one has."""

    def __init__(self, key: str) -> None:
        self._key, self._several = key, False
        self._first = True

    def items(self, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """The entries of a manifest."""
        mend = f"delete {path.parent}; it is made again"
        for name, entry in read_items(path, mend):
            if not isinstance(entry, dict):
                raise UserError(f"{path}: {shown(name)} is no mapping; {mend}.")
            if self._first:
                self._several, self._first = self._key == "label" and "labels" in entry, False
            if lacking := self._lacking(entry):
                raise UserError(f"{path}: {shown(name)} has no {lacking}; {mend}.")
            key = "labels" if self._several else self._key
            yield name, {one: entry.get(one) for one in ("wav", "duration", "start", "end", key)}

    def _lacking(self, entry: Mapping[str, Any]) -> str:
        """What is not there, or is something else than it should be."""
        if type(entry.get("wav")) is not str:
            return "wav"
        duration = entry.get("duration")
        if not isinstance(duration, int | float) or not 0 < duration < _LONGEST:
            return "duration"
        for time in ("start", "end"):  # of a segment
            value = entry.get(time)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < _LONGEST):
                return time
        if not self._several:
            return "" if type(entry.get(self._key)) is str else self._key
        labels = entry.get("labels")
        several = type(labels) is list and labels != [] and all(type(one) is str for one in labels)
        return "" if several else "labels"
