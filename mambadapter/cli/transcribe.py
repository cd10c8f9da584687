"""`mambadapter transcribe`: recognise speech in audio files with a trained adapter."""

import argparse

from mambadapter.cli.files import add_arguments, answer, user_path

_DECODING = ("beam", "language_model", "lm_weight", "word_score")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "transcribe", help="write down what is said in audio files, with trained adapters"
    )
    add_arguments(parser, "srt", "vtt")
    trained = "default as in the test of the training"
    parser.add_argument(
        "--beam", type=int, help=f"texts that CTC's beam search keeps, 1: greedily; {trained}"
    )
    parser.add_argument(
        "--language_model",
        type=user_path,
        metavar="FILE",
        help=f"for a beam: an n-gram model of words, .arpa or KenLM's .bin, or none; {trained}",
    )
    parser.add_argument(
        "--lm_weight", type=float, help=f"what its log-probabilities are multiplied with; {trained}"
    )
    parser.add_argument(
        "--word_score", type=float, help=f"what each word adds beside them; {trained}"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the text of each file."""
    from mambadapter.inference.formats import CAPTIONS, FORMATS

    decoding = {name: getattr(arguments, name) for name in _DECODING}
    decoding["timestamps"] = arguments.format in CAPTIONS or None
    return answer("transcribe", arguments, {**FORMATS, **CAPTIONS}, decoding=decoding)
