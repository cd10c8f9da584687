"""Where results are: folders of runs, and files with a result a line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError


def check_sources(sources: Sequence[Path]) -> None:
    """Refuse what is neither a folder nor a file of results."""
    for source in sources:
        if not (source.is_dir() or (source.suffix == ".jsonl" and source.is_file())):
            raise UserError(f"There is no folder {source}, nor is it a .jsonl file.")


def results_by_name(sources: Sequence[Path]) -> dict[str, set[Path]]:
    """The results of each source, by `source_names`; a result that two sources have is refused."""
    found: dict[Path, Path] = {}
    named = {}
    for name, source in zip(source_names(sources), sources, strict=True):
        named[name] = results_in(source.resolve())
        for path in named[name]:
            if path in found:
                raise UserError(f"{source} has the results of {found[path]}; give one of the two.")
            found[path] = source
    return named


def source_names(sources: Sequence[Path]) -> list[str]:
    """What sets sources apart: their last parts, and as much before those as it takes.

    Example
    -------
    >>> source_names([Path("/a/rw/runs.jsonl"), Path("/a/kab/runs.jsonl")])
    ['rw/runs', 'kab/runs']
    """
    paths = [
        path.with_suffix("") if path.suffix == ".jsonl" else path
        for path in map(Path.resolve, sources)
    ]
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def results_in(source: Path) -> set[Path]:
    """A file of results itself; of a folder its ``result.json`` files, without the parts of others.

    Below a search's result lie those of its candidates, below one over folds those of its folds.
    """
    paths = set(source.rglob("result.json")) if source.is_dir() else {source}
    return {
        path
        for path in paths
        if not any((above / "result.json") in paths for above in list(path.parents)[1:])
    }


def read_results(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Read a ``result.json``, or a ``.jsonl`` file with such a result and its name in every line."""
    many = path.suffix == ".jsonl"
    text = path.read_text(encoding="utf-8")
    for number, part in enumerate(text.rstrip("\n").split("\n") if many else [text], start=1):
        try:
            result = json.loads(part)
            name = result.pop("name") if many else path.parent.name
        except (ValueError, KeyError, TypeError, AttributeError):
            yield f"{path}, line {number}" if many else str(path), None
        else:
            yield name, result
