"""Each language's rules on sentences as people type them."""

import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hyperpyyaml import load_hyperpyyaml

from mambadapter.errors import UserError
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import Vocabulary

RECIPES = Path(__file__).parents[2] / "recipes/CommonVoice"
LANGUAGES = ("ab", "ckb", "eo", "kab", "rw")


def rules_of(language):
    file = RECIPES / language / "hparams/language.yaml"
    return load_hyperpyyaml(file.read_text(encoding="utf-8"))["rules"]


RULES = {language: rules_of(language) for language in LANGUAGES}

EXAMPLES = [
    # Cyrillic with the spelling before the reform, a dash, a hyphen in a word, Latin look-alikes.
    ("ab", "Аҧсны — Аҳәынҭқарра!", "аԥсны аҳәынҭқарра"),
    ("ab", "Аԥсны «Ақәа», абзиа-раша.", "аԥсны ақәа абзиа-раша"),
    ("ab", "Aкы жәба.", "акы жәба"),
    ("ab", "шьақәырҕәҕәо", "шьақәырӷәӷәо"),
    # Arabic kaf and yeh, the vowel typed as heh and a non-joiner, a stretched letter, Arabic punctuation.
    ("ckb", "كوردستان، چي؟", "کوردستان چی"),
    ("ckb", "سه\u200cفر؛ ده\u200cرگا", "سەفر دەرگا"),
    ("ckb", "كـــورد\u200f", "کورد"),
    ("ckb", "ﻛﻮرد", "کورد"),
    ("ckb", "می\u200cخوا", "میخوا"),
    # Elision, which may end a word, and letters typed with combining marks.
    ("eo", "L’ amiko dank’ al ŝi.", "l' amiko dank' al ŝi"),
    ("eo", "Ĉu vi ŝatas ĝin?", "ĉu vi ŝatas ĝin"),
    ("eo", "c\u0302iu s\u0302ip-o", "ĉiu ŝip-o"),
    ("eo", "'Bone', diris li.", "bone' diris li"),
    # Greek letters for Kabyle ones, hyphens of three kinds, a breve for a caron.
    ("kab", "Γer wexxam-nneγ", "ɣer wexxam-nneɣ"),
    ("kab", "Σli d‑Εli", "ɛli d-ɛli"),
    ("kab", "Ağğal, «taqbaylit»", "aǧǧal taqbaylit"),
    ("kab", "t\u0323ṭ", "ṭṭ"),
    ("kab", "- Anwa? - Nekk!", "anwa nekk"),
    # Elision, four ways to type it, and accents that are no letters.
    ("rw", "n’abandi n'abandi nʼabandi n`abandi", "n'abandi n'abandi n'abandi n'abandi"),
    ("rw", "“Muraho!” café", "muraho cafe"),
]


@pytest.mark.parametrize(("language", "sentence", "expected"), EXAMPLES)
def test_sentences_are_written_by_the_rules(language, sentence, expected):
    normalised = RULES[language].normalise(sentence)
    assert normalised.text == expected
    assert normalised.outside == ""


APOSTROPHES = [
    *"' ’ ‘ ‛ ` ´ ＇ ｀ ʹ ʻ ʼ ʽ ʾ ʿ ˈ ˊ ˋ ʹ ΄ ᾽ ᾿ ῾ ` ´ ′ ‵ ❛ ❜ Ꞌ ꞌ ՙ ՚ ׳ ߴ ߵ".split(),
    "\u1fef",
    "\u1ffd",
    "\u0374",
]


@pytest.mark.parametrize("typed", APOSTROPHES, ids=lambda c: f"U+{ord(c):04X}")
@pytest.mark.parametrize("language", LANGUAGES)
def test_any_apostrophe_is_the_apostrophe(language, typed):
    """Between letters it is the mark of a word where the language has it, and else a space, as ' is."""
    letters = RULES[language].alphabet
    for pattern in ("{0}{2}{1}", "{0}{2}{1} {1}{2}{0}", "{0}{2} {1}", "{2}{0}{1}{2}"):
        plain, other = (pattern.format(letters[0], letters[3], mark) for mark in ("'", typed))
        assert RULES[language].normalise(other) == RULES[language].normalise(plain)
    marked = f"{letters[0]}'{letters[3]}" if "'" in RULES[language].word_marks else None
    if marked:
        assert RULES[language].normalise(f"{letters[0]}{typed}{letters[3]}").text == marked


def test_no_character_becomes_a_mark_on_a_space():
    """Of all of Unicode: what NFKC splits into a space and an accent is a space, or the accent alone."""
    rules = RULES["rw"]
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.normalize("NFKC", character)[:1] == " ":
            text = rules.normalise(f"a{character}b").text
            assert not any(unicodedata.combining(c) and b == " " for b, c in pairwise(text)), hex(
                code
            )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_example_in_the_readme_is_true(language):
    readme = (RECIPES / language / "README.md").read_text(encoding="utf-8")
    typed, written = re.search(r"`(.+)` is written `(.+)`\.", readme).groups()
    assert RULES[language].normalise(typed).text == written


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_normalised_stays_as_it_is(language):
    for of, sentence, expected in EXAMPLES:
        if of == language:
            assert RULES[language].normalise(expected).text == expected
            for form in ("NFD", "NFC"):
                changed = unicodedata.normalize(form, sentence)
                assert RULES[language].normalise(changed).text == expected


@pytest.mark.parametrize(
    ("language", "sentence", "outside"),
    [
        ("kab", "yiwen 1 sin 2 1", "12"),
        ("ckb", "٢٠ کورد abc", "٢٠abc"),
        ("eo", "Wikipedia kaj Xavier", "wx"),
        ("rw", "ñandu", "ñ"),
        ("ab", "акы one", "n"),  # o and e look like Cyrillic letters
    ],
)
def test_characters_outside_of_the_alphabet_are_told(language, sentence, outside):
    assert RULES[language].normalise(sentence).outside == outside


def test_an_alphabet_is_what_it_should_be():
    for language, rules in RULES.items():
        assert len(set(rules.alphabet)) == len(rules.alphabet), language
        scripts = {unicodedata.name(letter).split()[0] for letter in rules.alphabet}
        assert len(scripts) == 1, (language, scripts)  # no look-alike of another script got in


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphabet": "aba"}, r"'a' \(U\+0061 LATIN SMALL LETTER A\) is there twice"),
        ({"alphabet": "aB"}, r"'B' .* is no lower-case letter"),
        ({"alphabet": "ab", "word_marks": "."}, r"word_marks: '\.' .*; give ' and -"),
        ({"alphabet": "ab", "look_alikes": {"x": "c"}}, r"'x' becomes 'c' .*not in the alphabet"),
    ],
)
def test_impossible_rules_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TextRules(**settings)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_vocabulary_gives_every_text_back(language):
    texts = [expected for of, _, expected in EXAMPLES if of == language]
    vocabulary = Vocabulary.of(texts)
    assert vocabulary.tokens[:2] == ("<blank>", "<unk>")
    assert vocabulary.tokens[2:] == tuple(sorted(set("".join(texts))))
    for text in texts:
        tokens = vocabulary.encode(text)
        assert min(tokens) >= 2
        path = [index for token in tokens for index in (token, token, 0)]  # held, then blank
        assert vocabulary.decode(path) == text
    assert vocabulary.encode("\u2603") == [1]


@pytest.mark.parametrize(
    ("rules", "sentence", "text", "outside"),
    [
        ({"keep_case": True}, "Yes, Ann’s NOW.", "Yes Ann's NOW", ""),
        ({"punctuation": ".,?"}, "Yes, Ann’s (really)? No…", "yes, ann's really? no...", ""),
        ({"keep_case": True, "punctuation": "¿?"}, "¿Qué?  «Sí» !", "¿Qué? Sí", ""),
        ({"punctuation": "."}, "... .", "", ""),
        ({"keep_case": True, "alphabet": "abAé"}, "Aba, BÉ", "Aba BÉ", "BÉ"),
    ],
)
def test_case_and_punctuation_are_kept_where_it_is_asked(rules, sentence, text, outside):
    found = TextRules(**{"alphabet": None, "word_marks": "'", **rules}).normalise(sentence)
    assert (found.text, found.outside) == (text, outside)
    again = TextRules(**{"alphabet": None, "word_marks": "'", **rules}).normalise(found.text)
    assert again == found


@pytest.mark.parametrize("wrong", ["a", " ", "'", "…", "’"])
def test_only_punctuation_can_be_kept(wrong):
    with pytest.raises(UserError, match="punctuation: .* leave it out"):
        TextRules(None, word_marks="'", punctuation=f".{wrong}")
