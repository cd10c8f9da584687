"""Which devices there are, and what they are bad at."""

import logging
import platform
from pathlib import Path

import torch

from mambadapter.errors import UserError, did_you_mean

logger = logging.getLogger(__name__)


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


def processor() -> str:
    """The processor's model, and the widest instructions that PyTorch uses of it, AMX among them."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    amx = " and AMX" if torch.cpu.get_capabilities().get("amx_bf16") else ""
    return f"{name} with {torch.backends.cpu.get_cpu_capability()}{amx}"


def warn_of_slow_bf16(device: str, precision: str) -> None:
    """Say so where bfloat16 is asked of a processor that is faster in float32."""
    if torch.device(device).type != "cpu" or precision != "bf16":
        return
    if torch.cpu.get_capabilities().get("amx_bf16") is not False:  # said of x86 only
        return
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        how = "usually slower than float32; `mambadapter bench --precision bf16` tells for this one"
    else:
        how = "many times as slow as float32 where there is no AVX-512 either, as here"
    logger.warning("precision bf16: this processor has no AMX, and without it bfloat16 is %s.", how)
