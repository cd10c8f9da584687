"""`mambadapter transcribe`: recognise speech in audio files with a trained adapter."""

import argparse

from mambadapter.cli.files import add_arguments, answer


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "transcribe", help="write down what is said in audio files, with trained adapters"
    )
    add_arguments(parser, "srt", "vtt")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the text of each file."""
    from mambadapter.inference.formats import CAPTIONS, FORMATS

    return answer("transcribe", arguments, {**FORMATS, **CAPTIONS})
