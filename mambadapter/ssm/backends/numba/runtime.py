"""How numba runs beside torch: whose threads, how many, and where compiled kernels are kept."""

import ctypes
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numba
import torch

from mambadapter.utils.files import source_digest, user_cache

_SOURCES = Path(__file__).parent


def share_threads_with_torch() -> None:
    """Make numba use torch's OpenMP library instead of a second one.

    With two libraries, the idle threads of each spin on the cores that the other's need. Loaded globally,
    torch's symbols are those that numba's threading layer finds first.
    """
    for library in Path(torch.__file__).with_name("lib").glob("libgomp*.so*"):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    # "omp" is the layer that uses that library; "workqueue", the last, is always available.
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


@contextmanager
def caching_kernels() -> Iterator[None]:
    """Cache the kernels decorated within in a folder named after the source of all kernels.

    numba checks the file of the cached function alone. After a change to a function that a kernel calls
    from another file, it would run the old machine code.
    """
    before = numba.config.CACHE_DIR
    roots = [Path(before)] if before else [_SOURCES / "__pycache__", user_cache()]
    numba.config.CACHE_DIR = str(_first_writable(roots) / f"kernels-{source_digest(_SOURCES)}")
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def use_threads(clips: int) -> None:
    """As many threads as torch uses, and no more than there are clips to share out."""
    _launch_threads()
    wanted = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS, clips)
    numba.set_num_threads(max(wanted, 1))


@cache
def _launch_threads() -> None:
    # numba launches its threads by setting OpenMP's thread count, which torch shares: a process limited to
    # one thread, as under torchrun, would use all cores from then on. So torch's count is set back.
    threads = torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(threads)


def _first_writable(roots: Sequence[Path | None]) -> Path:
    """The first folder that takes a file; else one that lasts as long as this process."""
    for root in filter(None, roots):
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                return root
    return Path(tempfile.mkdtemp(prefix="mambadapter-"))
