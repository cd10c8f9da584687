"""The contract of every method on the menu in Whisper's decoder, which writes token by token."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.contract import ENCODER_ONLY, NO_IDENTITY, has_batch_norm, learning, moved
from support.formulas import EncoderShape, trained_count
from transformers import WhisperForConditionalGeneration

from mambadapter.budget.count import count_parameters
from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.encoders.speech_to_text import load_speech_to_text
from mambadapter.encoders.trained import load_trained, trained_tensors
from mambadapter.errors import UserError
from mambadapter.methods import MENU, method_from_dict, method_to_dict
from mambadapter.training.sanity_check import prove_alive

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

CAUSAL = [name for name in MENU if name != "mambadapter_bidirectional"]


@pytest.fixture(params=CAUSAL)
def name(request):
    return request.param


@pytest.fixture
def method(name):
    return MENU[name]


@pytest.fixture
def folder(encoder_folders):
    return encoder_folders["whisper"]


def build(folder, method, language="kab"):
    torch.manual_seed(0)
    return load_speech_to_text(folder, language, method, "decoder").decoder


def heard():
    torch.manual_seed(2)
    return torch.randn(3, 20, 32), torch.tensor([20, 14, 9])


def written(decoder):
    """Texts of 12, 8 and 5 tokens behind those that start them."""
    torch.manual_seed(3)
    texts = torch.randint(0, 200, (3, 12))
    start = torch.tensor([decoder.start]).expand(3, -1)
    return torch.cat([start, texts], dim=1), torch.tensor([16, 12, 9])


def scores(decoder):
    tokens, lengths = written(decoder)
    return decoder(*heard(), tokens, lengths)


def objective(decoder):
    torch.manual_seed(4)
    return sum((row[:n] * torch.randn_like(row[:n])).sum()
               for row, n in zip(scores(decoder), (16, 12, 9), strict=True))  # fmt: skip


def promised(name, decoder):
    layers = range(len(decoder.layers))
    everything = {n for n, _ in decoder.backbone.named_parameters()}
    if name == "full_finetuning":
        names = everything
    elif name == "bitfit":
        names = {n for n in everything if n.endswith("bias")}
    else:
        norms = set() if name == "weighted_sum" else {"layer_norm"}
        if name not in NO_IDENTITY | ENCODER_ONLY | {"lora", "dora"}:
            norms |= {f"layers.{index}.final_layer_norm" for index in layers}
        names = {f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")}
    branches = {f"branches.{n}" for n, _ in decoder.branches.named_parameters()}
    return branches | {f"backbone.{n}" for n in names} | {"language"}


def test_it_starts_as_whispers_own_decoder(folder, name, method):
    """Where it promises to."""
    plain = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    decoder = build(folder, method, language="fr").eval()
    tokens, _ = written(decoder)
    memory, _ = heard()
    full = torch.full((3,), memory.shape[1])
    assert decoder.language is None
    assert decoder.starts_as_frozen == (name not in NO_IDENTITY)
    with torch.no_grad():
        frozen = plain(encoder_outputs=(memory,), decoder_input_ids=tokens).logits
        start = decoder(memory, full, tokens)
        with decoder.branches_off():
            off = decoder(memory, full, tokens)
    torch.testing.assert_close(off, frozen, rtol=1e-4, atol=1e-4)
    assert torch.allclose(start, frozen, rtol=1e-4, atol=1e-4) == decoder.starts_as_frozen


def test_gradient_reaches_what_learns(folder, name, method):
    """All of what the method promises to train, and nothing else."""
    decoder = build(folder, method)
    assert learning(decoder) == promised(name, decoder)
    moved(decoder).train()
    objective(decoder).backward()
    for parameter_name, parameter in decoder.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, parameter_name
        else:
            assert parameter.grad.abs().max() > 1e-9, parameter_name


def test_frozen_parameters_stay_to_the_bit(folder, method):
    """Over twenty steps."""
    decoder = build(folder, method).train()
    before = {n: p.detach().clone() for n, p in decoder.named_parameters()}
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(20):
        optimiser.zero_grad()
        objective(decoder).backward()
        optimiser.step()
    for name, parameter in decoder.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_saved_and_loaded_it_gives_the_same(folder, method, tmp_path):
    """To the bit, in a fresh model."""
    decoder = moved(build(folder, method)).train()
    scores(decoder)  # moves BatchNorm's statistics
    tensors = trained_tensors({"head": decoder})
    save_file({n: t.contiguous() for n, t in tensors.items()}, tmp_path / "saved")
    fresh = moved(build(folder, method_from_dict(method_to_dict(method))), scale=0.5)
    load_trained({"head": fresh}, load_file(tmp_path / "saved"), "saved")
    with torch.no_grad():
        assert torch.equal(scores(fresh.eval()), scores(decoder.eval()))


def test_its_count_is_that_of_the_formula(folder, method):
    whisper = load_speech_to_text(folder, "kab", method, "decoder")
    by_formula = trained_count(method, EncoderShape.of(whisper.decoder.backbone))
    counted = count_parameters(whisper.encoder, whisper.decoder)
    assert counted.adapted == by_formula.total
    assert counted.adapter == by_formula.adapter
    assert counted.head == whisper.decoder.width


def test_no_token_sees_those_after_it(folder, method):
    decoder = moved(build(folder, method)).eval()
    tokens, _ = written(decoder)
    other = tokens.clone()
    other[:, 10:] = (other[:, 10:] + 1) % 200
    with torch.no_grad():
        one, two = decoder(*heard(), tokens), decoder(*heard(), other)
    torch.testing.assert_close(two[:, :10], one[:, :10], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(two[:, 10:], one[:, 10:], atol=1e-2)


def test_padding_changes_no_scores(folder, method):
    """A text alone and in a padded batch."""
    decoder = moved(build(folder, method)).eval()
    tokens, lengths = written(decoder)
    memory, frames = heard()
    with torch.no_grad():
        together = decoder(memory, frames, tokens, lengths)
        for clip, (heard_frames, length) in enumerate(
            zip(frames.tolist(), lengths.tolist(), strict=True)
        ):
            one = slice(clip, clip + 1)
            alone = decoder(memory[one, :heard_frames], frames[one], tokens[one, :length])
            torch.testing.assert_close(together[clip, :length], alone[0], rtol=1e-4, atol=1e-4)


def test_it_trains_under_autocast(folder, method):
    decoder = moved(build(folder, method)).train()
    with torch.no_grad():
        exact = scores(copy.deepcopy(decoder).eval())
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(decoder)
    loss.float().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert (parameter.grad is None) != parameter.requires_grad, name
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = scores(decoder.eval()).float()
    assert (rough - exact)[0].norm() < 0.1 * exact[0].norm() or has_batch_norm(decoder)


def test_gradient_checkpointing_changes_neither_gradients_nor_statistics(folder, method):
    plain = moved(build(folder, method)).train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    checkpointed.backbone.train()
    for decoder in (plain, checkpointed):
        objective(decoder).backward()
    for one, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-5)
    for one, other in zip(plain.buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(one, other)


def test_decoding_is_what_the_scores_say(folder, method):
    """Every time."""
    decoder = moved(build(folder, method)).eval()
    texts = decode_greedily(decoder, *heard(), limit=8)
    assert texts == decode_greedily(decoder, *heard(), limit=8)
    for clip, text in enumerate(texts):
        tokens = torch.tensor([[*decoder.start, *text]])
        one = slice(clip, clip + 1)
        with torch.no_grad():
            best = decoder(heard()[0][one], heard()[1][one], tokens)[0, 3:].argmax(-1).tolist()
        assert best[: len(text)] == text
        assert len(text) == 8 or best[len(text)] == decoder.end


def test_the_proof_of_life_passes(folder, method):
    whisper = load_speech_to_text(folder, "kab", method, "both")
    prove_alive(whisper.encoder, whisper.decoder)


def test_a_scan_backward_in_time_is_refused(folder):
    with pytest.raises(UserError, match="would show a decoder the tokens that it is to write"):
        build(folder, MENU["mambadapter_bidirectional"])
