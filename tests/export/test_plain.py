"""What is exported to transformers computes the same there, in a process that cannot import this package."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import support
import torch
from safetensors.torch import load_file, save_file
from support.packages import FULL, LABELS, VOCABULARY, batch, clips_of, package_of
from transformers import AutoModelForAudioClassification, GenerationConfig

from mambadapter import cli
from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.decoding.ctc import greedy_texts
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference import load_adapter, save_package
from mambadapter.inference.package import MULTILABEL, TRANSCRIPTION
from mambadapter.methods import (
    MENU,
    BitFit,
    DoRA,
    FullFinetuning,
    LinearProbe,
    LoRA,
    WeightedSum,
)

# Name: encoder, method, head; in transformers the front ends with GroupNorm take clips one by one.
CASES = {
    "lora": ("wavlm", LoRA(scaled_inputs=True), "classifier"),
    "dora": ("wavlm-stable", DoRA(), "classifier"),
    "bitfit": ("hubert", BitFit(), "classifier"),
    "full": ("hubert-stable", FullFinetuning(), "classifier"),
    "probe": ("wav2vec2", LinearProbe(), "classifier"),
    "layers": ("wav2vec2-stable", WeightedSum(), "classifier"),
    "ctc": ("wav2vec2-stable", LoRA(rank_stabilised=True), "ctc"),
    "known language": ("whisper", FullFinetuning(), "fr"),
    "english alone": ("whisper-english", FullFinetuning(), "en"),
    "new language": ("whisper", LoRA(targets=["q", "k", "v", "o", "ffn_in", "ffn_out"]), "kab"),
}
AUTO = {"classifier": "AutoModelForAudioClassification", "ctc": "AutoModelForCTC"}


@pytest.fixture(scope="module")
def elsewhere(encoder_folders, tmp_path_factory):
    """What each case should be, and what it is."""
    root = tmp_path_factory.mktemp("exported")
    wanted, cases = {}, {}
    encoder_folders = {**encoder_folders, "whisper-english": root / "english"}
    shutil.copytree(encoder_folders["whisper"], root / "english")
    GenerationConfig(is_multilingual=False).save_pretrained(root / "english")
    for name, (encoder, method, head) in CASES.items():
        model = package_of(root / name, str(encoder_folders[encoder]), method, head)
        clips = clips_of(encoder)
        inputs = {f"clip{index}": clip for index, clip in enumerate(clips)}
        with torch.no_grad():
            if head in AUTO:
                hidden, frames = model["encoder"](*batch(clips))
                logits = model["head"](hidden, frames)
                texts = (
                    [LABELS[index] for index in logits.argmax(-1).tolist()]
                    if head == "classifier"
                    else greedy_texts(VOCABULARY, logits, frames)
                )
            else:
                hidden, frames = model.encoder(*batch(clips))
                written = decode_greedily(model.decoder, hidden, frames, 12)
                inputs["tokens"] = torch.tensor([[*model.decoder.start, 7, 8]] * len(clips))
                logits = model.decoder(hidden, frames, inputs["tokens"])
                texts = [model.decode(tokens) for tokens in written]
        save_file(inputs, root / f"{name}.safetensors")
        assert (
            cli.main(["export", str(root / name), "--to", "transformers", str(root / f"to {name}")])
            == 0
        )
        cases[name] = {
            "auto": AUTO.get(head, "AutoModelForSpeechSeq2Seq"),
            "folder": str(root / f"to {name}"),
            "inputs": str(root / f"{name}.safetensors"),
        }
        wanted[name] = logits, texts
    (root / "cases.json").write_text(json.dumps(cases))
    script = Path(support.__file__).with_name("elsewhere.py")
    subprocess.run([sys.executable, script, root / "cases.json", root], check=True)
    return (
        wanted,
        load_file(root / "logits.safetensors"),
        json.loads((root / "texts.json").read_text()),
    )


@pytest.mark.parametrize("name", CASES)
def test_transformers_computes_the_same(elsewhere, name):
    wanted, logits, texts = elsewhere
    expected, said = wanted[name]
    for clip in range(len(expected)):
        count = expected.shape[1] if CASES[name][2] != "ctc" else 28 - 10 * clip
        assert torch.allclose(
            logits[name][clip, :count], expected[clip, :count], atol=1e-4, rtol=1e-4
        )
    assert texts[name] == said
    if CASES[name][2] != "classifier":
        assert all(len(set(text)) > 1 for text in said)


def refused(encoder_folders, tmp_path, capsys, encoder, method, head):
    source = encoder_folders[encoder]
    package_of(tmp_path / "package", source, method, head)
    code = cli.main(
        ["export", str(tmp_path / "package"), "--to", "transformers", str(tmp_path / "to")]
    )
    assert code == 2
    assert not (tmp_path / "to").exists()
    assert not list(tmp_path.glob("*.partial"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    "name",
    sorted(
        set(MENU) - {"lora", "dora", "bitfit", "linear_probe", "weighted_sum", "full_finetuning"}
    ),
)
def test_what_stands_beside_the_layers_is_refused(encoder_folders, tmp_path, capsys, name):
    line = refused(encoder_folders, tmp_path, capsys, "wav2vec2", MENU[name], "classifier")
    assert f"What {type(MENU[name]).__name__} trains stands beside" in line


@pytest.mark.parametrize("encoder", ["ast", "whisper"])
def test_heads_that_transformers_lacks_are_refused(encoder_folders, tmp_path, capsys, encoder):
    line = refused(encoder_folders, tmp_path, capsys, encoder, LinearProbe(), "classifier")
    assert "transformers has no such PooledClassifier on " in line


def test_an_lstm_is_refused(encoder_folders, tmp_path, capsys):
    source = encoder_folders["hubert"]
    encoder = AdaptedEncoder.from_pretrained(source, LinearProbe())
    modules = {"encoder": encoder, "head": CTCHead(encoder.width, len(VOCABULARY), lstm=4)}
    save_package(tmp_path / "p", modules, source, LinearProbe(), VOCABULARY.tokens, TRANSCRIPTION)
    assert (
        cli.main(["export", str(tmp_path / "p"), "--to", "transformers", str(tmp_path / "to")]) == 2
    )
    assert "no such CTCHead on hubert" in capsys.readouterr().err


def test_a_whisper_trained_without_silence_is_refused(
    encoder_folders, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(FULL, "padding", "clip")
    line = refused(encoder_folders, tmp_path, capsys, "whisper", LinearProbe(), "fr")
    assert "encoder.padding: full" in line


def test_a_folder_with_something_in_it_is_left_alone(encoder_folders, tmp_path, capsys):
    package_of(tmp_path / "package", encoder_folders["wav2vec2"], LinearProbe(), "classifier")
    (tmp_path / "mine").write_text("x")
    for to, why in (("transformers", "is there already"), ("onyx", "is no format")):
        assert cli.main(["export", str(tmp_path / "package"), "--to", to, str(tmp_path)]) == 2
        assert re.search(why, capsys.readouterr().err)
    assert (tmp_path / "mine").read_text() == "x"


def test_several_labels_go_with_their_thresholds(encoder_folders, tmp_path):
    """transformers then takes a sigmoid, as its pipeline does of such a model."""
    method, source = LinearProbe(), encoder_folders["wav2vec2"]
    model = package_of(tmp_path / "one", source, method, "classifier")
    thresholds = [0.2, 0.5, 0.7]
    save_package(
        tmp_path / "package", model, source, method, LABELS, MULTILABEL, thresholds=thresholds
    )
    assert (
        cli.main(
            ["export", str(tmp_path / "package"), "--to", "transformers", str(tmp_path / "to")]
        )
        == 0
    )
    there = AutoModelForAudioClassification.from_pretrained(tmp_path / "to").eval()
    assert there.config.problem_type == "multi_label_classification"
    assert there.config.thresholds == thresholds
    wavs = torch.randn(1, 8000)
    with torch.no_grad():
        torch.testing.assert_close(there(wavs).logits, model["head"](*model["encoder"](wavs, None)))
    save_package(tmp_path / "bad", model, source, method, LABELS, MULTILABEL, thresholds=[0.1, 0.2])
    with pytest.raises(UserError, match="3 labels and 2 thresholds"):
        load_adapter(tmp_path / "bad")
