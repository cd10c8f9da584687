"""Manifests: one JSON file a split, from clip to wav and label or text, and the datasets made of them."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from speechbrain.utils.data_pipeline import DynamicItem
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from torch import Tensor

from mambadapter.data.audio import Clip, audio_pipeline, resampled
from mambadapter.data.clips import ALWAYS, ClipDataset, Clips
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
    several = any(of.different("labels") for of in entries.values())
    present = {
        split: {*content.different("label"), *chain.from_iterable(content.different("labels"))}
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
        learnt = main_first(partial(tokens.pieces, [*entries["train"].texts]))
        vocabulary, encode = learnt.vocabulary, learnt.encode
        entries["train"] = alignable(entries["train"], sample_rate, frames, encode)
    else:
        entries["train"] = alignable(entries["train"], sample_rate, frames)
        vocabulary = Vocabulary.of(entries["train"].texts)
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
    found = {split: Clips() for split in manifests}
    kept: tuple[str, ...] = ()
    for split, path in manifests.items():
        mend = f"delete {Path(path).parent}; it is made again"
        for some in chunks(read_items(Path(path), mend)):
            if not kept:
                several = key == "label" and "labels" in some[0][1]
                kept = (*ALWAYS, "labels" if several else key)
            if wrong := _wrong(some, kept):
                raise UserError(f"{path}: {wrong}; {mend}.")
            found[split].extend(some, kept)
    return found


def _wrong(items: Sequence[tuple[str, Any]], keys: Sequence[str]) -> str:
    """Which entry lacks what, or has something else than it should be, if one does."""
    for name, entry in items:
        if not isinstance(entry, dict):
            return f"{shown(name)} is no mapping"
    for key in keys:
        fits = [*map(_FITS[key], [entry.get(key) for _, entry in items])]
        if not all(fits):
            return f"{shown(items[fits.index(False)][0])} has no {key}"
    return ""


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_duration(value: Any) -> bool:
    return isinstance(value, (float, int)) and 0 < value < _LONGEST


def _is_time(value: Any) -> bool:
    return value is None or value == 0 or _is_duration(value)


def _are_labels(value: Any) -> bool:
    return type(value) is list and value != [] and all(map(_is_text, value))


# What is read of an entry, and whether it can be.
_FITS = {
    "wav": _is_text,
    "duration": _is_duration,
    "start": _is_time,  # of a segment
    "end": _is_time,
    "label": _is_text,
    "labels": _are_labels,
    "text": _is_text,
}
