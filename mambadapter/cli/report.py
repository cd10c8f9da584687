"""`mambadapter report`: tables, tests and pictures of results."""

import argparse
from pathlib import Path

from mambadapter.cli.files import user_path
from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("report", help="tables, tests and pictures of results")
    parser.add_argument(
        "source",
        type=lambda text: Path(user_path(text)),
        help="a sweep's output, any folder with results, or a .jsonl file of them",
    )
    parser.add_argument(
        "--output",
        type=lambda text: Path(user_path(text)),
        help="where it goes (default report in that folder, results/report of a file)",
    )
    parser.add_argument(
        "--metric", help="such as accuracy, mAP, wer or cer (default what the results have)"
    )
    parser.add_argument(
        "--sweep",
        type=lambda text: Path(user_path(text)),
        help="the sweep's file, which names what is missing, and variants of a method",
    )
    parser.add_argument(
        "--against",
        metavar="METHOD",
        help="test this method against each other one, and not all against all",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        type=_wanted,
        metavar="SETTING=VALUES",
        help="of the runs those with one of these values, such as adapter=lora,dora; may be repeated",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the report, and print its table."""
    from mambadapter.experiments.sweep_file import read_sweep
    from mambadapter.report.page import write_report

    source = arguments.source
    if not (source.is_dir() or (source.suffix == ".jsonl" and source.is_file())):
        raise UserError(f"There is no folder {source}, nor is it a .jsonl file.")
    sweep = None if arguments.sweep is None else read_sweep(arguments.sweep)
    output = arguments.output or (source if source.is_dir() else Path("results")) / "report"
    page = write_report(
        source, output, arguments.metric, sweep, arguments.against, dict(arguments.only)
    )
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"Wrote {page}, and beside it the runs, the table and the pictures in several formats.")


def _wanted(text: str) -> tuple[str, str]:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise argparse.ArgumentTypeError(f"'{text}' should be SETTING=VALUE,VALUE")
    return key, values
