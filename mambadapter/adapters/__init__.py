"""The branches: small modules from (B, T, d) to (B, T, d) that know no encoder."""

from mambadapter.adapters.bottleneck import IdentityBottleneck
from mambadapter.adapters.mamba import MambAdapter

__all__ = ["IdentityBottleneck", "MambAdapter"]
