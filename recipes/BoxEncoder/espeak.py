"""Speech and the time of every phone, from eSpeak NG's C library.

Debian: ``apt-get install espeak-ng``. Its command line does not say when a phone is spoken; its library
does (``espeak_SetSynthCallback`` in speak_lib.h).
"""

import ctypes
import ctypes.util
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mambadapter.errors import UserError

_SYNCHRONOUS = 2
_PHONEME_EVENTS_IN_IPA = 1 | 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_PHONEME_EVENT = 7
SILENCE = "_"
_LONG = "\N{MODIFIER LETTER TRIANGULAR COLON}"


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int),
        ("message", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("identity", _Identity),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Utterance:
    """What eSpeak NG said.

    Attributes
    ----------
    wav : numpy.ndarray
        (S,) int16, at the synthesiser's rate.
    phones : list of (int, str)
        First sample and IPA letter of each phone, `SILENCE` for a pause.
    """

    wav: np.ndarray
    phones: list[tuple[int, str]]


class Espeak:
    """The synthesiser; a process can hold one.

    What it says depends on the seed and on everything said before: two fresh processes that say the same
    things in the same order say them with the same samples.

    Attributes
    ----------
    sample_rate : int
        Hz.
    """

    def __init__(self, seed: int) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise UserError("eSpeak NG is not installed; on Debian: apt-get install espeak-ng.")
        self._library = ctypes.CDLL(name)
        self.sample_rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, None, _PHONEME_EVENTS_IN_IPA
        )
        if self.sample_rate <= 0:
            raise UserError("eSpeak NG found no voice data; install espeak-ng-data.")
        # Kept, because the library does not keep it alive.
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        ctypes.CDLL(None).srand(seed)
        self._chunks: list[np.ndarray] = []
        self._events: list[tuple[int, str]] = []

    def say(self, text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> Utterance:
        """Speak a text."""
        self._chunks, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise UserError(f"eSpeak NG has no voice '{voice}'; version 1.51 or later has.")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        written = text.encode()
        self._library.espeak_Synth(
            written, ctypes.c_size_t(len(written) + 1), 0, 0, 0, _UTF8, None, None
        )
        wav = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        return Utterance(wav, list(_letters(self._events, len(wav))))

    def _collect(self, wav: "ctypes._Pointer", count: int, events: "ctypes._Pointer") -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(wav, shape=(count,)).copy())
        index = 0
        while events[index].kind:
            if events[index].kind == _PHONEME_EVENT:
                address = ctypes.addressof(events[index].identity)
                ipa = ctypes.string_at(address, 8).split(b"\0")[0].decode(errors="ignore")
                self._events.append((events[index].sample, ipa))
            index += 1
        return 0


def _letters(events: list[tuple[int, str]], end: int) -> Iterator[tuple[int, str]]:
    """Split each event's time evenly among its IPA letters, a length mark counting as half a letter.

    The two parts of a diphthong or an affricate become two phones; tones, stress and other diacritics go.
    """
    ends = [start for start, _ in events[1:]] + [end]
    for (start, ipa), stop in zip(events, ends, strict=True):
        if ipa.startswith("("):  # a switch of language
            continue
        spans: list[list] = []
        for character in unicodedata.normalize("NFD", ipa):
            if character == _LONG and spans:
                spans[-1][1] += 0.5
            elif unicodedata.category(character) == "Ll":
                spans.append([character, 1.0])
        if not spans:
            spans = [[SILENCE, 1.0]]
        unit = (stop - start) / sum(weight for _, weight in spans)
        position = float(start)
        for letter, weight in spans:
            yield round(position), letter
            position += weight * unit
