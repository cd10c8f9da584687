"""The ``--only`` of commands that may take a part of the runs."""

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Add the option; what it holds is pairs of a setting and values, which `picked` takes apart."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        type=_pair,
        metavar="SETTING=VALUES",
        help="of the runs those with one of these values, such as adapter=lora,dora; may be repeated",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise argparse.ArgumentTypeError(f"'{text}' should be SETTING=VALUE,VALUE")
    return key, values
