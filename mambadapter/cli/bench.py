"""`mambadapter bench`: what a training step costs on this machine."""

import argparse
import dataclasses
import json
from pathlib import Path

from mambadapter.cli.files import user_path
from mambadapter.errors import UserError, did_you_mean

_METHODS = (
    "mambadapter_longconv", "gated_convolution", "mambadapter", "bottleneck", "conformer", "lora",
    "linear_probe", "full_finetuning",
)  # fmt: skip


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "bench",
        help="say what a training step costs on this machine, and the largest batch that fits",
        description=run.__doc__,
    )
    parser.add_argument(
        "--encoder",
        default="box",
        help="as in mambadapter budget; its weights are random (default box)",
    )
    parser.add_argument(
        "--adapters",
        nargs="+",
        default=_METHODS,
        metavar="NAME",
        help="names in hparams/adapters.yaml",
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=50_000,
        help="parameters that each trains, nearly (default 50000)",
    )
    parser.add_argument("--clips", type=int, default=4, help="of a batch (default 4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a clip (default 5)")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 (default a GPU if there is one)"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--limit",
        type=float,
        default=50.0,
        help="seconds after which no further method begins (default 50)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--picture",
        type=lambda text: Path(user_path(text)),
        help="draw it too, as .png, .svg or .pdf",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train a few steps of each method on noise, and print what a step costs."""
    _check(arguments)
    from mambadapter.cost import compare_methods
    from mambadapter.cost.timing import describe_machine
    from mambadapter.methods import MENU
    from mambadapter.utils.devices import choose_device

    for name in arguments.adapters:
        if name not in MENU:
            raise UserError(f"--adapters: '{name}' is not on the menu; {did_you_mean(name, MENU)}.")
    device = choose_device(arguments.device)
    machine = describe_machine(device, arguments.precision)
    what = (
        f"{arguments.encoder}, {arguments.clips} clips of {arguments.seconds:g} s, "
        f"about {arguments.budget:,} parameters"
    )
    if not arguments.json:
        print(f"{machine}\n{what}\n")
        print("| method | size | trained | step, ms | clips/s | memory, MiB | largest batch |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    costs = []
    for cost in compare_methods(
        arguments.encoder,
        arguments.adapters,
        arguments.budget,
        arguments.clips,
        arguments.seconds,
        device,
        arguments.precision == "bf16",
        arguments.limit,
    ):
        costs.append(cost)
        if not arguments.json:
            print(
                f"| {cost.method} | {cost.size} | {cost.trained:,} | {cost.milliseconds:.0f} "
                f"| {cost.clips_per_second:.1f} | {cost.memory_mib:.0f} | {cost.largest_batch} |",
                flush=True,
            )
    left_out = list(arguments.adapters[len(costs) :])
    if arguments.json:
        written = {
            "machine": machine,
            "settings": what,
            "costs": [dataclasses.asdict(c) for c in costs],
            "left_out": left_out,
        }
        print(json.dumps(written))
    elif left_out:
        more = f"--limit {2 * max(arguments.limit, 30):g}"
        print(f"\nNot begun within {arguments.limit:g} s: {', '.join(left_out)}. Give {more}.")
    if arguments.picture:
        from mambadapter.report.figures import letters, step_costs

        with letters():
            step_costs(costs, what).savefig(arguments.picture, dpi=200)


def _check(arguments: argparse.Namespace) -> None:
    for name, least in {"clips": 2, "budget": 1}.items():
        if getattr(arguments, name) < least:
            raise UserError(f"--{name}: give at least {least}.")
    if not 0.1 <= arguments.seconds <= 3600:
        raise UserError("--seconds: give a number from 0.1 to 3600.")
    if arguments.picture and arguments.picture.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"--picture: '{arguments.picture}' should end with .png, .svg or .pdf.")
