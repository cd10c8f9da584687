"""Any format reads as mono at one rate; unusable files are found before training."""

import logging

import numpy as np
import pytest
import soundfile as sf
import torch

from mambadapter.data.audio import audio_pipeline, inspect_clips, read_clip
from mambadapter.errors import UserError

TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)


def write(path, samples=TONE, rate=16000, **kwargs):
    sf.write(path, samples, rate, **kwargs)
    return path


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-6),
        ("a.wav", "DOUBLE", 1e-6),
        ("a.flac", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 5e-2),
    ],
)
def test_formats(tmp_path, name, subtype, tolerance):
    clip = read_clip(write(tmp_path / name, subtype=subtype), 16000)
    assert clip.dtype == torch.float32
    np.testing.assert_allclose(clip.numpy(), TONE, atol=tolerance)


def test_stereo_is_averaged(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([TONE, 0 * TONE], 1), subtype="FLOAT")
    np.testing.assert_allclose(read_clip(path, 16000).numpy(), TONE / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_are_resampled(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    clip = read_clip(write(tmp_path / "a.wav", tone, rate, subtype="FLOAT"), 16000).numpy()
    assert len(clip) == 16000
    np.testing.assert_allclose(clip[500:-500], TONE[500:-500], atol=5e-3)


def bad_files(folder):
    files = {
        "missing": folder / "missing.wav",
        "empty: a header": write(folder / "header.wav", np.zeros(0)),
        "too short: 10.0 ms": write(folder / "short.wav", np.zeros(160)),
    }
    files["empty"] = folder / "zero.wav"
    files["empty"].write_bytes(b"")
    files["corrupt: not audio"] = folder / "text.wav"
    files["corrupt: not audio"].write_bytes(b"this is not audio" * 100)
    whole = write(folder / "whole.wav").read_bytes()
    files["corrupt: shorter"] = folder / "cut.wav"
    files["corrupt: shorter"].write_bytes(whole[: len(whole) // 2])
    return files


def test_unusable_files_are_listed_together(tmp_path):
    good = write(tmp_path / "good.wav")
    files = bad_files(tmp_path)
    with pytest.raises(UserError) as error:
        inspect_clips([good, *files.values()], 16000)
    message = str(error.value)
    assert "6 of 7 audio files are unusable" in message
    assert "skip_unusable_audio: true" in message
    assert message.count(".wav: ") == 5  # and no more, however many there are
    for what, path in files.items():
        with pytest.raises(UserError, match=f"{path.name}: {what}"):
            inspect_clips([path], 16000)


def test_unusable_files_can_be_left_out(tmp_path, caplog):
    good = write(tmp_path / "good.wav")
    clips = inspect_clips([*bad_files(tmp_path).values(), good], 16000, skip_unusable=True)
    assert [clip.path for clip in clips] == [good]
    assert clips[0].seconds == pytest.approx(1.0)
    assert "Left out 6 of 7 unusable audio files" in caplog.text


def test_channels_and_rates_are_mentioned_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    paths = [write(tmp_path / f"{i}.wav", np.stack([TONE, TONE], 1), 8000) for i in range(3)]
    inspect_clips(paths, 16000)
    assert [r.message for r in caplog.records] == [
        "3 files have several channels: they are averaged.",
        "3 files are not at 16000 Hz: they are resampled.",
    ]


def test_a_file_that_breaks_later_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no audio file .*gone.wav"):
        read_clip(tmp_path / "gone.wav", 16000)
    (tmp_path / "text.wav").write_bytes(b"no audio")
    with pytest.raises(UserError, match=r"text\.wav cannot be decoded"):
        read_clip(tmp_path / "text.wav", 16000)
    with pytest.raises(UserError, match=r"header\.wav holds no samples"):
        read_clip(write(tmp_path / "header.wav", np.zeros(0)), 16000)
    spoilt = np.where(np.arange(16000) == 5, np.nan, TONE)
    with pytest.raises(UserError, match=r"nan\.wav holds samples that are not finite"):
        read_clip(write(tmp_path / "nan.wav", spoilt, subtype="FLOAT"), 16000)


def test_pipeline_reads_the_manifests_path(tmp_path):
    item = audio_pipeline(8000)
    assert item(str(write(tmp_path / "a.wav"))).shape == (8000,)
