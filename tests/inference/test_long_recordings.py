"""Recordings longer than a window: nothing is lost or doubled where windows join."""

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import cases
from support.models import build
from torch import nn

from mambadapter import cli, load_adapter
from mambadapter.data.audio import read_clip, stream_clip
from mambadapter.encoders.speech_to_text import load_speech_to_text
from mambadapter.heads import CTCHead
from mambadapter.inference import save_package, save_whisper_package
from mambadapter.inference.package import TRANSCRIPTION
from mambadapter.inference.reading import Recording
from mambadapter.inference.transcribers import CTCTranscriber
from mambadapter.inference.windows import Samples, hop_of, windows
from mambadapter.methods import LoRA
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import Vocabulary

TOKENS = ("<blank>", "<unk>", " ", "a", "b", "c", "x")
EDGE = 200  # frames


class Hears(nn.Module):
    """Writes the token that each 320 samples hold; and x within 4 s of a window's ends, where it is unsure."""

    sample_rate = 16000

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.longest = 0

    def frames(self, samples):
        return (samples - 400) // 320 + 1

    def forward(self, wavs, lengths=None):
        frames = self.frames(torch.tensor([wavs.shape[1]]))
        tokens = wavs[0, : int(frames) * 320 : 320].round().long()
        tokens[:EDGE] = tokens[-EDGE:] = TOKENS.index("x")
        self.longest = max(self.longest, wavs.shape[1])
        return nn.functional.one_hot(tokens, len(TOKENS))[None].float(), frames


def spoken(words, gap):
    """Frames of words, each letter followed by a blank, between two silences."""
    letters = [[TOKENS.index(letter), 0] for word in words for letter in f"{word} "]
    silence = [0] * (EDGE + 10)
    return silence + [frame for pair in letters for frame in pair + [0] * gap] + silence


@cases(10)
@given(
    st.lists(st.text("abc", min_size=1, max_size=12), min_size=150, max_size=400), st.integers(0, 3)
)
def test_windows_join_without_a_seam(words, gap):
    path = spoken(words, gap)
    samples = np.repeat(np.array(path, np.float32), 320)
    samples = np.append(samples, np.zeros(80, np.float32))  # a frame reads 400
    hears = Hears()
    model = CTCTranscriber(hears, lambda hidden, frames: hidden, Vocabulary(TOKENS))
    result = model.read_long(Recording((samples, 16000), 0, 16000))
    assert result.text == " ".join(["x" + words[0], *words[1:], "x"])
    assert " ".join(one.text for one in result.segments) == result.text
    assert hears.longest <= 35 * 16000
    assert result.segments[-1].end == pytest.approx(len(path) * 0.02)
    for one, after in zip(result.segments, result.segments[1:], strict=False):
        assert one.start < one.end <= after.start


@pytest.mark.parametrize(("longest_clip", "window"), [(None, 30), (90.0, 30), (12.0, 12), (1.0, 4)])
def test_windows_are_as_long_as_the_clips_of_the_training(longest_clip, window):
    samples = np.ones(100 * 16000, np.float32)  # a token that no utterance ends
    hears = Hears()
    vocabulary = Vocabulary(TOKENS)
    CTCTranscriber(
        hears, lambda hidden, frames: hidden, vocabulary, longest_clip=longest_clip
    ).read_long(Recording((samples, 16000), 0, 16000))
    # The last is as much longer as its context, beside which it has the end.
    assert window - 0.1 <= hears.longest / 16000 <= window * 7 / 6


@cases(50)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 30), st.integers(0, 20)
)
def test_every_sample_is_kept_once(sizes, core, context):
    whole = torch.arange(sum(sizes))
    blocks = torch.split(whole, sizes)
    kept = []
    for window in windows(blocks, core, context):
        start, stop = window.keep
        kept.append(window.wav[start - window.start : stop - window.start])
        assert torch.equal(window.wav, whole[window.start : window.start + len(window.wav)])
        assert window.start == max(0, start - context)
        assert window.last or len(window.wav) == stop + context - window.start
    assert torch.equal(torch.cat(kept), whole)


@pytest.mark.parametrize("rate", [16000, 22050, 8000])
def test_a_stream_is_the_clip(tmp_path, rate):
    """Block by block, at its rate and at another."""
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * rate, 2))
    sf.write(tmp_path / "a.flac", noise, rate)
    streamed = torch.cat(list(stream_clip(tmp_path / "a.flac", 16000)))
    torch.testing.assert_close(streamed, read_clip(tmp_path / "a.flac", 16000), rtol=0, atol=2e-4)
    held = Samples(stream_clip(tmp_path / "a.flac", 16000))
    assert torch.equal(held.span(9000, 12000), streamed[9000:12000])


def test_a_long_file_is_transcribed_in_pieces(encoder_folders, tmp_path, capsys):
    """From the command line; the hop is the encoder's."""
    source, method = encoder_folders["wav2vec2"], LoRA(rank=2)
    encoder, _ = build(source, method)
    assert hop_of(encoder) == 320
    modules = {"encoder": encoder, "head": CTCHead(encoder.width, len(TOKENS))}
    package = save_package(tmp_path / "p", modules, source, method, TOKENS, TRANSCRIPTION)
    sf.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 36 * 16000), 16000)
    result = load_adapter(package).transcribe(tmp_path / "long.wav")
    assert (
        cli.main(["transcribe", str(package), str(tmp_path / "long.wav"), "--format", "vtt"]) == 0
    )
    out = capsys.readouterr().out
    assert out.startswith("WEBVTT")
    assert all(one.text in out for one in result.segments)


def test_one_is_read_as_alone_beside_one_of_shorter_clips(encoder_folders, tmp_path):
    """What is long for one recogniser is not for another that learnt of longer clips."""
    source, packages = encoder_folders["wav2vec2"], []
    for rank, longest in ((2, 4.0), (4, 9.0)):
        encoder, _ = build(source, LoRA(rank=rank))
        modules = {"encoder": encoder, "head": CTCHead(encoder.width, len(TOKENS))}
        packages.append(
            save_package(
                tmp_path / str(rank), modules, source, LoRA(rank=rank), TOKENS, TRANSCRIPTION,
                longest_clip=longest,
            )
        )  # fmt: skip
    model = load_adapter(packages[0])
    model.add_adapter("b", packages[1])
    for seconds in (3, 6, 11):
        noise = (np.random.default_rng(0).normal(0, 0.1, seconds * 16000), 16000)
        alone = [load_adapter(package).transcribe(noise) for package in packages]
        together = model.transcribe(noise, adapter=["default", "b"])
        assert [*together.values()] == alone


def test_whisper_goes_on_where_its_last_segment_ends(encoder_folders, tmp_path, monkeypatch):
    """Windows of 30 s, each from the time that the one before wrote."""
    source, method = encoder_folders["whisper"], LoRA(rank=2)
    torch.manual_seed(0)
    whisper = load_speech_to_text(source, "kab", method, "encoder")
    package = save_whisper_package(
        tmp_path, whisper, source, method,
        language="kab", rules=TextRules("abcdefghijklmnopqrstuvwxyz"), adapt="encoder", longest_text=5,
    )  # fmt: skip
    model = load_adapter(package)
    noise = (np.random.default_rng(0).normal(0, 0.1, 72000), 16000)
    heard = []

    def write(decoder, memory, frames, seconds, text_of):
        heard.append(seconds)
        return [(0.5, 1.5, [70, 71])], 1.5 if seconds == 2.0 else seconds

    with monkeypatch.context() as patch:
        patch.setattr("mambadapter.inference.transcribers.decode_with_times", write)
        result = model.transcribe(noise)
    assert heard == [2.0, 2.0, 1.5]  # this one reads 2 s at a time
    assert [(one.start, one.end) for one in result.segments] == [(0.5, 1.5), (2, 3), (3.5, 4.5)]
    times = [one.start for one in model.transcribe(noise).segments]  # of random weights
    assert times == sorted(times)
    short = (noise[0][:24000], 16000)
    assert len(model.transcribe(short).segments) == 1
    with monkeypatch.context() as patch:
        patch.setattr("mambadapter.inference.transcribers.decode_with_times", write)
        (segment,) = model.transcribe(short, timestamps=True).segments
    assert (segment.start, segment.end) == (0.5, 1.5)


def test_a_timeline_is_the_mean_of_its_windows(encoder_folders, tmp_path, capsys):
    """By brute force; and in every format."""
    source, method = encoder_folders["wav2vec2"], LoRA(rank=2)
    encoder, head = build(source, method)
    with torch.no_grad():
        head.linear.weight.mul_(60)  # so that classes change
    modules = {"encoder": encoder.eval(), "head": head.eval()}
    package = save_package(tmp_path / "p", modules, source, method, list("abc"))
    pieces = [
        np.random.default_rng(n).normal(0, 0.1, 6400) * np.linspace(0, n % 3, 6400)
        + np.sin(np.arange(6400) * 0.05 * (n % 4))
        for n in range(7)
    ]
    samples = np.concatenate(pieces)[:43000]
    timeline = load_adapter(package).timeline((samples, 16000), window=0.4, hop=0.1)
    wav, wanted = torch.from_numpy(samples).float(), []
    with torch.no_grad():
        rows = [
            head(*encoder(wav[None, at : at + 6400])).softmax(-1)[0]
            for at in range(0, 43000 - 4800, 1600)
        ]
    for cell in range(27):
        over = rows[max(0, cell - 3) : cell + 1]
        wanted.append("abc"[int(sum(over).argmax())])
    got = [
        next(one.text for one in timeline.segments if one.start <= 0.1 * cell + 0.05 < one.end)
        for cell in range(27)
    ]
    assert got == wanted
    assert len(timeline.segments) > 1
    assert timeline.segments[0].start == 0
    assert timeline.segments[-1].end == pytest.approx(43000 / 16000)
    for one, after in zip(timeline.segments, timeline.segments[1:], strict=False):
        assert one.end == after.start
        assert one.text != after.text

    sf.write(tmp_path / "a.wav", samples / 3, 16000)
    words = ["predict", str(package), str(tmp_path / "a.wav"), "--window", "0.4"]
    assert cli.main([*words, "--format", "audacity", "--picture", str(tmp_path / "a.png")]) == 0
    for line in capsys.readouterr().out.splitlines():
        start, end, label = line.split("\t")
        assert float(start) < float(end)
        assert label in "abc"
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert cli.main([*words, "--hop", "0.3"]) == 2
    assert "hop=0.3 is impossible: give a whole fraction" in capsys.readouterr().err
    assert cli.main([*words[:3], "--hop", "0.2"]) == 2
    assert "are of a timeline; add --window" in capsys.readouterr().err
