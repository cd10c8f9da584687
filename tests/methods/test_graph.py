"""An adapted encoder is one graph for torch.compile, which computes what it computes without.

Each method here with one family of encoders, and each family with one method. `GRAPHS=all` pairs them all,
which takes a quarter of an hour.
"""

import copy
import os

import pytest
import torch
from support.contract import build, moved, waveforms

from mambadapter.methods import MENU

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

PAIRS = [
    ("wav2vec2", "mambadapter_bidirectional"),
    ("wavlm-stable", "prefix_tuning"),
    ("ast", "lora"),
    ("whisper", "conformer"),
]
FAMILIES = (
    "wav2vec2", "wav2vec2-stable", "hubert", "hubert-stable", "wavlm", "wavlm-stable", "ast", "whisper",
)  # fmt: skip
if os.environ.get("GRAPHS") == "all":
    PAIRS = [(family, name) for family in FAMILIES for name in MENU]


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_it_is_one_graph(family, name, encoder_folders):
    """In training and evaluation, on clips of several lengths."""
    encoder, _ = build(encoder_folders[family], MENU[name])
    moved(encoder).train()
    compiled = copy.deepcopy(encoder)
    wavs, lens = waveforms()
    for mode in (True, False) if len(PAIRS) > 4 or family == "whisper" else (True,):
        torch._dynamo.reset()
        graph = torch.compile(compiled.train(mode), fullgraph=True, backend="aot_eager")
        torch.manual_seed(3)  # of full fine-tuning's dropout
        hidden, frames = encoder.train(mode)(wavs, lens)
        torch.manual_seed(3)
        got, counted = graph(wavs, lens)
        assert torch.equal(counted, frames)
        valid = (torch.arange(hidden.shape[1]) < frames[:, None])[..., None]
        if encoder.frontend.ragged:
            hidden, got = hidden * valid, got * valid
        torch.testing.assert_close(got, hidden, rtol=1e-5, atol=1e-6)
        if mode:
            hidden.square().sum().backward()
            got.square().sum().backward()
    learnt = {n: p.grad for n, p in compiled.named_parameters()}
    for parameter_name, parameter in encoder.named_parameters():
        if parameter.grad is not None and not parameter_name.endswith("k_proj.bias"):
            torch.testing.assert_close(
                learnt[parameter_name], parameter.grad, rtol=1e-4, atol=1e-5, msg=parameter_name
            )
    for one, other in zip(compiled.buffers(), encoder.buffers(), strict=True):
        torch.testing.assert_close(one, other)
