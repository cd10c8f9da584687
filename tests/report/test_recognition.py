"""The page of the worst recognised clips, on hypotheses that are made up."""

import re
from html.parser import HTMLParser

import jiwer
import pytest

from mambadapter.metrics.error_rates import ErrorRates
from mambadapter.report.recognition import write_worst_clips

SAID = {
    "one/right": ("a b c", "a b c"),
    "one/half": ("a b c d", "a x c"),
    "two/more": ("a", "a b c"),
    "two/<b>&\"'": ("<i>x</i> & y", "<script>alert(1)</script> & y"),
    "two/none": ("a b", ""),
}


class Page(HTMLParser):
    """Text, tags and links."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.links, self.named = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if "href" in attributes:
            self.links.append(attributes["href"])
        if "title" in attributes:
            self.named.append((attributes["title"], attributes["class"]))

    def handle_data(self, data):
        self.texts.append(data)


def written(folder, said, **more):
    rates = ErrorRates()
    rates.append(
        [*said], [heard for _, heard in said.values()], [spoken for spoken, _ in said.values()]
    )
    clips = {name: {"wav": f"{folder}/{name}.wav", **more} for name in said}
    return write_worst_clips(folder, rates, clips).read_text(encoding="utf-8")


def test_the_worst_come_first_with_their_edits(tmp_path, caplog):
    caplog.set_level("INFO")
    text = written(tmp_path, SAID)
    assert f"The 4 worst recognised clips: {tmp_path / 'worst_clips.html'}" in caplog.text
    page = Page(text)
    named = [page.texts[n] for n, one in enumerate(page.texts) if one in SAID]
    assert named == ["two/more", "two/none", "one/half", "two/<b>&\"'"]
    assert "one/right" not in page.texts
    found = jiwer.process_words([s for s, _ in SAID.values()], [h for _, h in SAID.values()])
    counts = {
        "insertion": found.insertions,
        "deletion": found.deletions,
        "substitution": found.substitutions,
    }
    assert {what: sum(one == (what, what) for one in page.named) for what in counts} == counts
    assert f"{100 * found.wer:.2f} %" in page.texts
    # Not by colour alone.
    marks = re.findall(r'title="(\w+)">.*?class="mark">(.)<', text)
    assert {*marks} == {("insertion", "+"), ("deletion", "\u2212"), ("substitution", "\u2260")}
    assert "http" not in text


def test_texts_and_names_are_escaped(tmp_path):
    page = Page(written(tmp_path, SAID))
    assert not {"script", "i"} & {*page.tags}
    assert "<script>alert(1)</script>" in page.texts
    assert [link for link in page.links if "%3Cb%3E" in link] == [
        f"{tmp_path.as_uri()}/two/%3Cb%3E%26%22%27.wav"
    ]


def test_twenty_at_most_and_none_where_nothing_is_wrong(tmp_path):
    many = {f"clip {n:02}": ("a b", "a x" if n else "x x") for n in range(30)}
    page = Page(written(tmp_path, many, start=1.5, end=2.0))
    shown = [one for one in page.texts if one in many]
    assert len(shown) == 20
    assert shown[0] == "clip 00"
    assert ", 1.5 to 2 s" in page.texts
    assert "0 of 1 clips" in written(tmp_path, {"one": ("a", "a")})


@pytest.mark.parametrize(
    "said", [("", "a b"), ("\u0633\u06b5\u0627\u0648", "\u0633"), ("a", "\udc80")]
)
def test_any_text_makes_a_page(said, tmp_path):
    """Nothing said, right to left, and what is no Unicode."""
    assert 'dir="auto"' in written(tmp_path, {"one": said})
