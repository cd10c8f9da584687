"""Which classes each setting's runs take for which others."""

from collections.abc import Mapping
from typing import Any

from mambadapter.metrics.confusion import pooled
from mambadapter.report.collect import Cell, Collection

_PAIRS, _CLIPS = 3, 3  # of a setting, and of a pair


def confusion_rows(collection: Collection) -> tuple[list[str], list[list[str]]]:
    """A header, and a row for each of a setting's worst pairs; none of runs that do not say."""
    header = ["setting", "class", "taken for", "clips", "runs that name it", "such as"]
    rows = []
    for cell in collection.cells:
        telling = [run for run in cell.runs if _says(run.result)]
        lists = [run.result["worst_confused"] for run in telling]
        told = sum(len(run.result.get("folds", ("itself",))) for run in telling)
        for pair in pooled(lists)[:_PAIRS]:
            rows.append([
                collection.label(cell) or _method(cell), pair["class"], pair["taken_for"],
                f"{pair['clips']} of {pair['of']}", f"{pair['runs']} of {told}",
                ", ".join(pair["names"][:_CLIPS]),
            ])  # fmt: skip
    return header, rows


def _says(result: Mapping[str, Any]) -> bool:
    """Whether it has pairs; over folds earlier versions had those of the first alone."""
    pairs = result.get("worst_confused")
    return pairs is not None and ("folds" not in result or all("runs" in pair for pair in pairs))


def _method(cell: Cell) -> str:
    """Where there is nothing to tell it from."""
    return str(cell.runs[0].settings.get("adapter", ""))
