"""The Mamba block and its selective scan: a plain reference, CPU kernels, GPU kernels, mamba-ssm's."""

from mambadapter.ssm.block import Mamba
from mambadapter.ssm.dispatch import backend_report, mamba_inner, selective_scan, set_backend
from mambadapter.ssm.gated_convolution import GatedConvolution

__all__ = [
    "GatedConvolution",
    "Mamba",
    "backend_report",
    "mamba_inner",
    "selective_scan",
    "set_backend",
]
