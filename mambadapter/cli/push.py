"""`mambadapter push`: put a trained adapter on the Hugging Face hub."""

import argparse

from mambadapter.cli.files import user_path


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("push", help="put a trained adapter on the Hugging Face hub")
    parser.add_argument(
        "package", type=user_path, help="a run's output folder, or the `adapter` folder in it"
    )
    parser.add_argument("name", help="user/name; it is made if it is not there")
    parser.add_argument(
        "--encoder", help="the frozen encoder's name on the hub, if it was a folder"
    )
    parser.add_argument("--private", action="store_true", help="make it for you alone")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Put it there, and say what uses it."""
    from mambadapter.inference.hub import push_package
    from mambadapter.inference.package import open_package

    folder, _ = open_package(arguments.package)
    print(push_package(folder, arguments.name, arguments.encoder, arguments.private))
    print(f"Use it by its name, {arguments.name}, where a package's folder is asked for.")
