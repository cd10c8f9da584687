"""A checkpoint of transformers' own, for methods that leave nothing beside the layers.

Its heads are `PooledClassifier` and `CTCHead` on wav2vec 2.0, HuBERT and WavLM, and Whisper's decoder.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoModelForSpeechSeq2Seq,
    GenerationConfig,
    PreTrainedModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperProcessor,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.errors import UserError
from mambadapter.export.loaded import Loaded
from mambadapter.heads import CTCHead, PooledClassifier
from mambadapter.inference.package import CLASSIFICATION, MULTILABEL, SEQ2SEQ, TRANSCRIPTION
from mambadapter.text.vocabulary import BLANK, CHAR, UNKNOWN
from mambadapter.utils.files import write_json

# By task: what makes the model, and loads it again.
AUTO_CLASSES: dict[str, Any] = {
    CLASSIFICATION: AutoModelForAudioClassification,
    MULTILABEL: AutoModelForAudioClassification,
    TRANSCRIPTION: AutoModelForCTC,
    SEQ2SEQ: AutoModelForSpeechSeq2Seq,
}

# Why transformers has no model of a head on a family.
_ABSENT = {
    (
        AutoModelForAudioClassification,
        "audio-spectrogram-transformer",
    ): "ASTForAudioClassification has a LayerNorm in front of its linear layer",
    (
        AutoModelForAudioClassification,
        "whisper",
    ): "WhisperForAudioClassification takes the mean over 30 s, silence included",
    (AutoModelForCTC, "whisper"): "there is no WhisperForCTC",
}


def write_plain(loaded: Loaded, folder: Path) -> str:
    """Write the merged model, its feature extractor and its tokenizer."""
    check_head(loaded)
    loaded.fold()
    stacks = [loaded.encoder, *([loaded.head] if isinstance(loaded.head, AdaptedDecoder) else [])]
    mixes = isinstance(loaded.head, PooledClassifier) and set(loaded.encoder.branches) == {"layers"}
    if any(stack.branches for stack in stacks) and not mixes:
        raise UserError(
            f"What {loaded.method} trains stands beside the encoder's layers, and no model of transformers "
            "has it; LoRA, DoRA, BitFit, FullFinetuning, LinearProbe and a classifier's WeightedSum can be "
            "exported there."
        )
    model = plain_model(loaded)
    with torch.no_grad():
        fill(model, loaded)
    model.save_pretrained(folder)
    write_processor(loaded, folder)
    return f"{AUTO_CLASSES[loaded.card['task']].__name__}.from_pretrained('{{folder}}')"


def check_head(loaded: Loaded) -> None:
    """Refuse a head that transformers does not have, by its name."""
    why = _ABSENT.get((AUTO_CLASSES[loaded.card["task"]], loaded.family))
    if isinstance(loaded.head, CTCHead) and loaded.head.lstm is not None:
        why = "its CTC models have no LSTM (head_lstm: 0 trains without)"
    if (loaded.card.get("token_type") or CHAR) != CHAR:
        why = "its tokenizer of CTC joins characters, not pieces (token_type: char trains those)"
    if isinstance(loaded.head, AdaptedDecoder) and loaded.encoder.frontend.ragged:
        why = (
            "its Whisper always reads the silence up to 30 s, which this one was trained without "
            "(encoder.padding: full trains with it)"
        )
    if why is not None:
        name = "Whisper" if loaded.card["task"] == SEQ2SEQ else type(loaded.head).__name__
        raise UserError(f"transformers has no such {name} on {loaded.family}: {why}.")


def plain_model(loaded: Loaded) -> PreTrainedModel:
    """The model of transformers' that has the package's head, its numbers still random."""
    config = AutoConfig.from_pretrained(loaded.source)
    labels = loaded.card.get("labels", [])
    if isinstance(loaded.head, PooledClassifier):
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.classifier_proj_size = config.hidden_size
        config.use_weighted_layer_sum = "layers" in loaded.encoder.branches
        if loaded.card["task"] == MULTILABEL:  # its pipeline then takes a sigmoid
            config.problem_type = "multi_label_classification"
            config.thresholds = loaded.card["thresholds"]
    elif loaded.card["task"] == TRANSCRIPTION:
        config.vocab_size, config.pad_token_id = len(labels), labels.index(BLANK)
        config.bos_token_id = config.eos_token_id = None
    else:
        assert isinstance(loaded.head, AdaptedDecoder)
        config.vocab_size += loaded.head.language is not None
    config.dtype = "float32"
    return AUTO_CLASSES[loaded.card["task"]].from_config(config).eval()


def fill(model: Any, loaded: Loaded) -> None:
    """Put a folded package's numbers into its model."""
    head, backbone = loaded.head, loaded.encoder.backbone.state_dict()
    if isinstance(head, AdaptedDecoder):
        model.model.encoder.load_state_dict(backbone)
        decoder = head.backbone.state_dict()
        if head.language is not None:
            table = "embed_tokens.weight"
            decoder[table] = torch.cat([decoder[table], head.language])
        model.model.decoder.load_state_dict(decoder)
        model.tie_weights()
        model.generation_config = _generation(loaded, head)
        return
    model.base_model.load_state_dict(backbone)
    fill_head(model, head)
    if "layers" in loaded.encoder.branches:
        model.layer_weights.copy_(loaded.encoder.branches["layers"].get_parameter("weights"))


def fill_head(model: Any, head: nn.Module) -> None:
    """Put a head's numbers into the model's; a classifier's projector becomes the identity."""
    if isinstance(head, PooledClassifier):
        nn.init.eye_(model.projector.weight)
        nn.init.zeros_(model.projector.bias)
    linear = head.get_submodule("linear")
    (model.classifier if isinstance(head, PooledClassifier) else model.lm_head).load_state_dict(
        linear.state_dict()
    )


def write_processor(loaded: Loaded, folder: Path) -> None:
    """Write what makes the model's input, and texts of its output."""
    if isinstance(loaded.head, AdaptedDecoder):
        features = AutoFeatureExtractor.from_pretrained(loaded.source)
        tokenizer = loaded.tokenizer
        token, places = _language(loaded), loaded.head.backbone.embed_tokens.num_embeddings
        if loaded.head.language is not None:
            # Some checkpoints have no tokens for Whisper's last outputs, which are its timestamps.
            absent = places - len(tokenizer)
            tokenizer.add_tokens([f"<|{0.02 * n:.2f}|>" for n in range(absent)])
            tokenizer.add_tokens([token], special_tokens=True)
            if tokenizer.get_vocab()[token] != places:
                raise UserError(
                    f"The tokenizer of '{loaded.source}' has {len(tokenizer) - 1} tokens and the model "
                    f"{places}: {token} has no place behind them."
                )
        WhisperProcessor(features, tokenizer).save_pretrained(folder)
        return
    frontend: Any = loaded.encoder.frontend
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=frontend.sample_rate,
        do_normalize=frontend.normalise,
        return_attention_mask=True,
    )
    if isinstance(loaded.head, PooledClassifier):
        extractor.save_pretrained(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        labels = loaded.card["labels"]
        between = next(sign for sign in "|_▁" if sign not in labels)  # it stands for the space
        tokens = {between if token == " " else token: n for n, token in enumerate(labels)}
        vocabulary = write_json(Path(scratch, "vocab.json"), tokens)
        tokenizer = Wav2Vec2CTCTokenizer(
            str(vocabulary), bos_token=None, eos_token=None, unk_token=UNKNOWN, pad_token=BLANK,
            word_delimiter_token=between,
        )  # fmt: skip
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)


def _language(loaded: Loaded) -> str:
    return f"<|{loaded.card['language']}|>"


def _generation(loaded: Loaded, decoder: AdaptedDecoder) -> GenerationConfig:
    """Greedy decoding of the language that was trained, as `decode_greedily`: no token is suppressed."""
    try:
        generation = GenerationConfig.from_pretrained(loaded.source)
    except OSError:
        generation = GenerationConfig()
    known = loaded.tokenizer.get_vocab()
    start, *prompt, no_timestamps = decoder.start
    tokens = {f"<|{code}|>": known.get(f"<|{code}|>") for code in LANGUAGES}
    settings: dict[str, Any] = {
        "_from_model_config": False,  # or transformers makes another one
        "decoder_start_token_id": start,
        "bos_token_id": decoder.end,
        "eos_token_id": decoder.end,
        "pad_token_id": decoder.end,
        "is_multilingual": bool(prompt),
        "no_timestamps_token_id": no_timestamps,
        "forced_decoder_ids": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "max_length": None,
        "max_new_tokens": min(loaded.card["longest_text"], decoder.longest - len(decoder.start)),
    }
    if prompt:  # one for English alone is told neither language nor task
        language, task = prompt
        settings |= {
            "lang_to_id": {
                **{name: index for name, index in tokens.items() if index is not None},
                _language(loaded): language,
            },
            "task_to_id": {"transcribe": task},
            "language": _language(loaded),
            "task": "transcribe",
        }
    for name, value in settings.items():  # `update` leaves out those that only Whisper has
        setattr(generation, name, value)
    return generation
