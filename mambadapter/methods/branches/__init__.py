"""The branches: small modules from (B, T, d) to (B, T, d) that know no encoder, and trained vectors."""

from mambadapter.methods.branches.bottleneck import Bottleneck, IdentityBottleneck
from mambadapter.methods.branches.conformer import ConformerAdapter
from mambadapter.methods.branches.convpass import Convpass
from mambadapter.methods.branches.layer_weights import LayerWeights
from mambadapter.methods.branches.low_rank import LowRank, WeightDecomposed
from mambadapter.methods.branches.mamba import MambAdapter
from mambadapter.methods.branches.prompts import Prefix, Prompt

__all__ = [
    "Bottleneck",
    "ConformerAdapter",
    "Convpass",
    "IdentityBottleneck",
    "LayerWeights",
    "LowRank",
    "MambAdapter",
    "Prefix",
    "Prompt",
    "WeightDecomposed",
]
