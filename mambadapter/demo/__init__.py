"""A corpus and encoders made on the spot, to try everything with no data and no download."""

from mambadapter.demo.backbones import write_ast, write_whisper
from mambadapter.demo.corpus import write_corpus
from mambadapter.demo.encoder import write_encoder

__all__ = ["write_ast", "write_corpus", "write_encoder", "write_whisper"]
