"""Packages of trained models, as tests of export make them: nothing is trained, everything is moved."""

import torch
from torch import nn

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.speech_to_text import load_speech_to_text
from mambadapter.heads import CTCHead, PooledClassifier
from mambadapter.inference import save_package, save_whisper_package
from mambadapter.inference.package import TRANSCRIPTION
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import Vocabulary
from support.contract import moved

LABELS = ["no", "stop", "yes"]
VOCABULARY = Vocabulary.of(["a bd", "ec"])
FULL = {"padding": "full"}

HEADS = ("classifier", "ctc")


def clips_of(encoder):
    torch.manual_seed(5)
    count = 1 if encoder in ("wavlm", "hubert", "wav2vec2") else 2
    return [0.1 * torch.randn(9000 - 3000 * index) for index in range(count)]


def batch(clips):
    wavs = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return wavs, torch.tensor([len(clip) / wavs.shape[1] for clip in clips])


def trained_head(head):
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head


def package_of(folder, source, method, head):
    """Save one; returns its modules. A head that is not in HEADS is the language of a Whisper."""
    torch.manual_seed(0)
    if head not in HEADS:
        return whisper_package(folder, {"source": source, **FULL}, method, head)
    encoder = moved(AdaptedEncoder.from_pretrained(source, method)).eval()
    if head == "classifier":
        modules = {
            "encoder": encoder,
            "head": trained_head(PooledClassifier(encoder.width, len(LABELS))),
        }
        save_package(folder, modules, source, method, LABELS)
    else:
        modules = {
            "encoder": encoder,
            "head": trained_head(CTCHead(encoder.width, len(VOCABULARY))),
        }
        save_package(folder, modules, source, method, VOCABULARY.tokens, TRANSCRIPTION)
    return modules


def whisper_package(folder, source, method, language):
    whisper = load_speech_to_text(source, language, method, "both")
    for stack in (whisper.encoder, whisper.decoder):
        moved(stack, scale=2).eval()  # far, so that it writes something
    save_whisper_package(
        folder, whisper, source, method,
        language=language, rules=TextRules("abcde"), adapt="both", longest_text=12,
    )  # fmt: skip
    return whisper
