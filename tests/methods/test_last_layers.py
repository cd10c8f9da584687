"""Methods that adapt the last layers alone leave those below as they are."""

import re
from dataclasses import fields

import pytest
import torch

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.sublayers import transformer_layers
from mambadapter.errors import UserError
from mambadapter.methods import MENU, LoRA, MambAdapters

LAYERED = {
    name: method
    for name, method in MENU.items()
    if "last_layers" in {field.name for field in fields(method)}
}


@pytest.mark.parametrize("name", LAYERED)
def test_layers_below_stay_as_they_are(any_encoder_folder, name):
    torch.manual_seed(0)
    method = type(LAYERED[name])
    encoder = AdaptedEncoder.from_pretrained(any_encoder_folder, method(last_layers=1)).eval()
    with torch.no_grad():
        for parameter in encoder.branches.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    backbone, layers = encoder.backbone, transformer_layers(encoder.backbone)
    seen = []
    for layer in layers:
        layer.register_forward_hook(
            lambda module, args, output: seen.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
    wavs = torch.randn(2, 6000)
    adapted = encoder(wavs)[0]
    with encoder.branches_off():
        frozen = encoder(wavs)[0]
    (*below, last), (*frozen_below, frozen_last) = seen[: len(layers)], seen[len(layers) :]
    assert len(below) == len(layers) - 1 >= 1
    assert all(torch.equal(*pair) for pair in zip(below, frozen_below, strict=True))
    assert not torch.allclose(last, frozen_last)
    assert not torch.allclose(adapted, frozen)
    learning = [name for name, p in backbone.named_parameters() if p.requires_grad]
    inside = [found for name in learning if (found := re.search(r"layers?\.(\d+)\.", name))]
    assert {int(found[1]) for found in inside} <= {len(layers) - 1}


def test_more_layers_than_there_are_are_refused(any_encoder_folder):
    for method in (MambAdapters, LoRA):
        with pytest.raises(UserError, match="last_layers=40 .*this encoder has 2 layers"):
            AdaptedEncoder.from_pretrained(any_encoder_folder, method(last_layers=40))
        with pytest.raises(UserError, match="last_layers=0"):
            method(last_layers=0)
