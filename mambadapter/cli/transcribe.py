"""`mambadapter transcribe`: recognise speech in audio files with a trained adapter."""

import argparse

from mambadapter.cli.files import add_arguments, answer_each, check_arguments


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "transcribe", help="write down what is said in audio files, with a trained adapter"
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the text of each file."""
    check_arguments(arguments)
    from transformers.utils import logging

    from mambadapter.inference import recogniser

    logging.disable_progress_bar()
    transcriber = recogniser(arguments.package, arguments.encoder)
    return answer_each(
        arguments.audio,
        lambda path: transcriber.transcribe(path, arguments.channel, arguments.read_cut),
    )
