"""Trained adapters on audio files: packages, and what is made from them."""

from mambadapter.inference.classifier import Classifier
from mambadapter.inference.package import save_package, save_whisper_package
from mambadapter.inference.transcribers import Transcriber, WhisperTranscriber, recogniser

__all__ = [
    "Classifier",
    "Transcriber",
    "WhisperTranscriber",
    "recogniser",
    "save_package",
    "save_whisper_package",
]
