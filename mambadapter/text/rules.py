"""A language's writing rules: its alphabet, its look-alikes, and the marks that belong to its words."""

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mambadapter.errors import UserError

# One code point for each mark, whatever a keyboard made of it. For an apostrophe: single quotation marks and
# their ornaments, accents that stand alone (Greek's too), primes, modifier letters, saltillos, and what other
# scripts have that looks like one; for a hyphen: hyphens and the minus sign.
_APOSTROPHES = (
    "\u2018\u2019\u201b\u275b\u275c\uff07`\u00b4\uff40\u0384\u1fef\u1ffd\u1fbd\u1fbf\u1ffe\u2032\u2035"
    "\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u0374\ua78b\ua78c\u0559\u055a\u05f3\u07f4\u07f5"
)
_HYPHENS = "\u2010\u2011\u2212"


class _Typed(dict[int, str]):
    """What a character is taken for before Unicode form NFKC, by code point; for `str.translate`.

    NFKC makes of an accent that stands alone, such as the acute that many type for an apostrophe, a space and
    a combining mark: it would break the word apart, and put the mark on the space.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        parts = unicodedata.normalize("NFKC", character)
        if parts[0] == " " and len(parts) > 1:
            # Symbols become spaces, as all do; the rest are vowel marks of Arabic, which belong to a letter.
            symbol = unicodedata.category(character)[0] in "PS"
            character = " " if symbol else parts[1:]
        return self.setdefault(code, character)


_TYPED = _Typed(
    {ord(c): mark for typed, mark in ((_APOSTROPHES, "'"), (_HYPHENS, "-")) for c in typed}
)


@dataclass(frozen=True)
class Normalised:
    """A sentence by a language's rules."""

    text: str  # words with single spaces, in lower case unless the rules keep it
    outside: str  # its characters that are not in the alphabet, such as digits, each once, in order


@dataclass(frozen=True)
class TextRules:
    """How sentences of a language are written for a recogniser; the same for training and for scoring.

    In this order: apostrophes and hyphens to one code point each; Unicode form NFKC; lower case, unless it is
    kept; the language's look-alikes; invisible characters removed; marks of words kept where they stand
    between letters, and punctuation that is kept; all else but letters made spaces; single spaces.

    Parameters
    ----------
    alphabet : str or None
        The lower-case letters, in Unicode form NFC; None: every letter, mark and digit of any script.
    word_marks : str
        Marks that belong to a word where they stand between two letters: ``'``, ``-`` or both.
    final_marks : str
        Those of them that also belong to a word where they end it, as in Esperanto's elision ``dank' al``.
    look_alikes : Mapping[str, str]
        What is typed for a letter, and the letter; lower case. Longer ones go first.
    keep_case : bool
        Do not write all in lower case; the alphabet then has the capitals too.
    punctuation : str
        What is kept as it stands, such as ``.,?!``: it is learnt and scored as a part of the word before it.

    Raises
    ------
    UserError
        If a letter is not lower case or listed twice, a kept character is no punctuation, or a rule leads out
        of the alphabet.

    Example
    -------
    >>> rules = TextRules("abcdefghijklmnoprstuvwyz", word_marks="'-", look_alikes={"é": "e"})
    >>> rules.normalise("Yavuze: “n’abandi” – Café!").text
    "yavuze n'abandi cafe"
    >>> TextRules(None, keep_case=True, punctuation=".,").normalise("Yes, Ann: now.").text
    'Yes, Ann now.'
    """

    alphabet: str | None
    word_marks: str = ""
    final_marks: str = ""
    look_alikes: Mapping[str, str] = field(default_factory=dict)
    keep_case: bool = False
    punctuation: str = ""

    def __post_init__(self) -> None:
        letters = self.alphabet or ""
        twice = {letter for letter in letters if letters.count(letter) > 1}
        if twice:
            raise UserError(f"alphabet: {_named(twice)} is there twice.")
        for letter in letters:
            if letter != self._cased(unicodedata.normalize("NFKC", letter)) or letter.isspace():
                kind = "letter" if self.keep_case else "lower-case letter"
                raise UserError(f"alphabet: {_named(letter)} is no {kind} in form NFKC.")
        marks = set(self.word_marks) | set(self.final_marks)
        if marks - set("'-"):
            raise UserError(f"word_marks: {_named(marks - set(chr(39) + '-'))}; give ' and -.")
        wrong = {
            c
            for c in self.punctuation
            if unicodedata.category(c)[0] not in "PS" or c in marks or _TYPED[ord(c)] != c
            or c != unicodedata.normalize("NFKC", c)
        }  # fmt: skip
        if wrong:
            raise UserError(
                f"punctuation: {_named(wrong)} is no punctuation in form NFKC, or a mark of words; leave it "
                "out."
            )
        marks |= set(self.punctuation)
        for typed, meant in self.look_alikes.items() if self.alphabet is not None else ():
            strange = set(meant) - set(letters) - marks - {" "}
            if strange:
                raise UserError(
                    f"look_alikes: '{typed}' becomes {_named(strange)}, which is not in the alphabet."
                )

    def normalise(self, sentence: str) -> Normalised:
        """Write a sentence by the rules.

        Parameters
        ----------
        sentence : str
            As it stands in the corpus.

        Returns
        -------
        Normalised
        """
        # Invisible characters first, but for those of look-alikes: between a letter and its accent they would
        # keep the two apart.
        typed = _visible(sentence, {*"".join(self.look_alikes)})
        text = self._cased(unicodedata.normalize("NFKC", typed.translate(_TYPED)))
        # Of which NFKC makes more, such as two primes of a double one.
        text = text.translate(_TYPED)
        for typed in sorted(self.look_alikes, key=len, reverse=True):
            text = text.replace(typed, self.look_alikes[typed])
        text = _visible(text)
        # What is typed with combining marks may have become a letter of the alphabet, or none.
        text = unicodedata.normalize("NFC", text)
        marks = {c for c in {*text} if unicodedata.category(c)[0] in "PSZC"} - {*self.punctuation}
        if marks - {" "} or self.punctuation:
            text = "".join(self._mark(text, at) if c in marks else c for at, c in enumerate(text))
        text = " ".join(text.split())
        if not {*text} - {*self.punctuation, " "}:
            text = ""  # no word
        known = {*self.word_marks, *self.final_marks, *self.punctuation, " "}
        outside = (c for c in dict.fromkeys(text) if c not in known and not self._is_letter(c))
        return Normalised(text, "".join(outside))

    def _cased(self, text: str) -> str:
        return text if self.keep_case else text.lower()

    def _is_letter(self, character: str) -> bool:
        if self.alphabet is not None:
            return character in self.alphabet
        return unicodedata.category(character)[0] in "LMN"

    def _mark(self, text: str, place: int) -> str:
        """A mark of a word, or a space where it belongs to none."""
        character = text[place]
        if character in self.word_marks or character in self.final_marks:
            before = place > 0 and self._is_letter(text[place - 1])
            after = place + 1 < len(text) and self._is_letter(text[place + 1])
            if before and character in (self.word_marks if after else self.final_marks):
                return character
        # Else a kept mark behind it would be a word of its own.
        following = text[place + 1 : place + 2]
        return "" if following and following in self.punctuation else " "


def _visible(text: str, kept: Collection[str] = ()) -> str:
    """Without invisible characters, but for some."""
    if text.isascii():
        return text
    hidden = {c for c in {*text}.difference(kept) if unicodedata.category(c) == "Cf"}
    return "".join(c for c in text if c not in hidden) if hidden else text


def _named(characters: str | set[str]) -> str:
    return ", ".join(
        f"'{c}' (U+{ord(c):04X} {unicodedata.name(c, 'unnamed')})" for c in sorted(characters)
    )
