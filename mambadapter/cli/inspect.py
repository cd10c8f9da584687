"""`mambadapter inspect`: what a folder or a table of recordings holds, and what is wrong with it."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from mambadapter.cli.files import user_path
from mambadapter.errors import UserError

_SETTINGS = (
    "layout", "path", "label", "text", "split", "group", "start", "end", "delimiter", "audio_folder",
    "group_pattern", "label_separator",
)  # fmt: skip

_FOLDERS = ("noise_folder", "reverberation_folder")


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
    parser.add_argument(
        "--augmented",
        type=user_path,
        metavar="PICTURE",
        help="also draw clips before and after what training may do to them, as .png, .svg or .pdf",
    )
    for folder in _FOLDERS:
        parser.add_argument(f"--{folder}", type=user_path, help="as train.py's, for --augmented")
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
    from mambadapter.data.own.inspection import inspect_data, read_listing
    from mambadapter.report.inspection import inspection_text, write_inspection

    given = {name: getattr(arguments, name) for name in _SETTINGS}
    settings = {name: value for name, value in given.items() if value is not None}
    with TemporaryDirectory() as cache:  # of clips that have no file of their own
        data = arguments.data, settings, arguments.task, Path(cache)
        found = inspect_data(*data)
        page = write_inspection(found, Path(arguments.output))
        print(inspection_text(found))
        print(f"Wrote {page}.")
        folders = {name: getattr(arguments, name) for name in _FOLDERS}
        if arguments.augmented:
            from mambadapter.report.augmented import draw_augmented

            picture = draw_augmented(read_listing(*data), arguments.augmented, **folders)
            print(f"Wrote {picture}.")
    if any(folders.values()) and not arguments.augmented:
        raise UserError(
            "--noise_folder and --reverberation_folder are of a picture; add --augmented FILE.png."
        )
