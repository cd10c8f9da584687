"""What the box encoder learns from: the phone of every frame, hidden or not, and the kind of every clip."""

import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import speechbrain as sb
import torch
import torch.nn.functional as F
from augment import augment
from box_prepare import SPEECH
from objectives import BLANK, NO_PHONE, OBJECTIVES
from sounds import KINDS
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.data_pipeline import DynamicItem
from torch import Tensor, nn

from mambadapter.data.audio import audio_pipeline
from mambadapter.encoders.padding import frame_mask
from mambadapter.heads import PooledClassifier
from mambadapter.training.brain import EncoderBrain
from mambadapter.validators import one_of

CONTRACT = (
    "architecture",
    "prepare",
    "lr",
    "loader_options",
    "batch_seconds",
    "seed",
    "number_of_epochs",
    "phone_objective",
    "warmup",
    "least_warmup",
    "schedule",
    "max_grad_norm",
    "parameter_groups",
    "opt_class",
    "epoch_counter",
    "checkpointer",
    "train_logger",
    "tensorboard",
    "output_folder",
    "compile",
    "proof_of_life",
)

KIND_NAMES = [SPEECH, *KINDS]

# Geometry of wav2vec 2.0's front end at 16 kHz.
_FRAME_STRIDE, _FRAME_LENGTH = 320, 400

# A phone that is rarer teaches nothing, and stands for no frame.
_RAREST = 50


def pretraining_datasets(
    manifests: Mapping[str, Path], phone_objective: str
) -> tuple[dict[str, DynamicItemDataset], list[str]]:
    """Make SpeechBrain datasets with a phone for every frame."""
    one_of("phone_objective", phone_objective, OBJECTIVES)
    entries = {
        split: json.loads(path.read_text(encoding="utf-8")) for split, path in manifests.items()
    }
    counts = Counter(letter for entry in entries["train"].values() for _, letter in entry["phones"])
    phones = sorted(letter for letter, count in counts.items() if count >= _RAREST)
    index = {letter: number for number, letter in enumerate(phones)}

    if phone_objective == "ctc":
        phones.append(BLANK)
    items = [
        audio_pipeline(16000),
        DynamicItem(["phones", "signal"], partial(frame_labels, index=index), ["frame_phones"]),
        DynamicItem(["kind"], KIND_NAMES.index, ["kind_index"]),
    ]
    keys = ["id", "signal", "frame_phones", "kind_index"]
    return {split: DynamicItemDataset(e, items, keys) for split, e in entries.items()}, phones


def frame_labels(spoken: list, signal: Tensor, index: Mapping[str, int]) -> Tensor:
    """The phone in the middle of every frame.

    Returns (T,).
    """
    frames = (len(signal) - _FRAME_LENGTH) // _FRAME_STRIDE + 1
    if not spoken:
        return torch.full((frames,), NO_PHONE)
    middles = np.arange(frames) * _FRAME_STRIDE + _FRAME_LENGTH // 2
    starts = np.array([start for start, _ in spoken])
    labels = np.array([index.get(letter, NO_PHONE) for _, letter in spoken])
    return torch.from_numpy(labels[np.searchsorted(starts, middles, side="right").clip(1) - 1])


class PretrainingHead(nn.Module):
    """A phone for every frame, and the kind of the clip from the mean over its frames."""

    def __init__(self, width: int, phones: int, kinds: int) -> None:
        super().__init__()
        self.phones = nn.Linear(width, phones)
        self.kinds = PooledClassifier(width, kinds)

    def forward(self, hidden: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, d) and (B,) valid frames to (B, T, phones) and (B, kinds) logits."""
        return self.phones(hidden), self.kinds(hidden, frames)


class PretrainingBrain(EncoderBrain):
    """Predict phones, at frames whose input was masked too, and kinds of sound.

    Masking frames and predicting what was there is HuBERT's task (Hsu et al. 2021) with phones, whose times
    are known here, in place of clusters. Loss and accuracy count every frame alike, hidden or not. With
    ``phone_objective: ctc`` only the order of the phones is told.
    """

    def _keep_frozen(self) -> None:
        """All of the encoder learns."""

    def on_fit_start(self) -> None:
        """Look the objective up."""
        self._phone_loss, self._phones_right = OBJECTIVES[self.hparams.phone_objective]
        super().on_fit_start()

    def compute_forward(self, batch: Any, stage: sb.Stage) -> tuple[Tensor, Tensor]:
        """Logits of a batch, in training of an augmented one."""
        wavs, lens = self.heard(batch, stage)
        if stage == sb.Stage.TRAIN:
            wavs = augment(wavs, batch.signal.lengths)
        return self.modules.head(*self.encode(wavs, lens))

    def loss(self, predictions: tuple[Tensor, Tensor], batch: Any, stage: sb.Stage) -> Tensor:
        """Cross-entropy over frames plus cross-entropy over clips."""
        phone_logits, kind_logits = (logits.float() for logits in predictions)
        labels, lens = batch.frame_phones
        kinds = torch.as_tensor(batch.kind_index, device=self.device)
        frames = (lens * labels.shape[1]).round().long()
        labels = torch.where(frame_mask(frames, labels.shape[1]), labels, NO_PHONE)
        if stage != sb.Stage.TRAIN:
            self._phones += np.array(self._phones_right(phone_logits, labels))
            self._kinds += (kind_logits.argmax(-1) == kinds).tolist()
        return self._phone_loss(phone_logits, labels, frames) + F.cross_entropy(kind_logits, kinds)

    def start_metrics(self) -> None:
        """Begin to count."""
        self._phones = np.zeros(2)
        self._kinds: list[bool] = []

    def stage_metrics(self) -> dict[str, float]:
        """Shares of phones and clips that are right, and their mean as ``accuracy``."""
        right, total = self._phones
        phones, kinds = float(right / max(total, 1)), float(np.mean(self._kinds))
        return {
            "phone_accuracy": phones,
            "kind_accuracy": kinds,
            "accuracy": (phones + kinds) / 2,
        }
