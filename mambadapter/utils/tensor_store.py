"""Tensors on disk that several runs share: a folder of files, within a limit."""

import logging
import os
import shutil
import time
import weakref
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mambadapter.utils.files import whole_file

logger = logging.getLogger(__name__)

_NAME = "tensor"
_STALE = 3600.0  # seconds after which a half-written file is a killed run's
_STRIDE = 0.05  # of the limit: after so much is written, what other runs wrote is counted too
_SPARE = 1e9  # bytes of the disk that are left to others, such as checkpoints


class TensorStore:
    """Tensors by a key, in one group of those that a folder holds.

    Several processes may read and write at once, and any may be killed: a file appears whole or not at
    all. When the folder is full, groups that no process has open make room, those that were opened longest
    ago first, and after that nothing more is written. A disk that fills up stops the writing, not the run.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    group : str
        What the keys belong to, such as a digest of an encoder.
    limit : float
        Bytes of all groups together.

    Example
    -------
    >>> import tempfile, torch
    >>> store = TensorStore(Path(tempfile.mkdtemp()), "ones", 1e6)
    >>> store.write("a", torch.ones(2))
    >>> store.read("a"), store.read("b")
    (tensor([1., 1.]), None)
    """

    def __init__(self, folder: Path, group: str, limit: float) -> None:
        self.folder, self.limit = folder / group, limit
        self._writes, self._room = True, 0.0  # nothing is counted until something is to be written
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
            self._keep_open()
        except OSError as error:
            self._stop(str(error))

    def read(self, key: str) -> Tensor | None:
        """The tensor of a key; None if it is not there, or damaged."""
        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                return file.get_tensor(_NAME)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            with suppress(OSError):
                path.unlink()
            return None

    def write(self, key: str, tensor: Tensor) -> None:
        """Keep a tensor, if there is room."""
        if not self._writes:
            return
        try:
            if tensor.nbytes > self._room:
                self._room = self._make_room(tensor.nbytes)
            with whole_file(self._path(key)) as partial:
                save_file({_NAME: tensor.contiguous()}, partial)
        except (SafetensorError, OSError) as error:
            self._stop(str(error))
        self._room -= tensor.nbytes

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _stop(self, why: str) -> None:
        self._writes = False
        logger.warning("No more frozen features are kept on disk: %s.", why)

    def _keep_open(self) -> None:
        """Hold the group for as long as this store lives, where the system has such locks."""
        with suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(self.folder, os.O_RDONLY)
            weakref.finalize(self, os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _make_room(self, size: int) -> float:
        """Bytes that may be written before the next look, `size` at least; an OSError if there are not."""
        root = self.folder.parent
        sizes = {group: _bytes(group) for group in sorted(root.iterdir(), key=_opened)}
        for group in sizes:
            if sum(sizes.values()) + size <= self.limit:
                break
            if group != self.folder and not _is_open(group):
                shutil.rmtree(group, ignore_errors=True)
                sizes[group] = _bytes(group)
        below_limit = self.limit - sum(sizes.values())
        if size > below_limit:
            raise OSError(f"{root} has reached its limit, {self.limit / 1e9:g} GB")
        on_disk = shutil.disk_usage(root).free - _SPARE
        if size > on_disk:
            raise OSError(f"less than {_SPARE / 1e9:g} GB is left on the disk of {root}")
        return min(below_limit, on_disk, max(size, _STRIDE * self.limit))


def _opened(group: Path) -> float:
    """When a group was opened last; another run may remove it meanwhile."""
    try:
        return group.stat().st_mtime
    except OSError:
        return 0.0


def _is_open(group: Path) -> bool:
    """Whether a process has a group open; no, where the file system cannot tell."""
    with suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(group, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _bytes(folder: str | Path) -> int:
    """Of a folder's files; what killed runs left half-written is removed."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another run may remove it meanwhile
                if entry.is_dir(follow_symlinks=False):
                    total += _bytes(entry.path)
                elif (
                    entry.name.endswith(".partial") and time.time() - entry.stat().st_mtime > _STALE
                ):
                    os.unlink(entry)
                else:
                    total += entry.stat().st_size
    return total
