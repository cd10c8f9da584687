"""The Mamba block and its selective scan: a plain reference, CPU kernels, GPU kernels, mamba-ssm's."""

from mambadapter.ssm.block import Mamba
from mambadapter.ssm.dispatch import backend_report, mamba_inner, selective_scan, set_backend

__all__ = [
    "Mamba",
    "backend_report",
    "mamba_inner",
    "selective_scan",
    "set_backend",
]
