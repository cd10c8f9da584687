"""What the contracts of encoders and decoders share."""

import copy
import functools

import torch
from torch import nn

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.loading import load_pretrained
from mambadapter.heads import PooledClassifier

NO_IDENTITY = {"prompt_shallow", "prompt_deep", "prefix_tuning", "weighted_sum"}
ENCODER_ONLY = {"bitfit", "linear_probe", "full_finetuning"}
SAMPLES = 6000


_loaded = functools.cache(load_pretrained)


def build(folder, method, classes=5):
    """An encoder without dropout of its own, and a head."""
    torch.manual_seed(0)
    loaded = copy.deepcopy(_loaded(folder))
    encoder = AdaptedEncoder(loaded.backbone, method, loaded.frontend)
    return encoder, PooledClassifier(encoder.width, classes)


def waveforms(clips=3):
    torch.manual_seed(2)
    return torch.randn(clips, SAMPLES) * 0.1, torch.tensor([1.0, 0.7, 0.45])[:clips]


def moved(encoder, scale=0.2):
    """A stack away from its start, with no dropout in the branches: a function of its input."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(
                    scale * torch.randn_like(parameter) * parameter.std(correction=0).clamp(0.2)
                )
    for module in encoder.branches.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return encoder


def learning(encoder):
    return {name for name, p in encoder.named_parameters() if p.requires_grad}


def has_batch_norm(encoder):
    """Its statistics moved in the training step between the two."""
    return any("running_mean" in name for name, _ in encoder.named_buffers())
