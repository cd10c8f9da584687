"""Beams and language models where a package is used: what it carries, and what is said otherwise."""

import itertools
import json

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import cases
from support.language_model import write_word_model
from support.models import build
from torch import nn

from mambadapter import cli, load_adapter
from mambadapter.decoding.ctc import Decoding, decoder_of, greedy_texts
from mambadapter.decoding.timed import utterances
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference import save_package, transcribers
from mambadapter.inference.package import TRANSCRIPTION
from mambadapter.inference.reading import Recording
from mambadapter.inference.transcribers import CTCTranscriber
from mambadapter.methods import LoRA
from mambadapter.text.vocabulary import Vocabulary

TOKENS = ("<blank>", "<unk>", " ", "a", "b", "c")
VOCABULARY = Vocabulary(TOKENS)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The model, named as .arpa and as a binary file."""
    return write_word_model(tmp_path_factory.mktemp("model"), "words.arpa", "words.bin")


def noisy(seed, frames):
    """Scores between which a beam has to choose: a letter each few frames, blanks between them."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(frames, len(TOKENS), generator=generator)
    spoken = torch.arange(frames) % 4 == 0
    scores[~spoken, 0] += 4
    scores[spoken, 0] -= 3
    return scores


def heard(*frames):
    """Scores of frames that say which tokens are how probable."""
    scores = torch.full((len(frames), len(TOKENS)), 1e-6)
    for row, letters in zip(scores, frames, strict=True):
        for letter, probability in letters.items():
            row[TOKENS.index(letter)] = probability
    return scores.log()


def text(decoding, scores, sizes=()):
    decoder = decoder_of(VOCABULARY, decoding)
    cuts = [0, *sizes, len(scores)]
    pieces = [decoder.reads(scores[a:b]) for a, b in itertools.pairwise(cuts)]
    return [tuple(word) for word in decoder.words(pieces)]


@pytest.mark.parametrize("model", [None, "words.arpa"])
def test_pieces_are_decoded_as_speechbrain_does_the_whole(request, model):
    """Also with the words that no text can change any more given out and forgotten."""
    path = None if model is None else str(request.getfixturevalue("words") / model)
    decoding = Decoding(6, path)
    for seed in range(3):
        scores = noisy(seed, 260)
        found = text(decoding, scores, (37, 38, 200))
        assert found == text(decoding, scores)
        searcher = decoder_of(VOCABULARY, decoding)._search
        (whole,) = searcher.decode_log_probs(scores.log_softmax(-1).numpy(), len(scores))
        assert [one[2] for one in found] == whole.text.replace("<unk>", "").split()
        times = [time for start, end, _ in found for time in (start, end)]
        assert times == sorted(times)


@cases(20)
@given(st.lists(st.integers(0, 5), max_size=60))
def test_a_beam_of_one_is_the_best_path(path):
    scores = 30 * nn.functional.one_hot(torch.tensor(path, dtype=torch.long), len(TOKENS)).float()
    (greedy,) = greedy_texts(VOCABULARY, scores[None], torch.tensor([len(path)]))
    one, more = (text(Decoding(beam), scores) for beam in (1, 8))
    assert " ".join(word for *_, word in one) == greedy == " ".join(word for *_, word in more)
    assert all(abs(a[0] - b[0]) <= 1 for a, b in zip(one, more, strict=True))


@pytest.mark.parametrize("beam", [1, 8])
def test_a_pause_ends_a_word(beam):
    """Also without a space, which nobody says between two sentences; wherever pieces are cut."""
    frames = [{"a": 1}, *[{"<blank>": 1}] * 24, {"b": 1}, *[{"<blank>": 1}] * 25, {"c": 1}]
    for sizes in ((), (10, 30), (50,)):
        found = text(Decoding(beam), heard(*frames), sizes)
        assert [word for *_, word in found] == ["ab", "c"]


FLIPS = [{"b": 1}, {"a": 1}, {" ": 1}, {"a": 1}, {"<blank>": 1}, {"a": 0.55, "b": 0.45}]
DOUBLED = [{"b": 1}, {"<blank>": 1}, {"b": 0.5, "a": 0.45}, {" ": 1}, {"b": 1}, {"a": 1}]


@pytest.mark.parametrize("name", ["words.arpa", "words.bin"])
def test_a_language_model_flips_a_word(words, name):
    """As much as its weight says, and by the letters that were heard: a doubled one is two."""
    with_model = Decoding(8, str(words / name))
    for decoding, wanted in [
        (Decoding(8), "ba aa"),
        (with_model, "ba ab"),
        (with_model.changed(lm_weight=0.01), "ba aa"),
        (with_model.changed(language_model="none"), "ba aa"),
    ]:
        assert " ".join(word for *_, word in text(decoding, heard(*FLIPS))) == wanted
    assert [word for *_, word in text(with_model, heard(*DOUBLED))] == ["bb", "ba"]


def test_a_bad_language_model_is_named(words, tmp_path):
    for name in ("bad.arpa", "bad.bin"):
        (tmp_path / name).write_text("no model")
        with pytest.raises(UserError, match=rf"{name} cannot be read as an n-gram model") as caught:
            decoder_of(VOCABULARY, Decoding(8, str(tmp_path / name)))
        assert "\n" not in str(caught.value)


class Scores(nn.Module):
    """Says what it is given, a frame of scores for each 320 samples."""

    sample_rate = 16000

    def __init__(self, scores):
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.scores = scores

    def frames(self, samples):
        return (samples - 400) // 320 + 1

    def forward(self, wavs, lengths=None):
        frames = self.frames(torch.tensor([wavs.shape[1]]))
        places = wavs[:, : int(frames) * 320 : 320].round().long()
        return self.scores[places], frames


@pytest.mark.parametrize("beam", [1, 5])
def test_joined_windows_are_the_whole(beam, monkeypatch):
    """To the word and frame: windows' scores are joined before a word is looked for."""
    monkeypatch.setattr(transcribers, "utterances", lambda found, _: utterances(found, 10**9))
    scores = noisy(1, 2600)  # 52 s
    samples = np.append(np.repeat(np.arange(len(scores), dtype=np.float32), 320), np.zeros(80))
    model = CTCTranscriber(Scores(scores), lambda x, _: x, VOCABULARY, Decoding(beam))
    long = model.read_long(Recording((samples.astype(np.float32), 16000), 0, 16000))
    (whole,) = model.read(torch.from_numpy(samples).float()[None], None, [Recording("a", 0, 16000)])
    assert (long.text, long.segments) == (whole.text, whole.segments)
    assert len(long.segments) > 3


@pytest.fixture(scope="module")
def recogniser(encoder_folders, tmp_path_factory):
    """Its words hang by little, so that another decoding finds others."""
    source, method = encoder_folders["wav2vec2"], LoRA(rank=2)
    encoder, _ = build(source, method)
    torch.manual_seed(4)
    head = CTCHead(encoder.width, len(TOKENS))
    with torch.no_grad():
        head.linear.weight.mul_(12)
    folder = tmp_path_factory.mktemp("recogniser")
    modules = {"encoder": encoder.eval(), "head": head.eval()}
    for name, decoding in [("greedy", None), ("beam", Decoding(5))]:
        save_package(
            folder / name, modules, source, method, TOKENS, TRANSCRIPTION, decoding=decoding
        )
    sf.write(folder / "a.wav", np.random.default_rng(3).normal(0, 0.1, 64000), 16000)
    return folder


def edited(folder, copy, **changes):
    copy.mkdir()
    (copy / "adapter.safetensors").write_bytes((folder / "adapter.safetensors").read_bytes())
    card = {**json.loads((folder / "adapter.json").read_text()), **changes}
    card = {key: value for key, value in card.items() if value != "absent"}
    (copy / "adapter.json").write_text(json.dumps(card))
    return copy


def test_a_package_decodes_as_it_was_tested(recogniser, tmp_path):
    """Unless told otherwise; one that does not say, greedily."""
    clip = str(recogniser / "a.wav")
    greedy, beam = (load_adapter(recogniser / name) for name in ("greedy", "beam"))
    written = greedy.transcribe(clip)
    assert written != beam.transcribe(clip)
    assert beam.transcribe(clip, beam=1) == written
    assert greedy.transcribe([clip], beam=5) == [beam.transcribe(clip)]
    assert greedy.transcribe(clip) == written
    old = edited(recogniser / "greedy", tmp_path / "old", decoding="absent")
    assert load_adapter(old).transcribe(clip) == written


def test_the_command_line_says_it_too(recogniser, words, capsys):
    clip, beam = str(recogniser / "a.wav"), load_adapter(recogniser / "beam")
    command = ["transcribe", str(recogniser / "greedy"), clip]
    model = str(words / "words.arpa")
    options = ["--beam", "5", "--language_model", model, "--lm_weight", "2", "--word_score", "-1"]
    assert cli.main([*command, *options]) == 0
    wanted = beam.transcribe(clip, language_model=model, lm_weight=2, word_score=-1)
    assert capsys.readouterr().out == f"{wanted}\n" != f"{beam.transcribe(clip)}\n"
    for options, message in [
        (["--beam", "0"], "beam=0 is impossible"),
        (["--language_model", model], "read by beam search only; give a beam of 2 or more"),
        (["--beam", "5", "--language_model", "gone.arpa"], "language_model: there is no file gone"),
        (["--lm_weight", "-1"], "lm_weight=-1.0 is impossible"),
        (["--beam", "5", "--word_score", "1"], "are of a language model; give one too"),
    ]:
        assert cli.main([*command, *options]) == 2
        assert message in capsys.readouterr().err


def test_a_package_whose_model_is_gone_says_so(recogniser, tmp_path):
    settings = {"beam_size": 5, "language_model": "/gone/words.arpa"}
    model = load_adapter(edited(recogniser / "beam", tmp_path / "a", decoding=settings))
    clip = str(recogniser / "a.wav")
    with pytest.raises(UserError, match=r"there is no file /gone/words\.arpa\. Say where it is"):
        model.transcribe(clip)
    without = model.transcribe(clip, language_model="none")
    assert without == load_adapter(recogniser / "beam").transcribe(clip)


@pytest.mark.parametrize("bad", [{"beam_size": 0}, {"beams": 2}, [1], {"lm_weight": "x"}])
def test_a_card_with_another_decoding_is_refused(recogniser, tmp_path, bad):
    with pytest.raises(UserError, match="copy the whole `adapter` folder again"):
        load_adapter(edited(recogniser / "beam", tmp_path / "a", decoding=bad))


@pytest.mark.parametrize(
    ("space", "token_type", "twice"),
    [(" ", "char", "abab"), ("d", "char", "abab"), ("d", "bpe", "ab ab")],
    ids=["spaces", "no spaces", "pieces"],
)
def test_each_utterance_of_a_long_recording_is_read_by_itself(space, token_type, twice):
    """With 0.2 s around it, after windows have found the rests; times are those of the recording."""
    written = {" ": space, "a": "▁a" if token_type == "bpe" else "a"}
    vocabulary = Vocabulary(tuple(written.get(one, one) for one in TOKENS), token_type)
    silence, said = [{"<blank>": 1}], [{"a": 1}, {"<blank>": 1}, {"b": 1}]
    scores = heard(*silence * 100, *said, *silence * 900, *said, *said, *silence * 1000)
    samples = np.append(np.repeat(np.arange(len(scores), dtype=np.float32), 320), np.zeros(80))
    encoder, sizes = Scores(scores), []
    encoder.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[1] / 320))
    model = CTCTranscriber(encoder, lambda x, _: x, vocabulary)
    found = model.read_long(Recording((samples.astype(np.float32), 16000), 0, 16000))
    assert sorted(sizes)[:2] == [23, 26]
    assert [(one.start, one.end, one.text) for one in found.segments] == [
        (2.0, 2.06, "ab"),
        (20.06, 20.18, twice),
    ]
