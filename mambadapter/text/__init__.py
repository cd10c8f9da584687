"""From a sentence as someone typed it to the characters that a recogniser learns and is scored on."""

from mambadapter.text.rules import Normalised, TextRules

__all__ = ["Normalised", "TextRules"]
