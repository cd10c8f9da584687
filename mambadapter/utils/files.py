"""Files that are whole, whatever kills the process."""

import hashlib
import json
import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError
from mambadapter.utils.columns import chunks

_BLOCK = 2**20  # characters that are read at a time


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the path that this gives; whatever ends it leaves the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _partial(path: Path) -> Path:
    # No process's number is in it: two containers that share a folder may have the same.
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Write into the folder that this gives; it takes its place, which must be free, whole or not at all."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} is there already, and not empty; give another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    partial.mkdir()
    try:
        yield partial
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: str | Path, content: Any) -> Path:
    """Write a JSON file, whole or not at all."""
    path = Path(path)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def read_json(path: Path, mend: str, kind: type = dict) -> Any:
    """Read a JSON file that holds one thing of a kind, or say what mends it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no whole JSON file ({error}); {mend}.") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} holds no {kind.__name__}; {mend}.")
    return content


def write_items(path: str | Path, items: Iterable[tuple[str, Any]]) -> Path:
    """Write a JSON object, whole or not at all: a mapping a line, of which few are in memory."""
    path = Path(path)
    # No raw line break is inside of a JSON string: those behind a comma are what parts items.
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",\n", ": ")).encode
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        before = "{\n"
        for some in chunks(items):
            text = encode(dict(some))[1:-1].replace("},\n", "\n")
            file.write(before + text.replace(",\n", ", ").replace("\n", "},\n"))
            before = ",\n"
        file.write("{}" if before == "{\n" else "\n}")
    return path


def read_items(path: Path, mend: str) -> Iterator[tuple[str, Any]]:
    """The items of a JSON object, as `read_json` but one after the other.

    Written by `write_items`, no more than some lines are in memory; laid out in another way, all of it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text, begin, wanted = "", "", 0
            while True:
                block = file.read(_BLOCK)
                text += block
                end = text.rfind(',\n"') if block else len(text)
                if block and end < wanted:
                    continue
                try:
                    content = json.loads(begin + text[:end] + ("}" if block else ""))
                except ValueError:
                    if not block:
                        raise
                    wanted = 2 * len(text)  # it was not between two items
                    continue
                if not isinstance(content, dict):
                    raise UserError(f"{path} holds no dict; {mend}.")
                yield from content.items()
                if not block:
                    return
                text, begin, wanted = text[end + 1 :], "{", 0
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no whole JSON file ({error}); {mend}.") from error


def below(folder: str | Path, names: Iterable[str]) -> list[str]:
    """Paths of names in a folder, as text; as ``folder / name``, of many in less time.

    Example
    -------
    >>> below("clips", ["a.wav", "/b.wav", "./c//d.wav"])
    ['clips/a.wav', '/b.wav', 'clips/c/d.wav']
    """
    before = "" if (root := str(folder)) == "." else root.rstrip("/") + "/"
    paths = [name if name[:1] == "/" else before + name for name in names]
    return [
        str(Path(path)) if "//" in path or "/./" in path or path[:2] == "./" or path[-1] in "/." else path
        for path in paths
    ]  # fmt: skip


def user_cache() -> Path | None:
    """Where a user's programs keep what can be computed again; None if there is no home, as in some jobs."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():
        try:
            root = Path.home() / ".cache"
        except RuntimeError:
            return None
    return root / "mambadapter"


def source_digest(folder: Path) -> str:
    """Sixteen hexadecimal digits of a folder's Python source."""
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def shown(path: str | Path) -> str:
    """A path as a message can hold it: on one line, and in UTF-8 whatever its bytes are."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if unicodedata.category(c) != "Cc" else ascii(c)[1:-1] for c in text)
