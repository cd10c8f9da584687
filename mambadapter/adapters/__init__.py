"""The branches: small modules from (B, T, d) to (B, T, d) that know no encoder, and trained vectors."""

from mambadapter.adapters.bottleneck import Bottleneck, IdentityBottleneck
from mambadapter.adapters.conformer import ConformerAdapter
from mambadapter.adapters.convpass import Convpass
from mambadapter.adapters.layer_weights import LayerWeights
from mambadapter.adapters.low_rank import LowRank, WeightDecomposed
from mambadapter.adapters.mamba import MambAdapter
from mambadapter.adapters.prompts import Prefix, Prompt

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
