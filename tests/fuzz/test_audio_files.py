"""Whatever is in an audio file, it is read or refused, in the memory of what it holds."""

import io
import tracemalloc

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from support.fuzz import cases, damaged

from mambadapter.data.audio import read_clip
from mambadapter.data.decoding import (
    FASTEST,
    SHORTEST_SECONDS,
    SLOWEST,
    UnusableAudio,
    decode,
    look,
)
from mambadapter.errors import UserError

FORMATS = [
    ("WAV", "PCM_16", 1), ("WAV", "FLOAT", 2), ("WAV", "IMA_ADPCM", 1), ("WAVEX", "PCM_24", 1), ("RF64", "PCM_16", 1),
    ("AIFF", "PCM_16", 1), ("AU", "PCM_16", 2), ("FLAC", "PCM_16", 1), ("OGG", "VORBIS", 1), ("MP3", "MPEG_LAYER_III", 1),
    ("CAF", "PCM_16", 1), ("W64", "PCM_16", 1), ("NIST", "PCM_16", 1),
]  # fmt: skip


def small(form, subtype, channels):
    samples = 0.1 * np.random.default_rng(0).standard_normal((1200, channels))
    stream = io.BytesIO()
    sf.write(stream, samples, 16000, format=form, subtype=subtype)
    return stream.getvalue()


CONTENTS = [small(*each) for each in FORMATS]
SLACK = 2_000_000  # bytes, of block buffers and of Python


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("audio") / "a"


@cases(700)
@given(damaged(CONTENTS))
def test_damaged_files_are_read_or_refused(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    try:
        decoded = decode(path)
    except UnusableAudio as error:
        assert str(error).isprintable()
        honest = len(content)
        with pytest.raises(UserError, match="get it again"):
            read_clip(path, 16000)
    else:
        honest = decoded.samples.nbytes
        assert decoded.samples.shape[0] >= SHORTEST_SECONDS * decoded.sample_rate
        assert np.isfinite(decoded.samples).all()
        assert look(path).seconds == len(decoded.samples) / decoded.sample_rate
        assert SLOWEST <= decoded.sample_rate <= FASTEST
        read = read_clip(path, 16000)
        assert read.isfinite().all()
        honest += 4 * len(read)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 * honest + SLACK


@cases(200)
@given(damaged(CONTENTS))
def test_damaged_files_are_read_as_far_as_they_go(path, content):
    path.write_bytes(content)
    try:
        samples = decode(path, cut=True).samples
    except UnusableAudio:
        return
    assert len(samples) > 0
