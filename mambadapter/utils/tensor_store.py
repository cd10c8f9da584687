"""Tensors on disk that several runs share: a folder of files, within a limit."""

import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mambadapter.utils.files import whole_file

logger = logging.getLogger(__name__)

_NAME = "tensor"
_STALE = 3600.0  # seconds after which a half-written file is a killed run's
_RECOUNT = 0.02  # of the limit: after so much is written, what other runs wrote is counted too


class TensorStore:
    """Tensors by a key, in one group of those that a folder holds.

    Several processes may read and write at once, and any may be killed: a file appears whole or not at
    all. When the folder is full, groups that no run opened lately make room, and after that nothing more is
    written. A disk that fills up stops the writing, not the run.

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
        self._writes, self._since = True, 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
            self._tidy()
        except OSError as error:
            self._stop(str(error))
        self._size = _bytes(folder)

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
        size = tensor.nbytes
        if self._since > _RECOUNT * self.limit:
            self._size, self._since = _bytes(self.folder.parent), 0
        if not self._writes:
            return
        if self._size + size > self.limit:
            self._stop(f"{self.folder.parent} has reached its limit, {self.limit / 1e9:g} GB")
            return
        try:
            with whole_file(self._path(key)) as partial:
                try:
                    save_file({_NAME: tensor.contiguous()}, partial)
                except (SafetensorError, OSError):
                    partial.unlink(missing_ok=True)
                    raise
        except (SafetensorError, OSError) as error:
            self._stop(str(error))
        self._size, self._since = self._size + size, self._since + size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _stop(self, why: str) -> None:
        self._writes = False
        logger.warning("No more frozen features are kept on disk: %s.", why)

    def _tidy(self) -> None:
        """Remove what killed runs left, and while the folder is full the groups opened longest ago."""
        for path in self.folder.glob("*/*.partial"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()
        groups = sorted(
            (path for path in self.folder.parent.iterdir() if path != self.folder),
            key=lambda path: path.stat().st_mtime,
        )
        for path in groups:
            if _bytes(self.folder.parent) <= self.limit / 2:
                break
            shutil.rmtree(path, ignore_errors=True)


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.*"):  # files, which have a suffix
        with suppress(OSError):  # another run may remove it meanwhile
            total += path.stat().st_size
    return total
