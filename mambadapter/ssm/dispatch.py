"""Choose the scan that runs: once for each device type, and logged.

``auto`` takes the fastest backend that serves the device; a name takes that one or fails. Set it with
`set_backend` or the environment variable MAMBADAPTER_SSM_BACKEND. A new backend is one more file with
the four names NAME, unusable, selective_scan and mamba_inner, and one entry in `_BACKENDS`.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from mambadapter.errors import UserError, did_you_mean
from mambadapter.ssm.arguments import check_inner, check_scan
from mambadapter.ssm.backends import mamba_ssm, reference
from mambadapter.ssm.backends.numba import backend as cpu
from mambadapter.ssm.backends.reference import needs_grad
from mambadapter.ssm.backends.triton import backend as gpu
from mambadapter.utils.tracing import is_exporting

logger = logging.getLogger("mambadapter")

ENVIRONMENT = "MAMBADAPTER_SSM_BACKEND"


class Backend(Protocol):
    """What a backend's module defines."""

    NAME: str
    selective_scan: Callable[..., Tensor]
    mamba_inner: Callable[..., Tensor]

    def unusable(self, device_type: str) -> str | None: ...


# In order of preference.
_BACKENDS: dict[str, Backend] = {m.NAME: m for m in (cpu, gpu, mamba_ssm, reference)}

_requested: str | None = None
_chosen: dict[str, Backend] = {}


def set_backend(name: str) -> None:
    """Choose the scan for the rest of the process.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``triton``, ``mamba_ssm`` or ``reference``.

    Raises
    ------
    UserError
        If the name is unknown.

    Example
    -------
    >>> set_backend("reference"); set_backend("auto")
    """
    global _requested
    if name != "auto" and name not in _BACKENDS:
        raise UserError(
            f"Scan backend '{name}' is unknown; {did_you_mean(name, ['auto', *_BACKENDS])}."
        )
    _requested = name
    _chosen.clear()


def backend_report() -> list[tuple[str, bool, str]]:
    """List every backend, whether it is usable on this machine, and why or why not.

    Returns
    -------
    list[tuple[str, bool, str]]
        Name, usable, reason.
    """
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    report = []
    for name, backend in _BACKENDS.items():
        reasons = {device: backend.unusable(device) for device in devices}
        served = [device for device, reason in reasons.items() if reason is None]
        why = f"on {', '.join(served)}" if served else next(filter(None, reasons.values()))
        report.append((name, bool(served), why))
    return report


def backend_for(device_type: str) -> Backend:
    """Return the backend that serves a device type, choosing it at the first call."""
    if device_type not in _chosen:
        _chosen[device_type] = _choose(device_type)
    return _chosen[device_type]


@torch.compiler.assume_constant_result
def _name_for(device_type: str) -> str:
    """The chosen backend's name: a compiled graph takes the choice as made, and does not trace it."""
    return backend_for(device_type).NAME


def _choose(device_type: str) -> Backend:
    if _requested is None:
        set_backend(os.environ.get(ENVIRONMENT, "auto"))
    assert _requested is not None
    if _requested != "auto":
        backend = _BACKENDS[_requested]
        reason = backend.unusable(device_type)
        if reason is not None:
            raise UserError(
                f"Scan backend '{_requested}' cannot serve {device_type}: {reason}. Set {ENVIRONMENT}=auto "
                "or choose another."
            )
        logger.info("Selective scan on %s: %s, as asked.", device_type, backend.NAME)
        return backend
    refusals = []
    for backend in _BACKENDS.values():
        reason = backend.unusable(device_type)
        if reason is None:
            break
        refusals.append(f"{backend.NAME}: {reason}")
    if backend is reference:
        logger.warning(
            "Selective scan on %s: the plain reference, which is SLOW, because no other backend serves "
            "it (%s).",
            device_type,
            "; ".join(refusals),
        )
    else:
        logger.info("Selective scan on %s: %s.", device_type, backend.NAME)
    return backend


def prepare_block(lookahead: int, **parameters: Any) -> cpu.PreparedBlock | None:
    """Lay out a Mamba block's parameters once, for inference on a CPU: `mamba_inner`'s and two projections.

    None where the CPU's kernels do not run.
    """
    tensors = [tensor for tensor in parameters.values() if tensor is not None]
    served = all(one.device.type == "cpu" and one.dtype != torch.float64 for one in tensors)
    if not served or backend_for("cpu") is not cpu:
        return None
    return cpu.PreparedBlock(**parameters, lookahead=lookahead)


def takes_prepared(x: Tensor) -> bool:
    """Whether what `prepare_block` made computes these; not in a graph, nor where a backward may come."""
    return (
        x.device.type == "cpu"
        and x.dtype != torch.float64
        and not needs_grad(x)
        and not torch.compiler.is_compiling()
        and not is_exporting()
        and backend_for("cpu") is cpu
    )


def _backend(x: Tensor) -> Backend:
    device_type = x.device.type
    # The kernels compute in float32; only the reference keeps float64.
    if x.dtype == torch.float64:
        return reference
    # On `meta` only shapes are computed, so no backend has to be chosen or logged. An exported graph runs
    # where this package's kernels are not.
    if device_type == "meta" or is_exporting():
        return reference
    return _BACKENDS[_name_for(device_type)]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """Scan ``h = exp(dt A) h + dt B u``, ``y = (C h + D u) silu(z)`` with ``dt = softplus(delta + bias)``.

    Gu & Dao 2023, arXiv 2312.00752, algorithm 2. The layout is (B, T, D); mamba_ssm's functions take
    (B, D, T).

    Parameters
    ----------
    u, delta : Tensor
        (B, T, D) input and step sizes before bias and softplus.
    A : Tensor
        (D, N), negative.
    B, C : Tensor
        (B, T, N).
    D : Tensor
        (D,) skip.
    z : Tensor, optional
        (B, T, D) gate.
    delta_bias : Tensor, optional
        (D,).
    lengths : Tensor, optional
        (B,) valid frames of clips padded on the right; None when nothing is padded.
    reverse : bool
        Scan each clip's valid frames from last to first.

    Returns
    -------
    Tensor
        (B, T, D); zero on padding.

    Raises
    ------
    UserError
        If shapes disagree, or lengths are not B integers from 0 to T. On a GPU their values are not
        looked at.

    Example
    -------
    >>> u = torch.randn(2, 50, 4)
    >>> y = selective_scan(u, u, -torch.ones(4, 8), torch.ones(2, 50, 8), torch.ones(2, 50, 8), torch.ones(4))
    >>> y.shape
    torch.Size([2, 50, 4])
    """
    lengths = check_scan(u, delta, A, B, C, D, z, delta_bias, lengths)
    return _backend(u).selective_scan(u, delta, A, B, C, D, z, delta_bias, lengths, reverse)


def mamba_inner(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lengths: Tensor | None = None,
    reverse: bool = False,
    lookahead: int = 0,
) -> Tensor:
    """All of a Mamba block between its input and its output projection.

    Splits `xz` into x and z; depthwise convolution and SiLU of x, causal but for a `lookahead`; projections
    to step sizes, B and C; the scan, gated by z.

    Parameters
    ----------
    xz : Tensor
        (B, T, 2D).
    conv_weight : Tensor
        (D, 1, K).
    conv_bias : Tensor or None
        (D,).
    x_proj : Tensor
        (R + 2N, D).
    dt_proj : Tensor
        (D, R).
    dt_bias : Tensor
        (D,).
    A : Tensor
        (D, N), negative.
    D : Tensor
        (D,) skip.
    lengths : Tensor, optional
        (B,) valid frames of clips padded on the right; None when nothing is padded.
    reverse : bool
        Run over each clip's valid frames from last to first.
    lookahead : int
        How many of the K taps read frames that are yet to come, in the order of the scan; the last of the
        others reads the frame itself.

    Returns
    -------
    Tensor
        (B, T, D); zero on padding.

    Raises
    ------
    UserError
        As `selective_scan`, or if the lookahead is not from 0 to K - 1.
    """
    parameters = (conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D)
    lengths = check_inner(xz, *parameters, lengths, lookahead)
    return _backend(xz).mamba_inner(xz, *parameters, lengths, reverse, lookahead)
