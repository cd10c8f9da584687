"""`mambadapter inspect`: what a folder or a table of recordings holds, and what is wrong with it."""

import argparse
from pathlib import Path

from mambadapter.cli.files import user_path

_SETTINGS = (
    "layout", "path", "label", "text", "split", "group", "start", "end", "delimiter", "audio_folder",
    "group_pattern", "label_separator",
)  # fmt: skip


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "inspect",
        help="say what a folder or a table of recordings holds, and what is wrong with it",
    )
    parser.add_argument("data", type=user_path, help="a folder, or a table of clips")
    parser.add_argument(
        "--task",
        choices=("auto", "sounds", "speech"),
        default="auto",
        help="classes or transcripts (default the one that is there)",
    )
    parser.add_argument(
        "--output", type=user_path, default="inspection.html", help="the page (default %(default)s)"
    )
    for setting in _SETTINGS:
        parser.add_argument(
            f"--data.{setting}",
            dest=setting,
            metavar="VALUE",
            help="as train.py's: hparams/own_data.yaml",
        )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print what there is, write it as a page, and end with the command that trains on it."""
    from mambadapter.data.own.inspection import inspect_data
    from mambadapter.report.inspection import inspection_text, write_inspection

    given = {name: getattr(arguments, name) for name in _SETTINGS}
    settings = {name: value for name, value in given.items() if value is not None}
    found = inspect_data(arguments.data, settings, arguments.task)
    page = write_inspection(found, Path(arguments.output))
    print(inspection_text(found))
    print(f"Wrote {page}.")
