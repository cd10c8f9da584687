"""PEFT reads what is exported to it, and computes the same."""

import pytest
import torch
import transformers
from support.packages import batch, clips_of, package_of

from mambadapter import cli
from mambadapter.methods import MENU, DoRA, LoRA

peft = pytest.importorskip("peft")

ALL = ["q", "k", "v", "o", "ffn_in", "ffn_out"]
CASES = {
    "lora": ("wav2vec2-stable", LoRA(scaled_inputs=True), "classifier"),
    "all": ("hubert", LoRA(targets=ALL, rank_stabilised=True), "classifier"),
    "dora": ("hubert-stable", DoRA(targets=ALL, norms="none"), "ctc"),
    "ffn": ("wavlm", DoRA(targets=["ffn_in"], scaled_inputs=True), "classifier"),
    "whisper": ("whisper", LoRA(), "fr"),
}


@pytest.fixture(params=CASES)
def exported(request, encoder_folders, tmp_path):
    encoder, method, head = CASES[request.param]
    source = encoder_folders[encoder]
    model = package_of(tmp_path / "package", source, method, head)
    assert (
        cli.main(["export", str(tmp_path / "package"), "--to", "peft", str(tmp_path / "to")]) == 0
    )
    return encoder, source, head, model, tmp_path / "to"


def test_peft_computes_the_same(exported):
    encoder, source, head, model, folder = exported
    auto = {
        "classifier": transformers.AutoModelForAudioClassification,
        "ctc": transformers.AutoModelForCTC,
    }.get(head, transformers.AutoModelForSpeechSeq2Seq)
    torch.manual_seed(7)
    base = auto.from_pretrained(source, config=transformers.AutoConfig.from_pretrained(folder))
    adapted = peft.PeftModel.from_pretrained(base, folder).eval()
    clips = clips_of(encoder)
    processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = dict(
        processor(
            [clip.numpy() for clip in clips],
            sampling_rate=16000,
            return_tensors="pt",
            padding=head in ("classifier", "ctc") or "max_length",
        )
    )
    with torch.no_grad():
        if head in ("classifier", "ctc"):
            hidden, frames = model["encoder"](*batch(clips))
            wanted = model["head"](hidden, frames)
        else:
            hidden, frames = model.encoder(*batch(clips))
            tokens = torch.tensor([[*model.decoder.start, 7, 8]] * len(clips))
            wanted = model.decoder(hidden, frames, tokens)
            inputs["decoder_input_ids"] = tokens
        logits = adapted(**inputs).logits
        for clip, count in enumerate(frames.tolist()):
            count = count if head == "ctc" else wanted.shape[1]
            assert torch.allclose(logits[clip, :count], wanted[clip, :count], atol=1e-4, rtol=1e-4)
        merged = adapted.merge_and_unload()(**inputs).logits
    assert torch.allclose(merged, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "method", "head", "why"),
    [
        ("wav2vec2", MENU["mambadapter"], "classifier", "has no MambAdapters"),
        ("wavlm", LoRA(), "classifier", "WavLM's q, v would do nothing"),
        ("whisper", LoRA(), "kab", "kab has a token of its own"),
        ("ast", LoRA(), "classifier", "no such PooledClassifier"),
    ],
)
def test_what_peft_cannot_hold_is_refused(
    encoder_folders, tmp_path, capsys, encoder, method, head, why
):
    package_of(tmp_path / "package", encoder_folders[encoder], method, head)
    assert (
        cli.main(["export", str(tmp_path / "package"), "--to", "peft", str(tmp_path / "to")]) == 2
    )
    assert why in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
