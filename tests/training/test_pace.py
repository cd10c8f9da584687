"""What a run says of its speed is what a clock says that the test sets."""

from types import SimpleNamespace

import pytest
from torch import nn

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.training.pace import Pace


class Clock:
    now = 0.0

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    given = SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr("mambadapter.training.pace.time", given)
    return clock


class Event:
    """As a GPU's, whose host never is ahead."""

    waited = False

    def __init__(self, clock):
        self.clock = clock

    def record(self):
        self.at = self.clock.now

    def synchronize(self):
        self.waited = True

    def elapsed_time(self, other):
        return 1000 * (other.at - self.at)


class Branch(nn.Module):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self):
        self.clock.spend(2)


class Stack(AdaptedStack):
    """One branch, and nothing else of what makes an adapted stack."""

    def __init__(self, clock):
        nn.Module.__init__(self)
        self.branches, self.clock = nn.ModuleDict({"one": Branch(clock)}), clock

    def forward(self):
        self.clock.spend(3)
        self.branches["one"]()
        self.clock.spend(1)


def batch(pace, clock, encoder, compiled=False):
    """Twelve seconds."""
    clock.spend(1)
    pace.batch_begins(compiled)
    pace.turn_to("encoder")
    encoder()
    pace.turn_to("other")
    clock.spend(0.5)
    pace.forward_ends()
    clock.spend(2)
    encoder.branches["one"]()  # once more, by gradient checkpointing
    pace.turn_to("optimiser")
    clock.spend(0.5)
    pace.batch_ends(clips=8)
    return pace.is_to_estimate()


def test_shares_clips_and_what_is_left(clock):
    encoder = Stack(clock)
    pace = Pace({"encoder": encoder, "head": nn.Linear(1, 1)})
    asked = []
    for _ in range(2):
        pace.epoch_begins("cpu")
        asked += [batch(pace, clock, encoder) for _ in range(18)]
        pace.epoch_ends()
        pace.turn_to("encoder")  # of validation
        clock.spend(1000)
    assert [index for index, yes in enumerate(asked) if yes] == [19]
    assert pace.summary == {
        "clips_per_s": pytest.approx(8 / 12, abs=0.01),
        "shares": {
            name: round(seconds / 12, 3)
            for name, seconds in {
                "data": 1, "other": 0.5, "encoder": 4, "branches": 2, "backward": 4, "optimiser": 0.5,
            }.items()
        },
        "estimated_hours": None,
    }  # fmt: skip
    assert pace.batch_ms == 11_000
    assert "About 1 hours" in pace.estimate(300)
    assert "encoder 33%" in pace.estimate(300)
    assert pace.summary["estimated_hours"] == 1.0
    assert not pace.is_to_estimate(epoch_ends=True)
    assert not encoder._forward_hooks
    assert not encoder.branches["one"]._forward_hooks


def test_a_gpu_is_asked_late(clock, monkeypatch):
    events = []
    monkeypatch.setattr(
        "torch.cuda.Event", lambda enable_timing: events.append(Event(clock)) or events[-1]
    )
    encoder = Stack(clock)
    pace = Pace({"encoder": encoder})
    pace.epoch_begins("cuda:0")
    for _ in range(18):
        batch(pace, clock, encoder)
    assert not any(event.waited for event in events)
    shares = pace.summary["shares"]
    assert (shares["branches"], shares["backward"]) == (round(2 / 12, 3), round(4 / 12, 3))
    assert pace.batch_ms == 11_000
    assert any(event.waited for event in events)


def test_what_is_compiled_is_not_looked_into(clock):
    encoder = Stack(clock)
    pace = Pace({"encoder": encoder})
    pace.epoch_begins("cpu")
    for _ in range(2):
        batch(pace, clock, encoder, compiled=True)
    shares = pace.summary["shares"]
    assert "branches" not in shares
    assert shares["encoder"] == round(6 / 12, 3)


def test_a_first_batch_that_compiles_is_no_measure(clock):
    encoder = Stack(clock)
    pace = Pace({"encoder": encoder})
    assert not pace.is_to_estimate(epoch_ends=True)
    assert pace.batch_ms is None
    pace.epoch_begins("cpu")
    clock.spend(500)
    for _ in range(3):
        batch(pace, clock, encoder)
    assert pace.is_to_estimate(epoch_ends=True)
    pace.estimate(150)
    assert pace.estimated_hours == 0.5
