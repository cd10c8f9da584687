"""Pieces of SentencePiece: learnt from texts, decoded to words, and used from a package alone."""

import itertools
import json
import sys

import numpy as np
import pytest
import soundfile as sf
import torch
from sentencepiece import SentencePieceProcessor
from support.language_model import write_word_model
from support.models import build

from mambadapter import cli, load_adapter
from mambadapter.data.manifests import frames_needed
from mambadapter.data.tokens import Tokens
from mambadapter.decoding.ctc import Decoding, decoder_of
from mambadapter.decoding.prefix_beam import PrefixBeamSearch
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference import save_package
from mambadapter.inference.package import TRANSCRIPTION
from mambadapter.methods import LinearProbe
from mambadapter.text.pieces import Pieces, train_pieces
from mambadapter.text.vocabulary import Vocabulary

TEXTS = ["yiwen sin kraḍ", "sin kuẓ", "yiwen yiwen", "Kraḍ, kuẓ!", "ﬁn sin", "n" * 5000 + " sin"]


@pytest.mark.parametrize("token_type", ["unigram", "bpe"])
def test_pieces_are_of_the_texts_and_spell_them(token_type):
    """As SentencePiece itself reads them, unchanged, long texts too; and the same ones each time."""
    model = train_pieces(TEXTS, token_type, 24)
    assert model == train_pieces(TEXTS, token_type, 24)
    pieces, reference = Pieces(model, token_type), SentencePieceProcessor(model_proto=model)
    assert len(pieces.vocabulary) == 25
    letters = set("".join(pieces.vocabulary.tokens[2:])) - {"▁"}
    assert letters == set("".join(TEXTS)) - {" "}
    for text in [*TEXTS, "sin yin"]:
        found = pieces.encode(text)
        blanked = [index for one in found for index in (one, 0)]
        assert pieces.vocabulary.decode(blanked) == reference.decode(reference.encode(text)) == text
    assert 1 in pieces.encode("x")
    assert len(pieces.encode("sin sin sin")) < len("sin sin sin")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (9000, r"no more than \d+ pieces; --vocab_size \d+, or fewer"),
        (3, r"--vocab_size \d+, or more"),
    ],
)
def test_impossible_sizes_say_which_are_possible(size, message):
    for token_type in ("unigram", "bpe"):
        with pytest.raises(UserError, match=message) as refused:
            train_pieces(TEXTS, token_type, size)
        assert "\n" not in str(refused.value)
        mended = int(str(refused.value).split("--vocab_size ")[1].split(",")[0])
        train_pieces(TEXTS, token_type, mended)


def test_a_run_that_goes_on_has_the_pieces_that_it_had(tmp_path):
    tokens = Tokens("bpe", 24, tmp_path / "sentencepiece.model")
    first = tokens.pieces(TEXTS).vocabulary
    assert tokens.pieces(["other texts"]).vocabulary == first
    tokens.model.write_bytes(b"half")
    with pytest.raises(UserError, match="no whole model; delete it"):
        tokens.pieces(TEXTS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [(("unigram", None), "add --vocab_size"), (("char", 9), "add --token_type"), (("word", 9), "Known: bpe")],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Tokens(*settings)


def test_frames_are_needed_for_pieces():
    pieces = Pieces(train_pieces(TEXTS, "bpe", 30), "bpe")
    once, twice = (pieces.encode(text) for text in ("sin", "sin sin"))
    assert frames_needed(once) == 1 < len("sin")
    assert frames_needed(twice) == 3


PIECES = ("<blank>", "<unk>", "▁", "▁a", "▁b", "a", "b", "ab")
VOCABULARY = Vocabulary(PIECES, "bpe")


def words(decoding, path):
    """Of frames that say one token each, but for what is given as a dictionary."""
    scores = torch.full((len(path), len(PIECES)), 1e-6)
    for row, heard in zip(scores, path, strict=True):
        for token, share in (heard if isinstance(heard, dict) else {heard: 1.0}).items():
            row[PIECES.index(token)] = share
    decoder = decoder_of(VOCABULARY, decoding)
    return [
        tuple(one) for one in decoder.words([decoder.reads(part) for part in scores.log().split(3)])
    ]


@pytest.mark.parametrize("beam", [1, 6])
def test_words_begin_at_marks(beam):
    """Also at one that stands alone, and from a doubled piece; each with its frames."""
    path = ["<blank>", "▁a", "b", "<blank>", "b", "▁", "ab", "<blank>", "▁", "▁b"]
    found = words(Decoding(beam), path)
    assert [word for *_, word in found] == ["abb", "ab", "b"]
    assert found[0][:2] == (1, 5)
    assert found[2][:2] == (9, 10)
    assert words(Decoding(beam), ["b", "▁a"]) == [(0, 1, "b"), (1, 2, "a")]


def test_a_beam_finds_the_likeliest_pieces():
    """Against the sum over all paths, with nothing pruned; the likeliest path is another."""
    generator = torch.Generator().manual_seed(5)
    paths = torch.tensor([*itertools.product(range(len(PIECES)), repeat=4)])
    spelled = [tuple(i for i, _ in itertools.groupby(path) if i) for path in paths.tolist()]
    search = PrefixBeamSearch(VOCABULARY, 400)
    search._search.token_prune_min_logp = search._search.beam_prune_logp = -100.0
    search._search.prune_history = False
    differs = 0
    for _ in range(8):
        scores = torch.randn(4, len(PIECES), generator=generator).log_softmax(-1)
        scores[:, 1] = -30
        totals = dict.fromkeys(spelled, 0.0)
        for pieces, path in zip(
            spelled, scores[range(4), paths].sum(1).exp().tolist(), strict=True
        ):
            totals[pieces] += path
        best = max(totals, key=totals.get)
        found = " ".join(word.text for word in search.words([search.reads(scores)]))
        assert found == VOCABULARY.decode([index for one in best for index in (one, 0)])
        differs += found != VOCABULARY.decode(scores.argmax(-1).tolist())
    assert differs


def test_a_model_of_words_decides_between_words_of_pieces(tmp_path):
    """The last piece is heard as a rather than as b; after "ba" comes "ab"."""
    write_word_model(tmp_path, "words.arpa")
    path = ["▁b", "a", "▁a", "<blank>", {"a": 0.55, "b": 0.45}]
    with_model = Decoding(8, str(tmp_path / "words.arpa"))
    for decoding, wanted in [(Decoding(8), "ba aa"), (with_model, "ba ab")]:
        assert " ".join(word for *_, word in words(decoding, path)) == wanted


@pytest.fixture(scope="module")
def package(encoder_folders, tmp_path_factory):
    source, method = encoder_folders["wav2vec2"], LinearProbe()
    encoder, _ = build(source, method)
    torch.manual_seed(4)
    head = CTCHead(encoder.width, len(PIECES))
    with torch.no_grad():
        head.linear.weight.mul_(12)
    folder = tmp_path_factory.mktemp("pieces")
    modules = {"encoder": encoder.eval(), "head": head.eval()}
    save_package(folder, modules, source, method, PIECES, TRANSCRIPTION, token_type="bpe")
    sf.write(folder / "a.wav", np.random.default_rng(3).normal(0, 0.1, 64000), 16000)
    return folder, modules


def test_a_package_writes_words_without_sentencepiece(package, monkeypatch):
    folder, modules = package
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    model = load_adapter(folder)
    for beam in (None, 5):
        written = model.transcribe(str(folder / "a.wav"), beam=beam)
        assert "▁" not in written.text
        assert " " in written.text
    wav = torch.from_numpy(sf.read(folder / "a.wav", dtype="float32")[0])[None]
    with torch.no_grad():
        path = modules["head"](*modules["encoder"](wav)).argmax(-1)[0].tolist()
    assert model.transcribe(str(folder / "a.wav")).text == VOCABULARY.decode(path)
    assert json.loads((folder / "adapter.json").read_text())["version"] == 2


def test_transformers_is_refused(package, tmp_path, capsys):
    folder, _ = package
    command = ["export", str(folder), "--to", "transformers", str(tmp_path / "to")]
    assert cli.main(command) == 2
    assert "pieces" in capsys.readouterr().err
