"""A corpus and an encoder made on the spot, to try everything with no data and no download."""

from mambadapter.demo.corpus import write_corpus
from mambadapter.demo.encoder import write_encoder

__all__ = ["write_corpus", "write_encoder"]
