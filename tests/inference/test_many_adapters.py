"""Many adapters over one frozen encoder: as if each were alone, and no heavier than they are."""

import gc

import numpy as np
import pytest
import soundfile as sf
import torch
from support.contract import moved
from support.models import build

from mambadapter import UserError, cli, load_adapter
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.encoders.speech_to_text import load_speech_to_text
from mambadapter.encoders.trained import trained_tensors
from mambadapter.inference import save_package, save_whisper_package
from mambadapter.methods import MENU, LinearProbe, LoRA, MambAdapters
from mambadapter.text import TextRules

LABELS = list("abc")

# Those that have least in common.
ALIKE = ["mambadapter_longconv", "gated_convolution", "mambadapter_bidirectional"]
UNLIKE = ["mambadapter", "lora", "prefix_tuning", "weighted_sum", "linear_probe"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0)
    for name, length in (("a", 9000), ("b", 5000)):
        sf.write(folder / f"{name}.wav", noise.normal(0, 0.1, length), 16000)
    return sorted(folder.iterdir())


def packaged(folder, source, method):
    encoder, head = build(source, method)
    moved(encoder)
    return save_package(folder, {"encoder": encoder, "head": head}, source, method, LABELS)


def parameters(model):
    """Bytes of every tensor of a model and of the checkpoint under it, each once."""
    modules = [m for reader in model._readers.values() for m in reader.modules]
    modules.append(model._checkpoint._model)
    tensors = [p for module in modules for p in (*module.parameters(), *module.buffers())]
    return sum({p.data_ptr(): p.nbytes for p in tensors}.values())


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("family", "methods"),
    [
        ("wav2vec2", [name for name in MENU if name not in ALIKE]),
        *((family, UNLIKE) for family in ("wavlm-stable", "ast", "whisper")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_method_answers_as_if_alone(family, methods, encoder_folders, tmp_path, clips):
    """To the bit, with what lies below the first branch computed once for all."""
    packages = {
        name: packaged(tmp_path / name, encoder_folders[family], MENU[name]) for name in methods
    }
    alone = {name: load_adapter(one).predict(clips) for name, one in packages.items()}
    together = None
    for name, package in packages.items():
        if together is None:
            together = load_adapter(package)
            first = name
        else:
            together.add_adapter(name, package)
    names = ["default", *list(packages)[1:]]
    fronts = together._checkpoint._features
    answers = together.predict(clips, adapter=names)
    # Below the layers, below the final LayerNorm, of all layers; a method that trains all has its own.
    assert fronts.computed <= 3
    for answer, *ones in zip(answers, *alone.values(), strict=True):
        for name, one in zip(names, ones, strict=True):
            assert answer[name] == one, name
    assert together.predict(clips) == alone[first]
    assert fronts._kept == {}


def test_many_add_no_more_than_their_size(encoder_folders, tmp_path):
    package = packaged(tmp_path, encoder_folders["wav2vec2"], LoRA(rank=2))
    model = load_adapter(package)
    size = parameters(model)
    own = sum(
        tensor.nbytes
        for tensor in trained_tensors(
            dict(enumerate_modules(model._readers["default"].modules))
        ).values()
    )
    for number in range(12):
        model.add_adapter(str(number), package)
    assert parameters(model) <= size + 12 * own * 1.01
    assert len(model.adapters) == 13
    one, other = (
        {id(m) for m in model._readers[name].encoder.backbone.modules()} for name in ("1", "2")
    )
    assert len(one & other) > len(one) / 2  # what nothing was done to is there once


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("wav2vec2", MambAdapters(norms="none")),
        ("wav2vec2", LinearProbe(norms="none")),
        ("whisper", MambAdapters(norms="none", last_layers=1)),
    ],
    ids=str,
)
def test_none_keeps_copies_of_the_others(encoder_folders, family, method):
    """Hooks on a module that all share would be copied with it, and the encoders that they are of."""

    def alive():
        gc.collect()
        return sum(isinstance(one, AdaptedEncoder) for one in gc.get_objects())

    before, checkpoint, encoders = alive(), SharedCheckpoint(encoder_folders[family]), []
    for number in range(1, 5):
        encoders.append(checkpoint.encoder(method, {}))
        checkpoint.share_features(encoders[-1])
        assert alive() - before == number


def test_a_timeline_is_computed_once_for_all(encoder_folders, tmp_path, clips):
    """Below the first branch; and it is each adapter's own."""
    model = load_adapter(packaged(tmp_path / "0", encoder_folders["wav2vec2"], LoRA(rank=2)))
    model.add_adapter("b", packaged(tmp_path / "1", encoder_folders["wav2vec2"], LoRA(rank=4)))
    names = ["default", "b"]
    alone = {name: model.timeline(clips[0], 0.2, adapter=name) for name in names}
    shared = model._checkpoint._features
    before = shared.computed
    model.timeline(clips[0], 0.2)
    passes, before = shared.computed - before, shared.computed
    (together,) = model.answers("predict", [clips[0]], names, window=0.2)
    assert shared.computed - before == passes
    assert together == alone


def enumerate_modules(modules):
    return {str(number): module for number, module in enumerate(modules)}


def test_another_encoders_adapter_is_refused(encoder_folders, tmp_path, clips, capsys):
    one = packaged(tmp_path / "one", encoder_folders["wav2vec2"], LoRA(rank=2))
    other = packaged(tmp_path / "other", encoder_folders["hubert"], LoRA(rank=2))
    model = load_adapter(one)
    with pytest.raises(
        UserError, match=f"{other}: .* is not the encoder this adapter was trained on"
    ):
        model.add_adapter("other", other)
    assert model.adapters == ("default",)
    with pytest.raises(UserError, match="There is an adapter 'default' already"):
        model.add_adapter("default", one)
    with pytest.raises(UserError, match="no adapter 'defualt'; did you mean 'default'"):
        model.predict(clips, adapter="defualt")
    assert cli.main(["predict", "--adapter", f"a={one}", f"b={other}", str(clips[0])]) == 2
    assert f"error: {other}: " in capsys.readouterr().err
    assert cli.main(["predict", "--adapter", f"a={one}", f"b={one}", str(clips[0])]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.replace(": a: ", ": b: ") == second


def test_adapters_of_one_whisper(encoder_folders, tmp_path, clips):
    """A classifier and one that writes, of which the second brings the decoder."""
    source, method = encoder_folders["whisper"], LoRA(rank=2)
    torch.manual_seed(0)
    whisper = load_speech_to_text(source, "kab", method, "both")
    moved(whisper.encoder), moved(whisper.decoder)
    writes = save_whisper_package(
        tmp_path / "writes", whisper, source, method,
        language="kab", rules=TextRules("abc"), adapt="both", longest_text=5,
    )  # fmt: skip
    says = packaged(tmp_path / "says", source, method)
    model = load_adapter(writes)
    alone = model.transcribe(clips)
    model.add_adapter("says", says)
    assert model.predict(clips, adapter="says") == load_adapter(says).predict(clips)
    assert model.transcribe(clips) == alone
    with pytest.raises(
        UserError, match="was trained for classification; use `mambadapter predict`"
    ):
        model.transcribe(clips, adapter="says")
    with pytest.raises(UserError, match="needs a Whisper with its decoder, which is not loaded"):
        load_adapter(says).add_adapter("writes", writes)
