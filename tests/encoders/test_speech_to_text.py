"""Whisper as a whole against transformers' own, and with a language that it does not know."""

import shutil

import pytest
import torch
from transformers import (
    GenerationConfig,
    GenerationMixin,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.encoders.speech_to_text import check_language, load_speech_to_text
from mambadapter.errors import UserError
from mambadapter.methods import MENU, LinearProbe
from mambadapter.training.seq2seq import teacher_forced

FROZEN = LinearProbe(norms="none")
TEXTS = ("azul fell-awen", "ab", "Ҕы!")


@pytest.fixture
def folder(encoder_folders):
    return encoder_folders["whisper"]


@pytest.fixture
def wavs():
    torch.manual_seed(0)
    return 0.1 * torch.randn(3, 12000)


def full(folder):
    return {"source": folder, "padding": "full"}


def transformers_whisper(folder, wavs):
    """transformers' own, with one token more whose embedding is the mean of the languages'."""
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    extract = WhisperFeatureExtractor.from_pretrained(folder)
    known = tokenizer.convert_tokens_to_ids(["<|en|>", "<|fr|>"])
    size = model.config.vocab_size
    mean = model.model.decoder.embed_tokens.weight[known].mean(0).detach()
    model.resize_token_embeddings(size + 1, mean_resizing=False)
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight[size] = mean
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    features = extract(list(wavs.numpy()), sampling_rate=16000, return_tensors="pt")
    return model, tokenizer, features.input_features


def test_loss_and_its_gradient_are_transformers_own(folder, wavs):
    plain, tokenizer, features = transformers_whisper(folder, wavs)
    whisper = load_speech_to_text(full(folder), "kab", FROZEN)
    whisper.encoder.eval()
    encoded = [torch.tensor(whisper.encode(text)) for text in TEXTS]
    assert encoded[0].tolist() == tokenizer.encode(TEXTS[0], add_special_tokens=False)
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    tokens = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True)
    read, labels, read_lengths = teacher_forced(
        tokens, lengths, whisper.decoder.start, whisper.decoder.end
    )
    expected = plain(input_features=features, decoder_input_ids=read, labels=labels).loss
    logits = whisper.decoder(*whisper.encoder(wavs), read, read_lengths)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    theirs = plain.model.decoder.embed_tokens.weight.grad[-1:]
    torch.testing.assert_close(whisper.decoder.language.grad, theirs, rtol=1e-3, atol=1e-6)


def test_what_is_read_is_transformers_labels_shifted(folder):
    """Of a language that Whisper knows, with one clip, nothing has to be masked."""
    whisper = load_speech_to_text(folder, "fr", FROZEN)
    tokens = torch.tensor([whisper.encode("ab")])
    decoder = whisper.decoder
    read, labels, _ = teacher_forced(tokens, torch.tensor([2]), decoder.start, decoder.end)
    whole = [*decoder.start, *tokens[0].tolist(), decoder.end]
    assert read[0].tolist() == whole[:-1]
    assert labels[0, 3:].tolist() == whole[4:]
    shifted = shift_tokens_right(torch.tensor([whole[1:]]), decoder.end, decoder.start[0])
    assert torch.equal(shifted, read)


@pytest.mark.parametrize("adapted", [False, True])
def test_greedy_texts_are_transformers_own(folder, wavs, adapted):
    plain, _, features = transformers_whisper(folder, wavs)
    # With branches, which start as nothing, the cache is off: the same comes out.
    method = MENU["bottleneck"] if adapted else FROZEN
    whisper = load_speech_to_text(full(folder), "kab", method, "both")
    whisper.encoder.eval()
    whisper.decoder.eval()
    start = torch.tensor([whisper.decoder.start]).expand(3, -1)
    expected = start
    for _ in range(12):
        with torch.no_grad():
            logits = plain(input_features=features, decoder_input_ids=expected).logits
        expected = torch.cat([expected, logits[:, -1].argmax(-1)[:, None]], dim=1)
    texts = decode_greedily(whisper.decoder, *whisper.encoder(wavs), limit=12)
    for text, row in zip(texts, expected[:, 4:].tolist(), strict=True):
        end = row.index(whisper.decoder.end) if whisper.decoder.end in row else len(row)
        assert text == row[:end]


def test_generation_is_transformers_generate(folder, wavs):
    """In a language that the checkpoint has, where transformers needs no new token."""
    plain = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    features = WhisperFeatureExtractor.from_pretrained(folder)(
        list(wavs.numpy()), sampling_rate=16000, return_tensors="pt"
    )
    whisper = load_speech_to_text(full(folder), "fr", FROZEN)
    decoder = whisper.decoder.eval()
    start = torch.tensor([decoder.start]).expand(3, -1)
    expected = GenerationMixin.generate(
        plain, features.input_features, decoder_input_ids=start, max_new_tokens=10, do_sample=False,
        num_beams=1,
    )  # fmt: skip
    texts = decode_greedily(decoder, *whisper.encoder.eval()(wavs), limit=10)
    for text, row in zip(texts, expected[:, 4:].tolist(), strict=True):
        assert text == row[: len(text)]
        assert len(text) == 10 or row[len(text)] == decoder.end


@pytest.fixture
def english(folder, tmp_path):
    """A Whisper that was trained on English alone."""
    shutil.copytree(folder, tmp_path / "english")
    GenerationConfig(is_multilingual=False).save_pretrained(tmp_path / "english")
    return str(tmp_path / "english")


def test_one_for_english_alone_is_told_no_language(english):
    whisper = load_speech_to_text(english, "en", FROZEN)
    known = whisper.tokenizer.get_vocab()
    start = [known["<|startoftranscript|>"], known["<|notimestamps|>"]]
    assert list(whisper.decoder.start) == start  # openai-whisper's for its .en models
    assert whisper.decoder.language is None
    with pytest.raises(UserError, match="writes English alone: --language.code en, or, for 'kab'"):
        load_speech_to_text(english, "kab", FROZEN)


def test_known_languages_get_no_new_token(folder):
    known = load_speech_to_text(folder, "fr", FROZEN).decoder
    new = load_speech_to_text(folder, "rw", FROZEN).decoder
    assert known.language is None
    assert new.start[1] == new.backbone.embed_tokens.num_embeddings
    assert (known.start[0], *known.start[2:]) == (new.start[0], *new.start[2:])
    assert new.language.requires_grad


def test_names_of_known_languages_are_refused_and_unknown_ones_get_the_list(folder, caplog):
    caplog.set_level("INFO")
    tokenizer = load_speech_to_text(folder, "fr", FROZEN).tokenizer
    check_language("fr", tokenizer)
    assert not caplog.text
    for name in ("French", "FR"):
        with pytest.raises(UserError, match=f"calls '{name}' fr; --language.code fr"):
            check_language(name, tokenizer)
    check_language("rw", tokenizer)
    (message,) = (record.getMessage() for record in caplog.records)
    known = message.partition("It knows ")[2].rstrip(".").split(", ")
    assert "fr" in known
    assert all(f"<|{code}|>" in tokenizer.get_vocab() for code in known)


def test_texts_survive_the_tokens(folder):
    whisper = load_speech_to_text(folder, "ab", FROZEN)
    for text in (*TEXTS, "سڵاو بەڕێز", "ҩы аԥсуа"):
        tokens = whisper.encode(text)
        assert whisper.decode([*tokens, whisper.decoder.end]) == text
        assert whisper.decode([whisper.decoder.start[1], *tokens]) == text


def test_only_a_multilingual_whisper_will_do(folder, encoder_folders, tmp_path):
    with pytest.raises(UserError, match="family 'wav2vec2': only Whisper"):
        load_speech_to_text(encoder_folders["wav2vec2"], "kab", FROZEN)
    WhisperForConditionalGeneration.from_pretrained(folder).save_pretrained(tmp_path)
    WhisperFeatureExtractor.from_pretrained(folder).save_pretrained(tmp_path)
    letters = WhisperTokenizer.from_pretrained(folder).get_vocab()
    WhisperTokenizer({"a": 0, "b": 1}, []).save_pretrained(tmp_path)
    assert len(letters) > 2
    with pytest.raises(UserError, match="multilingual Whisper"):
        load_speech_to_text(str(tmp_path), "kab", FROZEN)


def test_texts_too_long_are_refused(folder, wavs):
    whisper = load_speech_to_text(folder, "kab", FROZEN)
    memory, frames = whisper.encoder(wavs)
    with pytest.raises(UserError, match="81 tokens; this decoder writes at most 80"):
        whisper.decoder(memory, frames, torch.zeros(3, 81, dtype=torch.long))
    assert all(
        len(text) <= 76 for text in decode_greedily(whisper.decoder, memory, frames, limit=100)
    )


@pytest.mark.parametrize("adapt", ["decoder", "both"])
def test_it_learns_to_write_a_text(folder, wavs, adapt):
    torch.manual_seed(0)
    whisper = load_speech_to_text(folder, "kab", MENU["full_finetuning"], adapt)
    encoder, decoder = whisper.encoder.eval(), whisper.decoder.eval()
    tokens = torch.tensor([whisper.encode(TEXTS[0])])
    lengths = torch.tensor([tokens.shape[1]])
    read, labels, read_lengths = teacher_forced(tokens, lengths, decoder.start, decoder.end)
    learning = [p for stack in (encoder, decoder) for p in stack.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=0.003)
    for _ in range(60):
        optimiser.zero_grad()
        logits = decoder(*encoder(wavs[:1]), read, read_lengths)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        optimiser.step()
    (text,) = decode_greedily(decoder, *encoder(wavs[:1]), limit=40)
    assert whisper.decode(text) == TEXTS[0]
