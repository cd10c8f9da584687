"""The page in the browser: what it says, and the page itself where there is a browser."""

import re
import shutil

import numpy as np
import pytest
import soundfile as sf
import torch
from support.models import build

from mambadapter import cli, load_adapter
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference import browser, save_package
from mambadapter.inference.calibration import Calibration
from mambadapter.inference.package import TRANSCRIPTION
from mambadapter.inference.page import LONG, Packages
from mambadapter.inference.picture import timeline_figure
from mambadapter.methods import LoRA

METHOD = LoRA(rank=2)
LABELS = ["cat", "dog", "a <b>fox</b>"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, encoder_folders):
    """Two classifiers and a recogniser, one of the former on another encoder."""
    root = tmp_path_factory.mktemp("packages")
    for name, family in (("sounds", "wav2vec2"), ("others", "hubert"), ("speech", "wav2vec2")):
        torch.manual_seed(0)
        encoder, head = build(encoder_folders[family], METHOD)
        labels, more = LABELS, {"calibration": Calibration(2.0, 9, 0.4567, 0.0, 9, None, 0)}
        if name == "speech":
            head = CTCHead(encoder.width, 4)
            labels, more = ["<blank>", "<unk>", "a", "b"], {"task": TRANSCRIPTION}
        modules = {"encoder": encoder, "head": head}
        save_package(
            root / name / "adapter", modules, encoder_folders[family], METHOD, labels, **more
        )
    return [str(root / name) for name in ("sounds", "others", "speech")]


@pytest.fixture(scope="module")
def packages(folders):
    return Packages(folders, device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0).normal(0, 0.1, int((LONG + 1) * 16000))
    sf.write(folder / "short.wav", noise[:8000], 16000)
    sf.write(folder / "long.wav", noise, 16000)
    return folder


def test_packages_of_one_encoder_share_it(packages):
    assert packages.names == ("sounds", "others", "speech")
    assert packages.encoders == 2
    assert [packages.classifies(name) for name in packages.names] == [True, True, False]
    assert [packages.threshold(name) for name in packages.names] == [0.4567, 0.4567, None]
    assert packages.about("sounds") == f"Tells apart {', '.join(LABELS)}."


def test_packages_of_one_name_are_told_apart(folders):
    named = Packages([folders[0], f"{folders[0]}/adapter"], device="cpu")
    assert named.names == (folders[0], f"{folders[0]}/adapter")
    assert named.encoders == 1


def test_what_it_says_is_what_the_adapters_say(packages, folders, clips):
    short, long = clips / "short.wav", clips / "long.wav"
    model = load_adapter(folders[0], device="cpu")
    heard, wanted = packages.hear("sounds", short), model.predict(short)
    assert heard.answer == wanted.label
    assert heard.scores == pytest.approx(wanted.scores, rel=1e-5)
    assert packages.hear("sounds", short, threshold=1.0).answer == "(none of these)"
    timed = packages.hear("sounds", long, window=2.0)
    assert timed.scores == {}
    assert [(s.start, s.text) for s in timed.timeline.segments] == [
        (s.start, s.text) for s in model.timeline(long, 2.0).segments
    ]
    assert timed.answer.endswith(" s")
    assert packages.hear("sounds", long, threshold=1.0).answer == "(none of these)"
    assert timeline_figure(timed.timeline).axes
    written = packages.hear("speech", short)
    text = load_adapter(folders[2], device="cpu").transcribe(short).text
    assert written.answer.splitlines()[0] == (text or "(no words)")


def test_bad_recordings_are_one_line(packages, clips):
    (clips / "bad.wav").write_bytes(b"no audio")
    for name in ("sounds", "speech"):
        with pytest.raises(UserError, match=r"bad\.wav"):
            packages.hear(name, clips / "bad.wav")


def test_without_gradio_it_says_what_to_install(folders, capsys, monkeypatch):
    monkeypatch.setattr(browser, "find_spec", lambda name: None)
    assert cli.main(["try", folders[0]]) == 2
    assert "pip install 'mambadapter[page]'" in capsys.readouterr().err
    assert cli.main(["try", folders[0], "--port", "70000"]) == 2
    assert "--port: give 1 to 65535" in capsys.readouterr().err


@pytest.fixture
def tab():
    """A page of a browser without a window, which lists what it asks for."""
    pytest.importorskip("gradio", reason="needs gradio")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as engine:
        window = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = window.new_page()
        tab.asked = []
        tab.on("request", lambda request: tab.asked.append(request.url))
        yield tab
        window.close()


def test_a_file_is_answered_in_the_browser(packages, clips, tab):
    """By each adapter, with bars, a picture or a text; and nothing is asked of another machine."""
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)

    with browser.serving(packages) as page:
        assert page.local_url.startswith("http://127.0.0.1:")
        assert page.share_url is None
        assert not page.analytics_enabled
        with (
            pytest.raises(UserError, match=r"is taken; give another, --port"),
            browser.serving(packages, page.server_port),
        ):
            pass
        tab.goto(page.local_url)
        tab.set_input_files("input[type=file]", clips / "short.wav")
        answer = tab.get_by_label("Answer")
        expect(answer).to_have_value(packages.hear("sounds", clips / "short.wav").answer)
        for label in LABELS:
            expect(tab.get_by_text(label, exact=True)).to_be_visible()
        tab.get_by_label("Say when it is none of these").check()
        threshold = tab.get_by_label("number input for None of these below this probability")
        expect(threshold).to_have_value("0.457")
        threshold.fill("1")
        threshold.press("Tab")
        expect(answer).to_have_value("(none of these)")
        tab.get_by_label("Say when it is none of these").uncheck()

        tab.get_by_label("Adapter").click()
        tab.get_by_role("option", name="speech").click()
        expect(answer).to_have_value(packages.hear("speech", clips / "short.wav").answer)
        expect(tab.get_by_label("Say when it is none of these")).not_to_be_visible()
        tab.get_by_label("Adapter").click()
        tab.get_by_role("option", name="others").click()

        tab.get_by_label("Clear").first.click()
        expect(answer).to_have_value("")
        tab.set_input_files("input[type=file]", clips / "long.wav")
        expect(answer).to_have_value(packages.hear("others", clips / "long.wav").answer)
        expect(tab.locator("img[src^='data:image']")).to_be_visible()
        tab.get_by_label("Clear").first.click()
        (clips / "none.wav").write_bytes(b"no audio")
        tab.set_input_files("input[type=file]", clips / "none.wav")
        expect(answer).to_have_value(re.compile(r"error: .*none\.wav"))
        assert tab.get_by_label("Share").count() == 0
        assert all(url.startswith((page.local_url, "data:", "blob:")) for url in tab.asked)
