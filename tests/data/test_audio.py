"""Any format reads as mono at one rate; unusable files are found before training."""

import logging
import os
import re
import resource

import numpy as np
import pytest
import soundfile as sf
import torch

from mambadapter.data.audio import audio_pipeline, inspect_clips, read_clip, resampled
from mambadapter.errors import UserError
from mambadapter.utils.files import shown

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


@pytest.mark.parametrize("rate", [2000, 8000, 15999, 16001, 22050, 44100, 48000, 767_999])
def test_other_rates_are_resampled(tmp_path, rate):
    """Exactly, and in the memory of the clip: by coprime rates some filters take gigabytes."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    path = write(tmp_path / "a.wav", tone, rate, subtype="FLOAT")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = read_clip(path, 16000).numpy()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    assert len(clip) == 16000
    np.testing.assert_allclose(clip[500:-500], TONE[500:-500], atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 16001, 22050, 32000, 44100, 48000, 96000])
def test_the_length_after_resampling_is_known(tmp_path, rate):
    for frames in range(rate // 40 + 1, rate // 40 + 40):
        path = write(tmp_path / "a.wav", np.zeros(frames), rate)
        (clip,), _ = inspect_clips([path], 16000)
        assert len(read_clip(path, 16000)) == resampled(clip.seconds, 16000) >= 400


@pytest.mark.parametrize("rate", [1, 999, 768_001, 4_000_000])
def test_absurd_rates_are_refused(tmp_path, rate):
    content = bytearray(write(tmp_path / "a.wav").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(
        UserError, match=rf"a\.wav: a sample rate of {rate:,} Hz, which no audio has"
    ):
        read_clip(tmp_path / "a.wav", 16000)


def test_one_channel_can_be_taken(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([TONE, 0.5 * TONE], 1), subtype="FLOAT")
    for channel, factor in ((1, 1), (2, 0.5)):
        read = read_clip(path, 16000, channel=channel).numpy()
        np.testing.assert_allclose(read, factor * TONE, atol=1e-6)
    with pytest.raises(UserError, match=r"a\.wav has no channel 3: it has 2"):
        read_clip(path, 16000, channel=3)


def test_channels_in_antiphase_are_warned_of(tmp_path, caplog):
    """Averaged they are silence."""
    paths = [
        write(tmp_path / "a.wav", np.stack([TONE, -TONE], 1)),
        write(tmp_path / "b.wav", np.stack([TONE, TONE], 1)),
        write(tmp_path / "c.wav", np.stack([0 * TONE, 0 * TONE], 1)),
    ]
    inspect_clips(paths, 16000)
    assert "The channels of 1 files cancel each other" in caplog.text
    assert "a.wav" in caplog.text
    assert "audio_channel: 1" in caplog.text


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
    files["cut short: 0.50 s are left of the 1.00 s"] = folder / "cut.wav"
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    spoilt = np.where(np.arange(16000) == 15000, np.nan, TONE)
    files["corrupt: samples that are not finite"] = write(
        folder / "nan.wav", spoilt, subtype="FLOAT"
    )
    flac = write(folder / "cut.flac")
    flac.write_bytes(flac.read_bytes()[:-3000])
    files["corrupt: decoding stops, after"] = flac
    files["a name that is not UTF-8"] = folder / os.fsdecode(b"\xff\xfe.wav")
    return files


def test_unusable_files_are_listed_together(tmp_path):
    good = write(tmp_path / "good.wav")
    files = bad_files(tmp_path)
    with pytest.raises(UserError) as error:
        inspect_clips([good, *files.values()], 16000)
    message = str(error.value)
    assert "9 of 10 audio files are unusable" in message
    assert "skip_unusable_audio: true" in message
    assert message.count(".wav: ") == 5  # and no more, however many there are
    for what, path in files.items():
        with pytest.raises(UserError, match=re.escape(f"{shown(path.name)}: {what}")):
            inspect_clips([path], 16000)


def test_unusable_files_can_be_left_out(tmp_path, caplog):
    good = write(tmp_path / "good.wav")
    bad = bad_files(tmp_path)
    clips, left_out = inspect_clips([*bad.values(), good], 16000, skip_unusable=True)
    assert [clip.path for clip in clips] == [good]
    assert list(left_out) == list(bad.values())
    assert clips[0].seconds == pytest.approx(1.0)
    assert "Left out 9 of 10 unusable audio files" in caplog.text


def test_channels_and_rates_are_mentioned_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    paths = [write(tmp_path / f"{i}.wav", np.stack([TONE, TONE], 1), 8000) for i in range(3)]
    inspect_clips(paths, 16000)
    assert [r.message for r in caplog.records] == [
        "3 files have several channels: they are averaged, unless audio_channel says which to take.",
        "3 files are not at 16000 Hz: they are resampled.",
    ]


def test_a_file_that_breaks_later_is_named(tmp_path):
    files = bad_files(tmp_path)
    with pytest.raises(UserError, match=r"missing\.wav: there is no such file"):
        read_clip(files.pop("missing"), 16000)
    files.pop("a name that is not UTF-8")
    for what, path in files.items():
        with pytest.raises(UserError, match=re.escape(f"{shown(path.name)}: {what}")):
            read_clip(path, 16000)


def sizes(content, riff, data):
    """A wav with other sizes in its header."""
    at = content.index(b"data") + 4
    content = bytearray(content)
    content[4:8], content[at : at + 4] = (n.to_bytes(4, "little") for n in (riff, data))
    return bytes(content)


UNKNOWN = {
    "gstreamer": (0, 0),
    "ffmpeg": (0xFFFFFFFF, 0xFFFFFFFF),
    "sox": (0x7FFFF024, 0x7FFFF000),
    "arecord": (0x80000024, 0x80000000),
    "half": (0x7FFFFFFF, 0x7FFFFFFF - 36),
    "outer": (0, 32000),
}


@pytest.mark.parametrize("header", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("channels", [1, 2])
def test_wavs_of_pipes_are_read_whole(tmp_path, header, channels):
    """A pipe cannot be gone back in, so the sizes in such headers are none."""
    path = write(tmp_path / "a.wav", np.stack([TONE] * channels, 1))
    whole = read_clip(path, 16000)
    if header[1] == 32000 and channels == 2:
        header = (0, 64000)
    path.write_bytes(sizes(path.read_bytes(), *header))
    (clip,), _ = inspect_clips([path], 16000)
    assert clip.seconds == 1.0
    assert torch.equal(read_clip(path, 16000), whole)


def test_a_large_size_that_is_no_filler_is_a_promise(tmp_path):
    """Of 3 GB of which little is left."""
    path = write(tmp_path / "a.wav")
    path.write_bytes(sizes(path.read_bytes(), 3_000_000_036, 3_000_000_000))
    with pytest.raises(UserError, match="cut short: 1.00 s are left of the 93750.00 s"):
        read_clip(path, 16000)


def test_a_wav_without_samples_is_empty(tmp_path):
    """Of size 0, whether or not another chunk follows."""
    path = write(tmp_path / "a.wav", np.zeros(0))
    for more in (b"", b"LIST" + (4).to_bytes(4, "little") + b"INFO"):
        (tmp_path / "b.wav").write_bytes(path.read_bytes() + more)
        with pytest.raises(UserError, match=r"b\.wav: empty"):
            read_clip(tmp_path / "b.wav", 16000)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.flac", "a.mp3", "a.rf64"])
def test_cut_files_are_read_if_asked(tmp_path, name):
    """Without a word libsndfile reads what is left of them."""
    form = name[2:].upper() if name[2:] != "wav" else "WAV"
    path = write(tmp_path / name, np.tile(TONE, 4), format=form)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"{name}: (cut short|corrupt: decoding stops)"):
        read_clip(path, 16000)
    with pytest.raises(UserError, match="1 of 1 audio files are unusable"):
        inspect_clips([path], 16000)
    assert 16000 < len(read_clip(path, 16000, cut=True)) < 48000


def test_a_lying_header_takes_no_memory(tmp_path):
    """A flac that says it has 2**36 - 1 samples."""
    path = write(tmp_path / "a.flac")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"a\.flac: (cut short|corrupt)"):
        read_clip(path, 16000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_pipeline_reads_the_manifests_path(tmp_path):
    item = audio_pipeline(8000)
    assert item(str(write(tmp_path / "a.wav"))).shape == (8000,)
