"""Checkpoints that hold what was trained, and nothing of the frozen encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from speechbrain.utils.checkpoints import (
    METAFNAME,
    Checkpoint,
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import ddp_barrier
from torch import Tensor, nn

from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.errors import UserError


def trained_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Collect what training changes: trainable parameters, each once, and all buffers.

    Buffers include BatchNorm statistics, which learn without requiring gradient.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        For instance ``{"encoder": ..., "head": ...}``.

    Returns
    -------
    dict[str, Tensor]
        Live tensors, not copies, by ``<module>.<name>``.

    Example
    -------
    >>> frozen, norm = nn.Linear(2, 2).requires_grad_(False), nn.BatchNorm1d(2)
    >>> sorted(trained_tensors({"a": nn.Sequential(frozen, norm)}))[:2]
    ['a.1.bias', 'a.1.num_batches_tracked']
    """
    tree = nn.ModuleDict(modules)
    persistent = tree.state_dict().keys()
    learned = {name: p for name, p in tree.named_parameters() if p.requires_grad}
    buffers = {name: b for name, b in tree.named_buffers() if name in persistent}
    return {**learned, **buffers}


def load_trained(
    modules: Mapping[str, nn.Module], saved: Mapping[str, Tensor], source: str
) -> None:
    """Put saved tensors back, strictly: the same names and shapes, or an error and no change.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        Built the way they were when saved.
    saved : Mapping[str, Tensor]
        By the names of `trained_tensors`.
    source : str
        Where `saved` came from, for the error message.

    Raises
    ------
    UserError
        If names or shapes differ.
    """
    live = trained_tensors(modules)
    missing, unexpected = sorted(live.keys() - saved.keys()), sorted(saved.keys() - live.keys())
    reshaped = [n for n in live.keys() & saved.keys() if live[n].shape != saved[n].shape]
    if missing or unexpected or reshaped:
        parts = [
            f"{len(names)} {what} (such as {names[0]})"
            for names, what in (
                (missing, "tensors missing"),
                (unexpected, "unknown tensors"),
                (reshaped, "tensors of another shape"),
            )
            if names
        ]
        raise UserError(f"{source} was saved from another model: {', '.join(parts)}.")
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(saved[name])


@register_checkpoint_hooks
class TrainedTensors:
    """A SpeechBrain recoverable that saves `trained_tensors` of some modules as safetensors.

    With them goes a fingerprint of what was frozen, so that a run does not go on with another encoder.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        As before any distributed wrapper.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = dict(modules)
        self.frozen = frozen_fingerprint(nn.ModuleDict(modules))

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write the tensors."""
        tensors = trained_tensors(self.modules)
        contiguous = {name: t.detach().contiguous() for name, t in tensors.items()}
        save_file(contiguous, str(path), metadata={"frozen": self.frozen})

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read the tensors back, strictly."""
        with safe_open(str(path), "pt") as file:
            frozen = file.metadata()["frozen"]
        if frozen != self.frozen:
            raise UserError(
                f"{path} was trained on an encoder with other frozen weights. Put that encoder back, or "
                "give another --output_folder."
            )
        load_trained(self.modules, load_file(str(path)), str(path))


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's `Checkpointer`, for which a checkpoint counts once all of it is written.

    SpeechBrain writes the file that marks a folder as a checkpoint first: a run killed while it saves
    would find half a checkpoint, take it for the latest, and fail.

    Parameters
    ----------
    checkpoints_dir, recoverables : Any
        As for SpeechBrain's.
    """

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Checkpoint | None:
        """Save, and mark as a checkpoint last."""
        checkpoint = super().save_checkpoint(*args, **kwargs)
        if checkpoint is not None:
            _unmarked(checkpoint.path / METAFNAME).rename(checkpoint.path / METAFNAME)
        # A process that looked before the mark was there would keep and delete other checkpoints than the
        # rest, and deleting is collective.
        ddp_barrier()
        return checkpoint

    def _save_checkpoint_metafile(self, fpath: Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._save_checkpoint_metafile(_unmarked(fpath), *args, **kwargs)


def _unmarked(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
