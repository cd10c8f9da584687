"""The recogniser learns, is scored as jiwer scores, and decodes as CTC says."""

import itertools
import math
import sys

import jiwer
import numpy as np
import pytest
import soundfile as sf
import speechbrain as sb
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.metric_stats import ErrorRateStats
from speechbrain.utils.train_logger import FileTrainLogger
from support.language_model import ARPA, write_word_model
from support.tiny_run import UNCHANGED, optimisation

from mambadapter.decoding.ctc import Decoding, decoder_of, greedy_texts, texts
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.trained import trained_tensors
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.methods import MENU, MambAdapters
from mambadapter.metrics.error_rates import error_rate
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.training.checkpoints import WholeCheckpointer
from mambadapter.training.ctc import CTCBrain

VOCABULARY = Vocabulary.of(["یەک دوو", "سێ"])
TEXTS = ["یەک", "دوو یەک", "سێ دوو"]


@sb.utils.data_pipeline.takes("text", "seed")
@sb.utils.data_pipeline.provides("signal", "tokens")
def tones(text, seed):
    """A tone for each character, in noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(2400) / 16000
    pitches = [300 + 350 * token for token in VOCABULARY.encode(text)]
    wav = torch.cat([torch.sin(2 * torch.pi * pitch * time) for pitch in pitches])
    yield wav + 0.05 * torch.randn(len(wav), generator=generator)
    yield torch.tensor(VOCABULARY.encode(text))


def dataset(clips, offset=0):
    data = {str(i): {"text": TEXTS[i % 3], "seed": i} for i in range(offset, offset + clips)}
    return DynamicItemDataset(data, [tones], ["id", "signal", "tokens", "text"])


def build(folder, output, method=None, run_opts=None, lstm=0, **hparams):
    sb.utils.seed.seed_everything(1, verbose=False)
    encoder = AdaptedEncoder.from_pretrained(folder, method or MambAdapters(rank=4, d_state=4))
    modules = {"encoder": encoder, "head": CTCHead(encoder.width, len(VOCABULARY), lstm)}
    settings = {
        "seed": 1, "number_of_epochs": 2, "train_logger": FileTrainLogger(f"{output}/train_log.txt"),
        "tensorboard": False, "cache_gb": 1, "cache_folder": None, "output_folder": str(output), "proof_of_life": True,
        "compile": "off",
        "decoding": "greedy", "beam_size": 8, "language_model": None, "lm_weight": 0.5, "word_score": 1.5,
        **UNCHANGED, **optimisation(0.005, head_lr=0.02), **hparams,
    }  # fmt: skip
    counter = EpochCounter(settings["number_of_epochs"])
    brain = CTCBrain(
        VOCABULARY, modules, torch.optim.AdamW, settings,
        {"device": "cpu", "noprogressbar": True, **(run_opts or {})},
        WholeCheckpointer(f"{output}/save", {"counter": counter}),
    )  # fmt: skip
    return brain, counter, modules


def fit(brain, counter, clips=12):
    brain.fit(
        counter, dataset(clips), dataset(6, 100),
        train_loader_kwargs={"batch_size": 4, "shuffle": True}, valid_loader_kwargs={"batch_size": 3},
    )  # fmt: skip


def test_it_learns_and_writes_alignments(folder, tmp_path):
    """Right-to-left scripts as well."""
    brain, counter, _ = build(folder, tmp_path, number_of_epochs=15)
    fit(brain, counter, clips=24)
    brain.evaluate(dataset(6, 200), test_loader_kwargs={"batch_size": 3})
    test = brain.metrics["test"]
    assert test["cer"] < 0.7
    assert test["cer_low"] <= test["cer"] <= test["cer_high"]
    assert test["utterances"] == 6
    assert (tmp_path / "cer_test.txt").read_text(encoding="utf-8").startswith("%WER")
    words = (tmp_path / "wer_test.txt").read_text(encoding="utf-8")
    assert ["دوو", "یەک"] in [[w.strip() for w in line.split(";")] for line in words.splitlines()]


@pytest.mark.parametrize("name", MENU)
def test_every_method_on_the_menu_trains(folder, tmp_path, name):
    brain, counter, _ = build(folder, tmp_path, method=MENU[name], number_of_epochs=1)
    fit(brain, counter, clips=4)
    assert math.isfinite(brain.metrics["valid"]["loss"])


def test_a_killed_run_resumes_to_the_same_result(folder, tmp_path, monkeypatch):
    """With every change of clips that there is, too."""
    sf.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 16000)
    augmented = {
        "waveform_augmentation": True, "noise_folder": str(tmp_path), "reverberation_folder": str(tmp_path),
        "spec_augment": True,
    }  # fmt: skip
    settings = {"run_opts": {"ckpt_interval_steps": 1}, "lstm": 4, **augmented}
    brain, counter, whole = build(folder, tmp_path / "whole", **settings)
    fit(brain, counter)
    brain, counter, _ = build(folder, tmp_path / "killed", **settings)
    original = brain.on_fit_batch_start

    def stop(batch, should_step):
        if brain.optimizer_step == 4:
            raise KeyboardInterrupt
        original(batch, should_step)

    monkeypatch.setattr(brain, "on_fit_batch_start", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(brain, counter)
    brain, counter, resumed = build(folder, tmp_path / "killed", **settings)
    fit(brain, counter)
    expected = trained_tensors(whole)
    for name, tensor in trained_tensors(resumed).items():
        assert torch.equal(tensor, expected[name]), name


def test_the_head_learns_at_its_own_rate(folder, tmp_path):
    brain, *_ = build(folder, tmp_path)
    brain.init_optimizers()
    rates = {id(p): group["lr"] for group in brain.optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in brain.modules.head.parameters()} == {0.02}
    encoder = brain.modules.encoder
    assert {rates[id(p)] for p in encoder.branches.parameters()} == {0.005}
    norms = [p for p in encoder.backbone.parameters() if p.requires_grad]
    assert {rates[id(p)] for p in norms} == {0.0005}


@pytest.mark.parametrize("lstm", [0, 5])
def test_padding_changes_no_score(folder, tmp_path, lstm):
    encoder = AdaptedEncoder.from_pretrained(folder, MambAdapters(rank=4)).eval()
    torch.manual_seed(0)
    head = CTCHead(encoder.width, 7, lstm)
    wavs = torch.randn(2, 8000)
    with torch.no_grad():
        together = head(*encoder(wavs, torch.tensor([1.0, 0.5])))
        alone = head(*encoder(wavs[1:, :4000]))
    torch.testing.assert_close(together[1, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-5)


REFERENCES = ["yiwen sin kraḍ", "kuẓ", "یەک دوو", "акы ҩба хԥа", "a"]
HYPOTHESES = ["yiwen kraḍ kraḍ", "", "یەک دو و", "акы хԥа", "a b c"]


def stats_of(references, hypotheses, split):
    stats = ErrorRateStats()
    ids = [str(number) for number in range(len(references))]
    stats.append(ids, [split(text) for text in hypotheses], [split(text) for text in references])
    return stats


def test_error_rates_are_jiwers():
    assert error_rate(stats_of(REFERENCES, HYPOTHESES, str.split))[0] == pytest.approx(
        jiwer.wer(REFERENCES, HYPOTHESES)
    )
    assert error_rate(stats_of(REFERENCES, HYPOTHESES, list))[0] == pytest.approx(
        jiwer.cer(REFERENCES, HYPOTHESES)
    )


def test_error_rates_of_random_texts_are_jiwers():
    generator = np.random.default_rng(0)
    words = ["sin", "kuẓ", "دوو", "хԥа", "e"]
    texts = [
        [" ".join(generator.choice(words, generator.integers(1, 8))) for _ in range(40)]
        for _ in "rh"
    ]
    assert error_rate(stats_of(*texts, str.split))[0] == pytest.approx(jiwer.wer(*texts))
    assert error_rate(stats_of(*texts, list))[0] == pytest.approx(jiwer.cer(*texts))


def test_intervals_narrow_with_more_utterances():
    """And hold the rate."""
    few = error_rate(stats_of(REFERENCES, HYPOTHESES, list))
    many = error_rate(stats_of(REFERENCES * 40, HYPOTHESES * 40, list))
    assert few[1] < few[0] < few[2]
    assert many[1] < many[0] < many[2]
    assert many[2] - many[1] < (few[2] - few[1]) / 3


def test_greedy_decoding_reads_valid_frames_only():
    path = torch.tensor([[2, 2, 0, 2, 3, 3], [3, 0, 3, 1, 2, 2]])
    vocabulary = Vocabulary(("<blank>", "<unk>", "a", "b"))
    log_probabilities = torch.nn.functional.one_hot(path, 4).float().log()
    assert greedy_texts(vocabulary, log_probabilities, torch.tensor([6, 4])) == ["aab", "bb"]


class Settings:
    decoding, beam_size, language_model, lm_weight, word_score = "beam", 20, None, 0.5, 1.5


def found_by(vocabulary, settings, log_probabilities, frames):
    return texts(decoder_of(vocabulary, Decoding.of(settings)), log_probabilities, frames)


def test_prefix_beam_search_finds_the_likeliest_text():
    """Against the sum over all paths; the likeliest path is another."""
    vocabulary = Vocabulary(("<blank>", "<unk>", "a", "b"))
    torch.manual_seed(3)
    log_probabilities = (3 * torch.randn(6, 5, 4)).log_softmax(-1)
    log_probabilities[..., 1] = -30.0
    log_probabilities = log_probabilities.log_softmax(-1)
    found = found_by(vocabulary, Settings, log_probabilities, torch.full((6,), 5))
    differs = 0
    for clip in range(6):
        totals = {}
        for path in itertools.product(range(4), repeat=5):
            score = sum(log_probabilities[clip, t, token] for t, token in enumerate(path)).exp()
            text = vocabulary.decode(path)
            totals[text] = totals.get(text, 0) + score
        best = max(totals, key=totals.get)
        assert found[clip] == best
        differs += (
            best
            != greedy_texts(vocabulary, log_probabilities[clip : clip + 1], torch.tensor([5]))[0]
        )
    assert differs


def test_a_language_model_decides_between_homophones(tmp_path):
    """The second word's last letter is heard as a a little more than as b; after "ba" comes "ab"."""
    write_word_model(tmp_path, "words.arpa")
    vocabulary = Vocabulary(("<blank>", "<unk>", "a", "b", " "))
    heard = [
        {"b": 1.0},
        {"a": 1.0},
        {" ": 1.0},
        {"a": 1.0},
        {"<blank>": 1.0},
        {"a": 0.55, "b": 0.45},
    ]
    log_probabilities = torch.full((1, len(heard), 5), 1e-6)
    for frame, letters in enumerate(heard):
        for letter, probability in letters.items():
            log_probabilities[0, frame, vocabulary.tokens.index(letter)] = probability
    log_probabilities = log_probabilities.log()
    with_model = type("WithModel", (Settings,), {"language_model": str(tmp_path / "words.arpa")})
    found = [
        found_by(vocabulary, settings, log_probabilities, torch.tensor([len(heard)]))
        for settings in (Settings, with_model)
    ]
    assert found == [["ba aa"], ["ba ab"]]


def test_a_language_model_without_its_packages_names_them(tmp_path, monkeypatch):
    (tmp_path / "words.arpa").write_text(ARPA)
    monkeypatch.setitem(sys.modules, "kenlm", None)
    changed = type("WithModel", (Settings,), {"language_model": str(tmp_path / "words.arpa")})
    with pytest.raises(UserError, match="pip install kenlm pygtrie"):
        decoder_of(VOCABULARY, Decoding.of(changed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoding": "bem"}, "decoding: 'bem' is unknown; did you mean 'beam'"),
        ({"decoding": "greedy", "language_model": "x.arpa"}, "read by beam search only"),
        ({"language_model": "nowhere.arpa"}, r"language_model: there is no file .*nowhere\.arpa"),
        ({"beam_size": 1, "language_model": "x.arpa"}, "give a beam of 2 or more"),
    ],
)
def test_impossible_decodings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        decoder_of(VOCABULARY, Decoding.of(type("Changed", (Settings,), changes)))
