"""A model of words as KenLM reads it, in which "ba" is followed by "ab" rather than by "aa"."""

import pytest

ARPA = """\
\\data\\
ngram 1=7
ngram 2=2

\\1-grams:
-2.0\t<unk>\t0
-99\t<s>\t-0.5
-1.0\t</s>\t0
-1.0\tba\t-0.5
-1.0\tab\t-0.5
-1.0\taa\t-0.5
-1.0\tbb\t-0.5

\\2-grams:
-0.1\tba ab
-3.0\tba aa

\\end\\
"""


def write_word_model(folder, *names):
    """Under each name; KenLM looks at what a file holds. Skips where nothing reads it."""
    for package in ("kenlm", "pygtrie"):
        pytest.importorskip(package, reason="needs KenLM: pip install -e '.[language-model]'")
    for name in names:
        (folder / name).write_text(ARPA)
    return folder
