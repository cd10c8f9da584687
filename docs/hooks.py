"""The site holds docs/, and below ``repository/`` what its pages link to elsewhere in the repository."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent.resolve()
LINK = re.compile(r"(?<=\]\()[^)#:\s]+")


def place(path: Path) -> Path:
    """Where on the site a file of the repository is."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS)
    return "repository" / path.relative_to(DOCS.parent)


def linked(page: str, target: str) -> Path | None:
    """The file that a page links to."""
    path = (Path(page).parent / target).resolve()
    return path if path.is_file() else None


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to, and what those link to in turn."""
    waiting = [file.abs_src_path for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for target in LINK.findall(Path(page).read_text(encoding="utf-8")):
            path = linked(page, target)
            if path and place(path).as_posix() not in files.src_uris:
                file = File.generated(config, place(path).as_posix(), abs_src_path=str(path))
                files.append(file)
                if path.suffix == ".md":
                    waiting.append(str(path))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between places on the site."""

    def moved(link: re.Match) -> str:
        path = linked(page.file.abs_src_path, link[0])
        return os.path.relpath(place(path), Path(page.file.src_uri).parent) if path else link[0]

    return LINK.sub(moved, markdown)
