"""`mambadapter predict`: classify audio files with a trained adapter."""

import argparse
from collections.abc import Callable
from functools import partial

from mambadapter.cli.files import add_arguments, answer, user_path
from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("predict", help="classify audio files with trained adapters")
    add_arguments(parser, "audacity")
    parser.add_argument("--top", type=int, default=3, help="classes to show in text (default 3)")
    parser.add_argument(
        "--window", type=float, help="classify recordings of any length, so many seconds at a time"
    )
    parser.add_argument(
        "--hop", type=float, help="seconds from one window to the next (default half a window)"
    )
    parser.add_argument(
        "--picture", type=user_path, help="a picture of one recording's timeline, such as a.png"
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="say '(none of these)', null in JSON, of clips that are none of the classes: those below the "
        "package's threshold; in a timeline they are gaps",
    )
    parser.add_argument("--threshold", type=float, help="another one, 0 to 1; it implies --unknown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the likeliest classes of each file."""
    if arguments.top < 1:
        raise UserError("--top: give at least 1.")
    timed = arguments.hop is not None or arguments.picture or arguments.format == "audacity"
    if timed and arguments.window is None:
        raise UserError("--hop, --picture and audacity's labels are of a timeline; add --window 1.")
    from mambadapter.inference.formats import FORMATS, audacity, text
    from mambadapter.inference.picture import draw_timeline

    draw = partial(draw_timeline, path=arguments.picture) if arguments.picture else None
    write: dict[str, Callable] = {
        **FORMATS,
        "text": partial(text, top=arguments.top),
        "audacity": audacity,
    }
    return answer(
        "predict",
        arguments,
        write,
        draw,
        window=arguments.window,
        hop=arguments.hop,
        unknown=arguments.unknown,
        threshold=arguments.threshold,
    )
