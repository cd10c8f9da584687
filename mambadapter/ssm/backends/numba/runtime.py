"""How numba runs beside torch: whose threads, how many, and where compiled kernels are kept."""

import ctypes
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numba
import torch

_SOURCES = Path(__file__).parent


def share_threads_with_torch() -> None:
    """Let numba take its OpenMP threads from torch's library instead of another one.

    The idle threads of each library spin in the way of the other's. With torch's symbols global, numba's
    threading layer finds those first.
    """
    for library in Path(torch.__file__).with_name("lib").glob("libgomp*.so*"):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    # The layer that shares threads comes first; the last is always there.
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


@contextmanager
def caching_kernels() -> Iterator[None]:
    """Keep what is decorated within in a folder named after the source of all kernels.

    numba's cache knows a function by its own file. A change to a function that a kernel calls, in
    another file, would go unnoticed, and the old machine code run on.
    """
    before = numba.config.CACHE_DIR
    roots = [Path(before)] if before else [_SOURCES / "__pycache__", *_home_cache()]
    numba.config.CACHE_DIR = str(_first_writable(roots) / f"kernels-{source_digest()}")
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def source_digest(folder: Path = _SOURCES) -> str:
    """Sixteen hexadecimal digits of the kernels' source."""
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def use_threads(clips: int) -> None:
    """As many threads as torch uses, and no more than there are clips to share out."""
    _launch_threads()
    wanted = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS, clips)
    numba.set_num_threads(max(wanted, 1))


@cache
def _launch_threads() -> None:
    # numba starts its OpenMP threads by setting OpenMP's thread count, which is torch's as well: without
    # this, a process told to use one thread (as torchrun does) would from here on use all cores.
    threads = torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(threads)


def _home_cache() -> list[Path]:
    with suppress(RuntimeError):  # no home
        return [Path.home() / ".cache" / "mambadapter"]
    return []


def _first_writable(roots: list[Path]) -> Path:
    """The first folder that takes a file; else one that lasts as long as this process."""
    for root in roots:
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                return root
    return Path(tempfile.mkdtemp(prefix="mambadapter-"))
