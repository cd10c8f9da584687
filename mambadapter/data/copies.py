"""Files that hold the same audio under several names."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def same_audio(paths: Iterable[Path]) -> dict[Path, str]:
    """A digest of each file that may be another's copy: those of equal size."""
    alike = [path for group in _by_size(paths).values() if len(group) > 1 for path in group]
    with ThreadPoolExecutor() as pool:
        return dict(zip(alike, pool.map(_digest, alike), strict=True))


def copies_of(paths: Iterable[Path], others: Iterable[Path]) -> dict[Path, Path]:
    """Of each file that is also among the others, as a copy or itself, that one."""
    here, there = _by_size(paths), _by_size(others)
    digests = same_audio(
        path for size in here.keys() & there for path in (*here[size], *there[size])
    )
    same = {path: path for group in there.values() for path in group}
    held = {digests[path]: path for path in same if path in digests}
    found = (
        (path, same.get(path) or held.get(digests.get(path, "")))
        for group in here.values()
        for path in group
    )
    return {path: other for path, other in found if other is not None}


def _by_size(paths: Iterable[Path]) -> dict[int, list[Path]]:
    by_size = defaultdict(list)
    for path in dict.fromkeys(paths):
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    return by_size


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
