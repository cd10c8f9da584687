"""Frozen encoders and the insertion of branches into them."""

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.loading import load_pretrained
from mambadapter.encoders.sublayers import Sublayer

__all__ = ["AdaptedEncoder", "Sublayer", "load_pretrained"]
