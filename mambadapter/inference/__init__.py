"""Trained adapters on audio files: packages, and what is made from them."""

from mambadapter.inference.model import TrainedModel, load_adapter
from mambadapter.inference.package import save_package, save_whisper_package
from mambadapter.inference.results import (
    MultilabelPrediction,
    Prediction,
    Segment,
    Timeline,
    Transcript,
)

__all__ = [
    "MultilabelPrediction",
    "Prediction",
    "Segment",
    "Timeline",
    "TrainedModel",
    "Transcript",
    "load_adapter",
    "save_package",
    "save_whisper_package",
]
