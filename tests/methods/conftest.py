"""Lists in the test run's output which pairs of method and encoder keep the contract."""

import re
from collections import Counter

from mambadapter.methods import MENU

CONTRACT = re.compile(r"test_(decoder_)?contract\.py::\w+\[(.+)\]")


def pytest_terminal_summary(terminalreporter):
    counts = {"passed": Counter(), "failed": Counter()}
    for outcome, count in counts.items():
        for report in terminalreporter.stats.get(outcome, []):
            found = CONTRACT.search(report.nodeid)
            if found and report.when == "call":
                count[f"whisper-decoder-{found[2]}" if found[1] else found[2]] += 1
    pairs = set(counts["passed"]) | set(counts["failed"])
    if not pairs:
        return
    terminalreporter.section("contract: tests passed, by method and encoder")
    encoders = sorted(
        {
            pair.removesuffix(f"-{name}")
            for pair in pairs
            for name in MENU
            if pair.endswith(f"-{name}")
        }
    )
    width = max(map(len, MENU))
    terminalreporter.line(" " * width + "".join(f"{encoder:>17}" for encoder in encoders))
    for name in MENU:
        cells = [f"{encoder}-{name}" for encoder in encoders]
        shown = [
            f"{counts['passed'][pair]}"
            + (f" ({counts['failed'][pair]} failed)" if counts["failed"][pair] else "")
            for pair in cells
        ]
        terminalreporter.line(f"{name:<{width}}" + "".join(f"{cell:>17}" for cell in shown))
