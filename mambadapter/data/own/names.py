"""A file that is not there, and the one beside it that was probably meant."""

import unicodedata
from pathlib import Path


def same_but_for(path: Path) -> tuple[str, str] | None:
    """The name in its folder that looks the same, and in what it differs."""
    if not path.parent.is_dir():
        return None
    wanted = unicodedata.normalize("NFC", path.name)
    for entry in sorted(path.parent.iterdir()):
        there = unicodedata.normalize("NFC", entry.name)
        if there == wanted:
            return entry.name, "its accents written in another way (Unicode NFC and NFD)"
        if there.lower() == wanted.lower():
            return entry.name, "of another case"
        if there.rpartition(".")[0] == wanted:
            return entry.name, "with a suffix"
    return None
