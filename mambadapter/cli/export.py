"""`mambadapter export`: write a trained adapter for other people's code."""

import argparse

from mambadapter.cli.files import user_path


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "export", help="write a trained adapter for code that does not have this package"
    )
    parser.add_argument(
        "package", type=user_path, help="a run's output folder, or the `adapter` folder in it"
    )
    parser.add_argument("destination", type=user_path, help="a folder that is not there yet")
    parser.add_argument(
        "--to",
        required=True,
        help="transformers (a checkpoint for its Auto classes), peft (LoRA and DoRA alone) or onnx",
    )
    parser.add_argument(
        "--encoder", type=user_path, help="where the frozen encoder is now, if it has moved"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write it, and say what loads it."""
    from transformers.utils import logging

    from mambadapter.export import export_package

    logging.disable_progress_bar()
    loads = export_package(
        arguments.package, arguments.destination, arguments.to, arguments.encoder
    )
    print(f"Wrote {arguments.destination}. Load it with {loads}.")
