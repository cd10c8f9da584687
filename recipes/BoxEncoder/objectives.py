"""Two ways to learn phones: every frame's, whose times are known, or their sequence by CTC."""

import torch
import torch.nn.functional as F
from speechbrain.utils.edit_distance import accumulatable_wer_stats
from torch import Tensor

NO_PHONE = -100
BLANK = "<blank>"


def frame_loss(logits: Tensor, labels: Tensor, frames: Tensor) -> Tensor:
    """Mean cross-entropy over the frames that have a phone.

    Shapes: `logits` (B, T, phones), `labels` (B, T), `frames` (B,).
    """
    # A batch may hold no speech: a sum that is empty, not a mean over nothing.
    total = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=NO_PHONE, reduction="sum")
    return total / (labels != NO_PHONE).sum().clamp(min=1)


def ctc_loss(logits: Tensor, labels: Tensor, frames: Tensor) -> Tensor:
    """CTC of the sequences of phones, a mean over phones (Graves et al. 2006).

    Shapes: `logits` (B, T, phones + 1), `labels` (B, T), `frames` (B,).
    """
    sequences = [sequence(row) for row in labels]
    lengths = torch.tensor([len(one) for one in sequences], device=logits.device)
    losses = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), torch.cat(sequences), frames, lengths,
        blank=logits.shape[-1] - 1, reduction="none", zero_infinity=True,
    )  # fmt: skip
    return losses[lengths > 0].sum() / lengths.sum().clamp(min=1)


def sequence(labels: Tensor) -> Tensor:
    """The phones of a clip's frames in order, each run of one phone once."""
    return labels[labels != NO_PHONE].unique_consecutive()


def frames_right(logits: Tensor, labels: Tensor) -> tuple[int, int]:
    """How many frames get their phone, and of how many."""
    known = labels != NO_PHONE
    return int((logits.argmax(-1) == labels)[known].sum()), int(known.sum())


def phones_right(logits: Tensor, labels: Tensor) -> tuple[int, int]:
    """Phones less the errors of greedy decoding (substituted, left out, put in), and how many phones."""
    blank = logits.shape[-1] - 1
    right = total = 0
    for best, row in zip(logits.argmax(-1), labels, strict=True):
        expected = sequence(row).tolist()
        # Where no phone is known nothing is decoded: a clip's padding, and sounds.
        decoded = torch.where(row == NO_PHONE, blank, best).unique_consecutive()
        stats = accumulatable_wer_stats([expected], [decoded[decoded != blank].tolist()])
        errors = stats["insertions"] + stats["substitutions"] + stats["deletions"]
        right, total = right + len(expected) - errors, total + len(expected)
    return right, total


OBJECTIVES = {"frames": (frame_loss, frames_right), "ctc": (ctc_loss, phones_right)}
