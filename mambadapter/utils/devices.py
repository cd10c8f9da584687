"""Which devices there are."""

import torch

from mambadapter.errors import UserError, did_you_mean


def choose_device(name: str) -> str:
    """A device that is there, by its name; ``auto``: a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(name)
    return name


def check_device(name: str) -> None:
    """Refuse a ``--device`` that is not there, before anything is prepared for it."""
    there = devices()
    kind = name.partition(":")[0]
    if name in there or (name == kind and any(one.startswith(f"{kind}:") for one in there)):
        return
    if kind in ("cuda", "mps"):
        raise UserError(f"--device {name}: there is none here; there is {', '.join(there)}.")
    near = "cuda" if kind.lower() == "gpu" else name
    raise UserError(f"--device: '{name}' is unknown; {did_you_mean(near, ['cpu', 'cuda', 'mps'])}.")


def devices() -> list[str]:
    """The devices of this machine, such as ``cpu`` and ``cuda:0``."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps", "mps:0"] if torch.backends.mps.is_available() else [])]
