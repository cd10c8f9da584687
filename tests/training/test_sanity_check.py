"""A dead method does not get past the start."""

import pytest
import torch
from support.models import build
from torch import nn

from mambadapter.errors import UserError
from mambadapter.methods import FullFinetuning, IdentityBottlenecks, LinearProbe, MambAdapters
from mambadapter.training.sanity_check import prove_alive


def insert_everywhere(encoder, make):
    for place in encoder.sublayers:
        encoder.insert(place.name, place.module, make())


class Branch(nn.Module):
    """A bottleneck whose two matrices start as told."""

    def __init__(self, width, zero_down, zero_up):
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)
        for linear, zero in ((self.down, zero_down), (self.up, zero_up)):
            if zero:
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)

    def forward(self, hidden, lengths=None):
        return self.up(torch.relu(self.down(hidden)))


@pytest.mark.parametrize(
    "method",
    [
        MambAdapters(rank=4),
        MambAdapters(rank=4, placement="houlsby", bidirectional=True),
        MambAdapters(rank=4, shared=False, insertion="sequential"),
        IdentityBottlenecks(rank=4),
        IdentityBottlenecks(rank=4, shared=False, insertion="sequential", placement="houlsby"),
        IdentityBottlenecks(rank=4, initialisation="official"),
        LinearProbe(),
        LinearProbe(norms="none"),
        FullFinetuning(),
        FullFinetuning(train_cnn=True),
    ],
    ids=repr,
)
def test_living_methods_pass_and_are_left_untouched(encoder_folder, method):
    encoder, head = build(encoder_folder, method)
    before = {n: t.clone() for n, t in encoder.state_dict().items()}
    random_state = torch.get_rng_state()
    prove_alive(encoder, head)
    assert all(torch.equal(t, before[n]) for n, t in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_branch_that_does_not_start_at_zero(encoder_folders):
    encoder, head = build(encoder_folders["wav2vec2"], LinearProbe())
    insert_everywhere(encoder, lambda: Branch(encoder.width, zero_down=False, zero_up=False))
    with pytest.raises(UserError, match="does not start as the frozen one"):
        prove_alive(encoder, head)


def test_a_bottleneck_with_both_matrices_zero(encoder_folders):
    """The peers' trap: only the last bias ever learns."""
    encoder, head = build(encoder_folders["wav2vec2"], LinearProbe())
    insert_everywhere(encoder, lambda: Branch(encoder.width, zero_down=True, zero_up=True))
    with pytest.raises(UserError, match=r"got no gradient in two steps.*down"):
        prove_alive(encoder, head)


def test_units_that_start_at_rest_are_a_warning(encoder_folders, caplog):
    encoder, head = build(encoder_folders["wav2vec2"], LinearProbe())
    insert_everywhere(encoder, lambda: Branch(encoder.width, zero_down=False, zero_up=True))
    resting = encoder.branches["layer1_ffn"].down
    nn.init.constant_(resting.bias, -100.0)
    before = resting.weight.clone()
    prove_alive(encoder, head)
    assert "got no gradient from noise" in caplog.text
    assert "layer1_ffn.down.weight" in caplog.text
    assert "layer0_ffn" not in caplog.text
    assert torch.equal(resting.weight, before)
    assert (resting.bias == -100).all()


def test_a_branch_beside_nothing(encoder_folders):
    encoder, head = build(encoder_folders["wav2vec2"], LinearProbe())
    encoder.branches["stray"] = Branch(encoder.width, zero_down=False, zero_up=True)
    with pytest.raises(UserError, match=r"got no gradient in two steps.*stray"):
        prove_alive(encoder, head)


def test_nothing_trainable(encoder_folders):
    encoder, head = build(encoder_folders["wav2vec2"], LinearProbe(norms="none"))
    with pytest.raises(UserError, match="Nothing is trainable"):
        prove_alive(encoder, head.requires_grad_(False))
