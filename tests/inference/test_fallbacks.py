"""A window of a long recording that Whisper fails on is written again, as its authors do."""

import pytest
import torch
from support.contract import moved

from mambadapter import load_adapter
from mambadapter.decoding import long_form
from mambadapter.decoding.long_form import decode_with_times, write
from mambadapter.encoders.speech_to_text import load_speech_to_text
from mambadapter.errors import UserError
from mambadapter.inference import save_whisper_package
from mambadapter.methods import LoRA
from mambadapter.text import TextRules

A, B, C, D, E, END, START, ENGLISH, TRANSCRIBE, NO_SPEECH, NO_TIMES, ZERO = range(12)
UNLIKELY = {END: 0.1, A: 0.2, B: 0.2, C: 0.2, D: 0.2, E: 0.2}
MEMORY, FRAMES = torch.zeros(1, 4, 2), torch.tensor([4])


class Writes:
    """A decoder that scores a token by the one before it alone."""

    start, end, longest = (START, ENGLISH, TRANSCRIBE, NO_TIMES), END, 60
    language, branches, vocabulary = None, (), ZERO + 60

    def __init__(self, after, no_speech=0.01):
        self.after, self.no_speech, self.texts = after, no_speech, 0

    def __call__(self, memory, frames, tokens, cache):
        scores = torch.full((1, tokens.shape[1], self.vocabulary), 1e-7)
        for row, token in zip(scores[0], tokens[0].tolist(), strict=True):
            shares = {ZERO: 1.0} if token < ZERO and token > END else self.after
            if token == START:
                self.texts += 1
                shares = {NO_SPEECH: self.no_speech, A: 1 - self.no_speech}
            for one, share in shares.items():
                row[one] = share
        return scores.log()


def decoded(decoder):
    return decode_with_times(decoder, MEMORY, FRAMES, 30.0, lambda tokens: "ab " * len(tokens))


def test_a_loop_ends(monkeypatch):
    """What is likeliest after a is a; drawn, an end comes, and each time the same."""
    loops = Writes({A: 0.55, END: 0.45})
    once = decoded(loops)
    assert loops.texts == 2
    assert sum(len(tokens) for *_, tokens in once[0]) < 20
    assert decoded(loops) == once
    monkeypatch.setattr(long_form, "_TEMPERATURES", (0.0,))
    ((*_, tokens),), _ = decoded(loops)
    assert tokens == [A] * 29  # half of its context, less the time


def test_an_unlikely_text_is_tried_at_every_temperature():
    guess = Writes(UNLIKELY)
    decoded(guess)
    assert guess.texts == 6


def test_a_guess_where_nothing_is_said_is_none():
    silent = Writes(UNLIKELY, no_speech=0.7)
    assert decoded(silent) == ([], 30.0)
    assert silent.texts == 1
    sure = Writes({A: 0.02, END: 0.98}, no_speech=0.7)
    assert decoded(sure)[0] == []  # nothing but a time
    assert sure.texts == 1


@pytest.fixture(scope="module")
def whisper(encoder_folders):
    torch.manual_seed(0)
    whisper = load_speech_to_text(encoder_folders["whisper"], "kab", LoRA(rank=2), "both")
    moved(whisper.decoder, scale=2).eval()
    return whisper


def test_likelihoods_are_those_of_the_whole_text(whisper):
    """By one pass over the text that was written, with the rules for times applied to each beginning of it."""
    decoder = whisper.decoder
    memory = torch.randn(1, 50, decoder.backbone.config.d_model)
    frames = torch.tensor([50])
    attempt = write(decoder, memory, frames, 0.0, torch.Generator())
    *start, silent = decoder.start
    tokens = torch.tensor([[*start, *attempt.tokens]])
    with torch.no_grad():
        scores = decoder(memory, frames, tokens)[0]
    torch.testing.assert_close(
        attempt.no_speech, float(scores[0].softmax(-1)[silent - 1]), rtol=1e-3, atol=1e-6
    )
    ended = len(attempt.tokens) < decoder.longest // 2
    rules = long_form.rules_for_times(decoder)
    total = 0.0
    for place in range(len(attempt.tokens) + ended):
        row = scores[len(start) - 1 + place][None].clone()
        row[:, -1] = -torch.inf
        row = rules(tokens[:, : len(start) + place], row).log_softmax(-1)[0]
        said = attempt.tokens[place] if place < len(attempt.tokens) else decoder.end
        assert int(row.argmax()) == said
        total += float(row[said])
    assert attempt.likelihood == pytest.approx(total / (len(attempt.tokens) + 1), rel=1e-3)


def test_drawn_texts_repeat_by_their_seed(whisper):
    memory = torch.randn(1, 50, whisper.decoder.backbone.config.d_model)
    drawn = [
        write(whisper.decoder, memory, torch.tensor([50]), 1.0, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(one.likelihood < 0 for one in drawn)


def test_whisper_has_no_beam(whisper, encoder_folders, tmp_path):
    package = save_whisper_package(
        tmp_path, whisper, encoder_folders["whisper"], LoRA(rank=2),
        language="kab", rules=TextRules("abc"), adapt="both", longest_text=5,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"beam: of recognisers by CTC alone"):
        load_adapter(package).transcribe((torch.zeros(16000).numpy(), 16000), beam=3)
