"""What a benchmark prints: tables as it measures, or with ``--json`` one object at the end."""

import argparse
import json
from typing import Any

from mambadapter.cost.timing import describe_machine


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument("--json", action="store_true", help="print one object in place of tables")


class Output:
    """Prints, and keeps the numbers.

    The object has ``machine``, ``settings``, and ``results``, whose keys are the rows' names.
    """

    def __init__(self, as_json: bool, device: str = "cpu", **settings: Any) -> None:
        self._as_json = as_json
        self._results: dict[str, Any] = {}
        self._head = {"machine": describe_machine(device), "settings": settings}
        self.say(self._head["machine"])

    def say(self, text: str = "") -> None:
        """A line of a table."""
        if not self._as_json:
            print(text, flush=True)

    def keep(self, *path: str, **numbers: Any) -> None:
        """The numbers of a row, under its names from the outermost on."""
        place = self._results
        for name in path:
            place = place.setdefault(name, {})
        place |= numbers

    def close(self) -> None:
        """Print the object."""
        if self._as_json:
            print(json.dumps({**self._head, "results": self._results}))
