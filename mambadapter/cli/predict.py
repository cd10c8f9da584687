"""`mambadapter predict`: classify audio files with a trained adapter."""

import argparse
from functools import partial

from mambadapter.cli.files import add_arguments, answer
from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("predict", help="classify audio files with trained adapters")
    add_arguments(parser)
    parser.add_argument("--top", type=int, default=3, help="classes to show in text (default 3)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the likeliest classes of each file."""
    if arguments.top < 1:
        raise UserError("--top: give at least 1.")
    from mambadapter.inference.formats import FORMATS, text

    return answer("predict", arguments, {**FORMATS, "text": partial(text, top=arguments.top)})
