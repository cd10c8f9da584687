"""Manifests: one JSON file a split, from clip to wav and label or text, and the datasets made of them."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import speechbrain as sb
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from torch import Tensor

from mambadapter.data.audio import Clip, audio_pipeline
from mambadapter.data.few_shot import draw_shots
from mambadapter.errors import UserError
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.utils.files import write_json


def write_manifest(
    path: str | Path, clips: Sequence[Clip], labels: Sequence[str], root: Path
) -> Path:
    """Write a manifest, whole or not at all."""
    entries = {
        clip.path.relative_to(root).with_suffix("").as_posix(): {
            "wav": str(clip.path.resolve()),
            "duration": round(clip.seconds, 4),
            "label": label,
        }
        for clip, label in zip(clips, labels, strict=True)
    }
    return write_json(path, entries)


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
) -> tuple[dict[str, DynamicItemDataset], list[str]]:
    """Make SpeechBrain datasets of labelled clips.

    Labels are numbered in alphabetical order, whatever the order of the files.
    """
    entries = _read_all(manifests)
    present = {
        split: {entry["label"] for entry in content.values()} for split, content in entries.items()
    }
    check_splits(present, Path(manifests["train"]).parent)
    entries["train"] = draw_shots(entries["train"], shots_per_class, seed)
    labels = sorted(present["train"])
    index = {label: number for number, label in enumerate(labels)}

    @sb.utils.data_pipeline.takes("label")
    @sb.utils.data_pipeline.provides("label_index")
    def encode(label: str) -> int:
        return index[label]

    items = [audio_pipeline(sample_rate), encode]
    datasets = {
        split: DynamicItemDataset(content, items, ["id", "signal", "label_index"])
        for split, content in entries.items()
    }
    return datasets, labels


def transcription_datasets(
    manifests: Mapping[str, str | Path], sample_rate: int
) -> tuple[dict[str, DynamicItemDataset], Vocabulary]:
    """Make SpeechBrain datasets of transcribed clips, and the vocabulary of their characters."""
    entries = _read_all(manifests)
    vocabulary = Vocabulary.of(entry["text"] for entry in entries["train"].values())
    return _text_datasets(entries, sample_rate, vocabulary.encode), vocabulary


def text_datasets(
    manifests: Mapping[str, str | Path], sample_rate: int, encode: Callable[[str], list[int]]
) -> dict[str, DynamicItemDataset]:
    """Make SpeechBrain datasets of transcribed clips."""
    return _text_datasets(_read_all(manifests), sample_rate, encode)


def _text_datasets(
    entries: Mapping[str, Any], sample_rate: int, encode: Callable[[str], list[int]]
) -> dict[str, DynamicItemDataset]:
    @sb.utils.data_pipeline.takes("text")
    @sb.utils.data_pipeline.provides("tokens")
    def tokens(text: str) -> Tensor:
        return torch.tensor(encode(text))

    items = [audio_pipeline(sample_rate), tokens]
    keys = ["id", "signal", "tokens", "text", "duration"]
    return {split: DynamicItemDataset(e, items, keys) for split, e in entries.items()}


def _read_all(manifests: Mapping[str, str | Path]) -> dict[str, Any]:
    return {
        split: json.loads(Path(path).read_text(encoding="utf-8"))
        for split, path in manifests.items()
    }
