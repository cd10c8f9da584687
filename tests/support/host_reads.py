"""Finds where a step would keep the host waiting for a GPU, on a CPU: what reads or counts a tensor's values."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

_READS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")
_INDEXES = ("index", "index_put", "index_put_")


class _Watch(TorchDispatchMode):
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = op.name().removeprefix("aten::").partition(".")[0]
        if name.startswith(_READS):
            raise AssertionError(f"{op} reads a tensor")
        # Filling with one number is done in place, whatever the mask says.
        filled = name.startswith("index_put") and args[2].dim() == 0
        if name in _INDEXES and not filled and any(_is_mask(index) for index in args[1]):
            raise AssertionError(f"{op} counts what a mask selects")
        return op(*args, **(kwargs or {}))


def _is_mask(index):
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _refused(name):
    whole = getattr(Tensor, name)

    def read(self, *args, **kwargs):
        # An operator's own kernel may: it does so for its device.
        assert not _get_current_dispatch_mode_stack(), f"Tensor.{name} reads a tensor"
        return whole(self, *args, **kwargs)

    return mock.patch.object(Tensor, name, read)


@contextmanager
def no_host_reads() -> Iterator[None]:
    """Refuse whatever would make the host wait; also in the backward."""
    with _refused("tolist"), _refused("cpu"), _Watch():
        yield
