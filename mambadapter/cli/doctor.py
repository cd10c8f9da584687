"""`mambadapter doctor`: what this machine has, and which scan it will use."""

import argparse
import json
import platform


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor", help="say what this machine has and which scan it will use"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print versions, GPUs and scan backends."""
    import torch

    from mambadapter import __version__
    from mambadapter.ssm import backend_report
    from mambadapter.utils.versions import package_versions

    print(f"mambadapter {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package, version in package_versions().items():
        print(f"{package} {version or 'not installed'}")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    print(f"{torch.get_num_threads()} threads, GPUs: {json.dumps(gpus)}")
    for name, usable, reason in backend_report():
        print(f"scan backend {name}: {'usable' if usable else 'not usable'} ({reason})")
