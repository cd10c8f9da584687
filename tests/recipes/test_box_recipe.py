"""The recipe of the encoder in the box: what it synthesises, what it labels, and that it trains."""

import ctypes.util
import json
import math
import re
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file
from support import warm
from support.recipe_run import RECIPES

from mambadapter.errors import UserError

RECIPE = RECIPES / "BoxEncoder"

needs_espeak = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="eSpeak NG is not installed"
)


@pytest.fixture(autouse=True)
def recipe_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))


def test_sounds_are_finite_and_reproducible():
    """Full scale, and a function of the generator."""
    from sounds import KINDS, make_sound

    assert len(KINDS) >= 30
    for kind in KINDS:
        for samples in (4000, 24001):
            wav = make_sound(kind, samples, np.random.default_rng(3))
            assert wav.shape == (samples,)
            assert np.isfinite(wav).all()
            assert np.abs(wav).max() == pytest.approx(1, abs=1e-3), kind
            np.testing.assert_array_equal(wav, make_sound(kind, samples, np.random.default_rng(3)))
            assert not np.array_equal(wav, make_sound(kind, samples, np.random.default_rng(4)))


def test_sweeps_sweep_and_colours_slope():
    from sounds import make_sound

    def centroid(wav):
        power = np.abs(np.fft.rfft(wav)) ** 2
        return (power * np.arange(len(power))).sum() / power.sum() / len(power)

    means = {
        kind: np.mean(
            [centroid(make_sound(kind, 16000, np.random.default_rng(k))) for k in range(5)]
        )
        for kind in ("brown_noise", "pink_noise", "white_noise", "blue_noise")
    }
    assert list(means) == sorted(means, key=means.get)


def test_texts_are_written_in_each_languages_own_letters():
    from languages import LANGUAGES, write_text

    assert len(LANGUAGES) >= 15
    generator = np.random.default_rng(0)
    for language, spelling in LANGUAGES.items():
        letters = set(f"{spelling.onsets} {spelling.nuclei} {spelling.codas},")
        text = "".join(write_text(language, generator) for _ in range(20))
        assert set(text) <= letters, language


def test_phones_share_an_events_time():
    from espeak import SILENCE, _letters

    events = [
        (0, ""),
        (100, "tʃ"),
        (200, "a\N{MODIFIER LETTER TRIANGULAR COLON}"),
        (290, "(en)"),
        (290, "oʊ"),
        (390, "˧"),
    ]
    assert list(_letters(events, 500)) == [
        (0, SILENCE), (100, "t"), (150, "ʃ"), (200, "a"), (290, "o"), (340, "ʊ"), (390, SILENCE),
    ]  # fmt: skip
    # A length mark makes its letter last half as long again.
    assert list(_letters([(0, "ɔːɹ")], 250)) == [(0, "ɔ"), (150, "ɹ")]


def test_frame_labels_against_a_search_by_hand():
    from pretraining import frame_labels

    spoken = [[0, "_"], [700, "a"], [1900, "x"], [2500, "b"], [6000, "_"]]
    index = {"_": 0, "a": 1, "b": 2}
    labels = frame_labels(spoken, torch.zeros(8000), index)
    assert len(labels) == (8000 - 400) // 320 + 1
    for frame, label in enumerate(labels.tolist()):
        middle = 320 * frame + 200
        letter = [letter for start, letter in spoken if start <= middle][-1]
        assert label == index.get(letter, -100)
    assert (frame_labels([], torch.zeros(8000), index) == -100).all()


def test_there_are_as_many_labels_as_frames():
    from pretraining import frame_labels

    from mambadapter.encoders.loading import load_pretrained

    backbone = load_pretrained("mambadapter/box").backbone
    for samples in (400, 719, 720, 8000, 12345, 64001):
        frames = int(backbone._get_feat_extract_output_lengths(torch.tensor(samples)))
        assert len(frame_labels([[0, "_"]], torch.zeros(samples), {"_": 0})) == frames


def test_augmentation_keeps_time_padding_and_the_generator():
    from augment import augment

    torch.manual_seed(0)
    wavs = torch.zeros(16, 16000)
    wavs[:, :9000] = torch.randn(16, 9000) * torch.linspace(0.2, 1, 9000)
    lens = torch.full((16,), 9000 / 16000)
    torch.manual_seed(1)
    first = augment(wavs, lens)
    torch.manual_seed(1)
    assert torch.equal(first, augment(wavs, lens))
    assert not torch.allclose(first, augment(wavs, lens))
    assert first.isfinite().all()
    assert (first[:, 9000:] == 0).all()
    # The loudest point of the cross-correlation with the clean clip is where it was.
    correlation = torch.fft.irfft(torch.fft.rfft(first, 40000) * torch.fft.rfft(wavs, 40000).conj())
    peaks = correlation.abs().argmax(1)
    assert (torch.minimum(peaks, 40000 - peaks) <= 2).float().mean() > 0.7


def test_without_espeak_the_message_says_what_to_install(monkeypatch):
    from espeak import Espeak

    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(UserError, match="apt-get install espeak-ng"):
        Espeak(0)


@needs_espeak
def test_speech_is_labelled_where_it_is_loud(tmp_path):
    from box_prepare import Shard, _make_shard
    from espeak import SILENCE

    _make_shard(tmp_path, Shard("speech", "es", 6, [0]))
    clips = json.loads((tmp_path / "speech/es/shard.json").read_text())["clips"]
    assert len(clips) == 6
    for name, clip in clips.items():
        wav, rate = sf.read(tmp_path / f"{name}.flac")
        starts = [start for start, _ in clip["phones"]]
        assert rate == 16000
        assert starts == sorted(starts)
        assert starts[-1] <= len(wav)
        vowels = [
            wav[start:end].std()
            for (start, letter), end in zip(clip["phones"], [*starts[1:], len(wav)], strict=True)
            if letter in "aeiou" and end - start > 200
        ]
        silent = [
            wav[start:end].std()
            for (start, letter), end in zip(clip["phones"], [*starts[1:], len(wav)], strict=True)
            if letter == SILENCE and end - start > 200
        ]
        assert not silent or np.mean(vowels) > 3 * np.mean(silent)


@needs_espeak
def test_the_corpus_is_reproducible_and_resumes(tmp_path, monkeypatch):
    import box_prepare

    monkeypatch.setattr(
        box_prepare, "LANGUAGES", {k: box_prepare.LANGUAGES[k] for k in ("fi", "tr")}
    )
    monkeypatch.setattr(box_prepare, "KINDS", {k: box_prepare.KINDS[k] for k in ("rain", "siren")})
    for folder in ("one", "two"):
        box_prepare.prepare_box(tmp_path / folder, utterances=3, sounds=2)
    files = sorted(path.relative_to(tmp_path / "one") for path in tmp_path.glob("one/*/*/*.flac"))
    assert len(files) == 2 * 3 + 2 * 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()

    kept = tmp_path / "two/speech/fi/00000.flac"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "two/speech/tr/shard.json").unlink()
    box_prepare.prepare_box(tmp_path / "two", utterances=3, sounds=2)
    again = tmp_path / "two/speech/tr/00002.flac"
    assert again.read_bytes() == (tmp_path / "one/speech/tr/00002.flac").read_bytes()
    assert kept.stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="made with other numbers"):
        box_prepare.prepare_box(tmp_path / "two", utterances=4, sounds=2)


def test_a_synthesiser_crash_is_an_error(tmp_path, monkeypatch):
    """Not a wait."""
    import os

    import box_prepare

    monkeypatch.setattr(box_prepare, "LANGUAGES", {})
    monkeypatch.setattr(box_prepare, "KINDS", {"rain": box_prepare.KINDS["rain"]})
    monkeypatch.setattr(box_prepare, "make_sound", lambda *arguments: os._exit(3))
    with pytest.raises(UserError, match="sounds/rain failed"):
        box_prepare.prepare_box(tmp_path, utterances=1, sounds=1)


def test_ctc_loss_is_pytorchs_per_phone():
    from objectives import ctc_loss

    torch.manual_seed(0)
    logits = torch.randn(3, 9, 4)
    labels = torch.tensor([[0, 0, 1, 1, -100, 1, 2, -100, -100], [-100] * 9, [2] * 5 + [-100] * 4])
    total = sum(
        torch.nn.functional.ctc_loss(
            logits[clip, :frames].log_softmax(-1), torch.tensor(phones), torch.tensor(frames),
            torch.tensor(len(phones)), blank=3, reduction="sum",
        )
        for clip, frames, phones in ((0, 9, [0, 1, 2]), (2, 5, [2]))
    )  # fmt: skip
    loss = ctc_loss(logits, labels, torch.tensor([9, 9, 5]))
    torch.testing.assert_close(loss, total / 4)


def test_right_phones_are_counted_by_edit_distance():
    from objectives import frames_right, phones_right

    labels = torch.tensor([[0, 0, 1, 1, 2, -100]])
    decoded = torch.tensor([[0, 3, 2, 2, 2, 1]])  # 0, 2: one phone of three left out
    logits = torch.nn.functional.one_hot(decoded, 4).float()
    assert phones_right(logits, labels) == (2, 3)
    assert frames_right(logits, labels) == (2, 5)


def write_parts(folder, utterances, sounds, seed):
    """What the preparation writes, but noise in place of speech, so that it needs no synthesiser."""
    from box_prepare import plan

    generator = np.random.default_rng(0)
    for shard in plan(utterances, sounds, seed):
        (folder / shard.name).mkdir(parents=True)
        clips = {}
        for number in range(shard.clips):
            name, samples = f"{shard.name}/{number:05d}", int(generator.integers(5000, 12000))
            sf.write(folder / f"{name}.flac", generator.normal(0, 0.1, samples), 16000)
            phones = [[k * 500, "ab_"[k % 3]] for k in range(samples // 500)]
            clips[name] = {
                "duration": samples / 16000,
                "kind": shard.kind,
                "phones": phones if shard.language else [],
            }
        text = json.dumps({"shard": asdict(shard), "clips": clips})
        (folder / shard.name / "shard.json").write_text(text)


TINY = {
    "architecture.hidden_size": 32, "architecture.num_hidden_layers": 1,
    "architecture.num_attention_heads": 2, "architecture.intermediate_size": 32,
    "architecture.num_conv_pos_embedding_groups": 2,
    "utterances": 3, "sounds": 1, "num_workers": 0, "warmup": 0.1, "number_of_epochs": 3,
}  # fmt: skip


def start(data, output, **changes):
    settings = {**TINY, "data_folder": data, "output_folder": output, **changes}
    options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    arguments = [
        "train.py", "hparams/train.yaml", *options, "--noprogressbar", "--ckpt_interval_steps", "1",
        "--device", "cpu",  # a GPU may add in another order, and the test wants the same bits
    ]  # fmt: skip
    return warm.start(arguments, f"{output}.log", cwd=RECIPE)


def pretrain(data, output, **changes):
    process = start(data, output, **changes)
    process.join(timeout=300)
    assert process.exitcode == 0, Path(f"{output}.log").read_text()[-2000:]


def test_pretraining_by_ctc_learns(tmp_path):
    write_parts(tmp_path / "data", TINY["utterances"], TINY["sounds"], 1986)
    pretrain(tmp_path / "data", tmp_path / "run", phone_objective="ctc")
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert math.isfinite(result["metrics"]["test"]["loss"])
    losses = re.findall(r"train loss: (\S+)", (tmp_path / "run/train_log.txt").read_text())
    assert float(losses[-1]) < float(losses[0])


def test_killed_pretraining_ends_with_the_same_checkpoint(tmp_path):
    from mambadapter.encoders.loading import load_pretrained

    write_parts(tmp_path / "data", TINY["utterances"], TINY["sounds"], 1986)
    pretrain(tmp_path / "data", tmp_path / "whole")

    killed = start(tmp_path / "data", tmp_path / "killed")
    while not len(list(tmp_path.glob("killed/save/CKPT*"))) > 1:
        assert killed.is_alive(), Path(f"{tmp_path}/killed.log").read_text()[-2000:]
        time.sleep(0.05)
    killed.kill()
    killed.join()
    assert not (tmp_path / "killed/encoder").exists()
    pretrain(tmp_path / "data", tmp_path / "killed")

    weights = [
        load_file(tmp_path / run / "encoder/model.safetensors") for run in ("whole", "killed")
    ]
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        assert torch.equal(weights[0][name], weights[1][name]), name
    result = json.loads((tmp_path / "killed/result.json").read_text())
    assert math.isfinite(result["metrics"]["test"]["loss"])
    encoder = load_pretrained(str(tmp_path / "whole/encoder"))
    assert encoder.backbone.config.hidden_size == 32
    assert encoder.frontend.sample_rate == 16000
