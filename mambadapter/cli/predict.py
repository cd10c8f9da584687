"""`mambadapter predict`: classify audio files with a trained adapter."""

import argparse

from mambadapter.cli.files import add_arguments, answer_each, check_arguments
from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("predict", help="classify audio files with a trained adapter")
    add_arguments(parser)
    parser.add_argument("--top", type=int, default=3, help="classes to show (default 3)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the likeliest classes of each file."""
    check_arguments(arguments)
    if arguments.top < 1:
        raise UserError("--top: give at least 1.")
    from transformers.utils import logging

    from mambadapter.inference import Classifier

    logging.disable_progress_bar()
    classifier = Classifier.from_package(arguments.package, arguments.encoder)

    def answer(path: str) -> str:
        best = classifier.predict(path, arguments.top, arguments.channel, arguments.read_cut)
        return ", ".join(f"{label} {value:.3f}" for label, value in best)

    return answer_each(arguments.audio, answer)
