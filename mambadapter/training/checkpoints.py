"""Checkpoints that hold what was trained, and nothing of the frozen encoder."""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import (
    METAFNAME,
    Checkpoint,
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import ddp_barrier
from torch import nn
from yaml import YAMLError

from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.encoders.trained import read_trained, save_trained
from mambadapter.errors import UserError

# What reading a file that was cut, or is another, raises; pickles raise almost anything.
_DAMAGED = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError,
    pickle.UnpicklingError,
)  # fmt: skip


@register_checkpoint_hooks
class TrainedTensors:
    """A SpeechBrain recoverable that saves `trained_tensors` of some modules as safetensors.

    With them goes a fingerprint of what was frozen, so that a run does not go on with another encoder.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = dict(modules)
        self.frozen = frozen_fingerprint(nn.ModuleDict(modules))

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write the tensors."""
        save_trained(self.modules, path, self.frozen)

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read the tensors back, strictly."""
        mend = "Put that encoder back, or give another --output_folder."
        read_trained(self.modules, path, self.frozen, mend)


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's `Checkpointer`, for which a checkpoint counts once all of it is written.

    SpeechBrain writes the file that marks a folder as a checkpoint first: a run killed while it saves
    would find half a checkpoint, take it for the latest, and fail.
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

    def save_and_keep_only(
        self, *args: Any, importance_keys: Sequence[Callable[[Checkpoint], Any]] = (), **kwargs: Any
    ) -> None:
        """Save, and delete what is not worth keeping.

        SpeechBrain appends to its default list of keys at every call, and reads every checkpoint for each
        entry: saves within an epoch would get slower and slower.
        """
        super().save_and_keep_only(*args, importance_keys=[*importance_keys], **kwargs)

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Load, or say which folder is damaged."""
        try:
            super().load_checkpoint(checkpoint)
        except UserError:
            raise
        except _DAMAGED as error:
            raise _damaged(checkpoint.path, error) from error

    @staticmethod
    def _construct_checkpoint_objects(checkpoint_dirs: Iterable[Path]) -> list[Checkpoint]:
        found = []
        for folder in checkpoint_dirs:
            try:
                (one,) = Checkpointer._construct_checkpoint_objects([folder])
                for key in ("end-of-epoch", "unixtime"):
                    _ = one.meta[key]
            except (*_DAMAGED, YAMLError) as error:
                raise _damaged(folder, error) from error
            found.append(one)
        return found

    def _save_checkpoint_metafile(self, fpath: Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._save_checkpoint_metafile(_unmarked(fpath), *args, **kwargs)


def _damaged(folder: Path, error: Exception) -> UserError:
    why = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return UserError(
        f"The checkpoint {folder} is damaged ({why}). Delete that folder, and start again: training goes on "
        "from the checkpoint before it, if there is one."
    )


def _unmarked(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
