"""`mambadapter report`: tables, tests and pictures of results."""

import argparse
from pathlib import Path

from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("report", help="tables, tests and pictures of a folder of results")
    parser.add_argument("folder", type=Path, help="a sweep's output, or any folder with results")
    parser.add_argument("--output", type=Path, help="where it goes (default FOLDER/report)")
    parser.add_argument("--metric", help="accuracy, wer or cer (default what the results have)")
    parser.add_argument("--sweep", type=Path, help="the sweep's file, to name what is missing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the report, and print its table."""
    from mambadapter.experiments.sweep_file import read_sweep
    from mambadapter.report.page import write_report

    if not arguments.folder.is_dir():
        raise UserError(f"There is no folder {arguments.folder}.")
    sweep = None if arguments.sweep is None else read_sweep(arguments.sweep)
    output = arguments.output or arguments.folder / "report"
    page = write_report(arguments.folder, output, arguments.metric, sweep)
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"Wrote {page}, the table as CSV, Markdown and LaTeX, and the pictures as PDF and PNG.")
