"""A small adapted encoder with a head."""

import torch

from mambadapter.encoders import AdaptedEncoder
from mambadapter.heads import PooledClassifier


def build(folder, method):
    torch.manual_seed(0)
    encoder = AdaptedEncoder.from_pretrained(folder, method)
    return encoder, PooledClassifier(encoder.width, 3)
