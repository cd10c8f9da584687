"""Files that are whole, whatever kills the process."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: str | Path, content: Any) -> Path:
    """Write a JSON file atomically: a killed run leaves the old file or the new one, never half."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)
    return path
