"""Procedural sounds of many kinds: noises, tones, sweeps, impulses, textures, calls.

Every kind is a function of a random generator and a number of samples at `SAMPLE_RATE`; what makes two
clips of a kind differ (pitch, pace, bandwidth, depth) is drawn anew each time.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve, lfilter

SAMPLE_RATE = 16000

Generator = np.random.Generator


def make_sound(kind: str, samples: int, generator: Generator) -> np.ndarray:
    """A sound of a kind, at a peak of 1, with short fades at its ends."""
    wav = KINDS[kind](generator, samples)
    fade = np.minimum(1.0, np.arange(samples) / 80)
    wav = (wav - wav.mean()) * fade * fade[::-1]
    return (wav / (np.abs(wav).max() + 1e-9)).astype(np.float32)


def _log_uniform(g: Generator, low: float, high: float) -> float:
    return float(np.exp(g.uniform(np.log(low), np.log(high))))


def _coloured(g: Generator, n: int, slope: float) -> np.ndarray:
    """Noise whose power falls by `slope` times 3 dB an octave."""
    spectrum = np.fft.rfft(g.normal(size=n))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** (-slope / 2)
    wav = np.fft.irfft(spectrum, n)
    return wav / wav.std()


def _resonate(wav: np.ndarray, centre: float, bandwidth: float) -> np.ndarray:
    """A second-order resonator; frequencies in Hz."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    angle = 2 * np.pi * min(centre, 0.47 * SAMPLE_RATE) / SAMPLE_RATE
    return lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wav)


def _phase(frequency: float | np.ndarray, n: int) -> np.ndarray:
    return 2 * np.pi * np.cumsum(np.broadcast_to(frequency, n)) / SAMPLE_RATE


def _harmonic(
    g: Generator, frequency: float | np.ndarray, n: int, tilt: tuple[float, float] = (0.3, 1.5)
) -> np.ndarray:
    """A harmonic tone with a random spectral tilt; nothing above the Nyquist frequency."""
    top = int(min(24, 0.45 * SAMPLE_RATE / np.max(frequency)))
    power = g.uniform(*tilt)
    phase = _phase(frequency, n)
    return sum(
        np.sin(k * phase + g.uniform(0, 6.28)) * k**-power * g.uniform(0.3, 1)
        for k in range(1, max(top, 1) + 1)
    )


def _wander(g: Generator, n: int, hertz: float) -> np.ndarray:
    """A smooth random curve between -1 and 1 that changes at about so many Hz."""
    points = g.uniform(-1, 1, int(n / SAMPLE_RATE * hertz) + 3)
    return np.interp(np.linspace(0, len(points) - 1, n), np.arange(len(points)), points)


def _wave(g: Generator, n: int, hertz: float) -> np.ndarray:
    """A slow sine between 0 and 1 at a random phase."""
    return 0.5 + 0.5 * np.sin(_phase(hertz, n) + g.uniform(0, 6.28))


def _at(g: Generator, n: int, hertz: float, jitter: float) -> np.ndarray:
    """Impulses at a rate: regular with jitter 0, a Poisson process with jitter 1."""
    gaps = (
        SAMPLE_RATE
        / hertz
        * (1 - jitter + jitter * g.exponential(size=int(4 * n / SAMPLE_RATE * hertz) + 8))
    )
    times = (np.cumsum(gaps) - gaps[0] * g.uniform()).astype(int)
    times = times[(times >= 0) & (times < n)]
    impulses = np.zeros(n)
    impulses[times] = g.uniform(1 - 0.8 * jitter, 1, len(times))
    if not len(times):
        impulses[n // 3] = 1.0
    return impulses


def _decay(seconds: float) -> np.ndarray:
    """An exponential decay, over five time constants."""
    return np.exp(-np.arange(int(5 * seconds * SAMPLE_RATE) + 1) / (seconds * SAMPLE_RATE))


def _click(g: Generator, seconds: float) -> np.ndarray:
    """Noise that dies away."""
    decay = _decay(seconds)
    return decay * g.normal(size=len(decay))


def _repeat(impulses: np.ndarray, event: np.ndarray) -> np.ndarray:
    return fftconvolve(impulses, event)[: len(impulses)]


def _bursts(g: Generator, n: int, hertz: float, seconds: float, jitter: float = 0.3) -> np.ndarray:
    """An envelope of bursts that rise fast and die away."""
    rise = 1 - np.exp(-np.arange(n) / (0.1 * seconds * SAMPLE_RATE))
    event = _decay(seconds)[:n]
    return _repeat(_at(g, n, hertz, jitter), event * rise[: len(event)])


def _formants(g: Generator, wav: np.ndarray, count: int = 3) -> np.ndarray:
    voices = (_resonate(wav, _log_uniform(g, 300, 4500), g.uniform(60, 300)) for _ in range(count))
    return sum(voices, np.zeros_like(wav))


def _glides(g: Generator, n: int, low: float, high: float, hertz: float) -> np.ndarray:
    """A pitch that wanders between two frequencies."""
    return np.exp(np.log(low) + (0.5 + 0.5 * _wander(g, n, hertz)) * np.log(high / low))


def _sweep(g: Generator, n: int, up: bool) -> np.ndarray:
    low, high = _log_uniform(g, 100, 1500), _log_uniform(g, 1800, 7000)
    start, end = (low, high) if up else (high, low)
    period = int(n / g.integers(1, 5)) + 1
    pitch = np.tile(np.geomspace(start, end, period), n // period + 1)[:n]
    return np.sin(_phase(pitch, n)) if g.random() < 0.6 else _harmonic(g, pitch, n)


def _knocks(g: Generator, n: int, low: float, high: float, seconds: float) -> np.ndarray:
    """Struck bodies: impulses through a few decaying modes."""
    time = np.arange(int(5 * seconds * SAMPLE_RATE)) / SAMPLE_RATE
    base = _log_uniform(g, low, high)
    event = sum(
        g.uniform(0.2, 1) * np.exp(-time * k / seconds) * np.sin(2 * np.pi * base * ratio * time)
        for k, ratio in enumerate(np.cumprod(g.uniform(1.1, 1.9, 5)), start=1)
        if base * ratio < 7500
    )
    return _repeat(_at(g, n, _log_uniform(g, 0.7, 6), g.uniform(0, 0.6)), event)


def _drops(g: Generator, n: int, rising: float) -> np.ndarray:
    """Many short tones of random pitch: bubbles when the pitch rises, drops when it does not."""
    wav = np.zeros(n)
    for start in np.flatnonzero(_at(g, n, _log_uniform(g, 4, 40), 1.0)):
        seconds = g.uniform(0.01, 0.06)
        time = np.arange(min(int(4 * seconds * SAMPLE_RATE), n - int(start))) / SAMPLE_RATE
        pitch = _log_uniform(g, 400, 4000) * (1 + rising * time / seconds)
        tone = np.sin(2 * np.pi * np.cumsum(np.minimum(pitch, 7000)) / SAMPLE_RATE)
        wav[start : start + len(time)] += g.uniform(0.1, 1) * tone * np.exp(-time / seconds)
    return wav


def _beeps(g: Generator, n: int) -> np.ndarray:
    on = _wave(g, n, _log_uniform(g, 1, 6)) > g.uniform(0.3, 0.6)
    return on * np.sin(_phase(_log_uniform(g, 400, 4000), n))


def _melody(g: Generator, n: int) -> np.ndarray:
    notes = 2 ** (g.integers(-12, 13, int(n / SAMPLE_RATE * g.uniform(2, 7)) + 1) / 12)
    pitch = g.uniform(200, 500) * np.repeat(notes, n // len(notes) + 1)[:n]
    return _harmonic(g, pitch, n)


def _engine(g: Generator, n: int) -> np.ndarray:
    pitch = _log_uniform(g, 25, 140) * (1 + 0.15 * _wander(g, n, 1.5))
    pulses = np.maximum(np.sin(_phase(pitch, n)), 0) ** g.integers(2, 12)
    return _formants(g, pulses * (1 + 0.5 * g.normal(size=n)), 4)


def _rotor(g: Generator, n: int) -> np.ndarray:
    beat = _wave(g, n, _log_uniform(g, 8, 28)) ** g.integers(2, 8)
    return beat * _coloured(g, n, g.uniform(0.5, 2)) + 0.1 * _coloured(g, n, 1.5)


def _cry(g: Generator, n: int) -> np.ndarray:
    pitch = _glides(g, n, g.uniform(250, 400), g.uniform(450, 700), 2.5)
    voice = _harmonic(g, pitch * (1 + 0.03 * np.sin(_phase(6, n))), n)
    return _formants(g, voice) * _wave(g, n, _log_uniform(g, 0.5, 1.5)) ** 0.5


def _barks(g: Generator, n: int) -> np.ndarray:
    envelope = _bursts(g, n, _log_uniform(g, 0.8, 4), g.uniform(0.03, 0.12))
    voice = _harmonic(g, g.uniform(150, 700) * (1 + 0.4 * envelope / envelope.max()), n)
    return envelope * (_formants(g, voice) + 0.1 * g.normal(size=n))


def _crow(g: Generator, n: int) -> np.ndarray:
    pitch = _glides(g, n, g.uniform(350, 600), g.uniform(900, 1600), 1.5)
    gate = np.clip(3 * _wander(g, n, 2) + 1, 0, 1)
    return gate * _formants(g, _harmonic(g, pitch, n, (0.0, 0.6)))


def _chirps(g: Generator, n: int) -> np.ndarray:
    pace = _log_uniform(g, 2, 12)
    ramp = (_phase(pace, n) / (2 * np.pi)) % 1.0
    pitch = _log_uniform(g, 1800, 4500) * (1 + g.choice([-0.4, 0.4]) * ramp)
    return np.sin(_phase(pitch, n)) * np.sin(np.pi * ramp) ** 2


def _insects(g: Generator, n: int) -> np.ndarray:
    carrier = np.sin(_phase(_log_uniform(g, 2500, 6500), n))
    return carrier * _wave(g, n, _log_uniform(g, 20, 90)) ** 3 * (0.6 + 0.4 * _wander(g, n, 2))


def _sneeze(g: Generator, n: int) -> np.ndarray:
    envelope = _bursts(g, n, _log_uniform(g, 0.4, 1.2), g.uniform(0.05, 0.25))
    return envelope * _resonate(g.normal(size=n), _log_uniform(g, 1200, 5000), g.uniform(500, 2500))


def _scratches(g: Generator, n: int) -> np.ndarray:
    stroke = np.abs(np.sin(_phase(_log_uniform(g, 1, 5), n) / 2)) ** 2
    return stroke * _resonate(g.normal(size=n), _log_uniform(g, 1500, 6000), g.uniform(400, 1500))


def _dual_tones(g: Generator, n: int) -> np.ndarray:
    low, high = g.choice([697, 770, 852, 941], 12), g.choice([1209, 1336, 1477], 12)
    size = n // 12 + 1
    tones = np.sin(_phase(np.repeat(low, size)[:n], n)) + np.sin(
        _phase(np.repeat(high, size)[:n], n)
    )
    return tones * (_wave(g, n, 12 * SAMPLE_RATE / n) > 0.3)


def _growl(g: Generator, n: int) -> np.ndarray:
    pitch = g.uniform(60, 140) * (1 + 0.1 * _wander(g, n, 4))
    rough = 1 + 0.8 * np.sin(_phase(pitch / 2, n))
    return _formants(g, _harmonic(g, pitch, n) * rough)


def _glottal_vowels(g: Generator, n: int) -> np.ndarray:
    pitch = g.uniform(90, 260) * (1 + 0.2 * _wander(g, n, 3))
    pulses = np.diff(np.floor(_phase(pitch, n) / (2 * np.pi)), prepend=0.0)
    return _formants(g, pulses) * np.clip(0.7 + _wander(g, n, 4), 0, 1)


KINDS: dict[str, Callable[[Generator, int], np.ndarray]] = {
    # noises
    "white_noise": lambda g, n: g.normal(size=n),
    "pink_noise": lambda g, n: _coloured(g, n, g.uniform(0.7, 1.3)),
    "brown_noise": lambda g, n: _coloured(g, n, g.uniform(1.7, 2.4)),
    "blue_noise": lambda g, n: _coloured(g, n, g.uniform(-1.5, -0.7)),
    "band_noise": lambda g, n: _resonate(
        g.normal(size=n), _log_uniform(g, 200, 6000), g.uniform(20, 200)
    ),
    "sea_waves": lambda g, n: (
        _wave(g, n, _log_uniform(g, 0.15, 0.6)) ** 2 * _coloured(g, n, g.uniform(0.3, 1.2))
    ),
    "wind": lambda g, n: (
        (1.1 + _wander(g, n, 1.5)) * _resonate(g.normal(size=n), _log_uniform(g, 150, 900), 150)
    ),
    "flutter": lambda g, n: (
        _wave(g, n, _log_uniform(g, 4, 12)) ** 2 * _coloured(g, n, g.uniform(-0.5, 0.5))
    ),
    # tones
    "pure_tone": lambda g, n: np.sin(_phase(_log_uniform(g, 100, 6000), n)),
    "harmonic_tone": lambda g, n: _harmonic(g, _log_uniform(g, 80, 900), n),
    "square_tone": lambda g, n: np.sign(np.sin(_phase(_log_uniform(g, 60, 1000), n))),
    "mains_hum": lambda g, n: _harmonic(g, g.choice([50.0, 60.0, 100.0]), n, (0.5, 1.0)),
    "chord": lambda g, n: sum(
        (_harmonic(g, 110 * 2 ** (k / 12), n) for k in g.choice(36, 4, replace=False)), np.zeros(n)
    ),
    "vibrato": lambda g, n: _harmonic(
        g, _log_uniform(g, 150, 1500) * (1 + 0.06 * np.sin(_phase(g.uniform(4, 9), n))), n
    ),
    "beating": lambda g, n: (
        _wave(g, n, _log_uniform(g, 2, 20)) * np.sin(_phase(_log_uniform(g, 200, 4000), n))
    ),
    "beeps": _beeps,
    "melody": _melody,
    "dual_tones": _dual_tones,
    # sweeps
    "sweep_up": lambda g, n: _sweep(g, n, True),
    "sweep_down": lambda g, n: _sweep(g, n, False),
    "siren": lambda g, n: _harmonic(
        g, g.uniform(400, 700) * (1 + g.uniform(0.3, 1.0) * _wave(g, n, _log_uniform(g, 0.3, 3))), n
    ),
    "chirps": _chirps,
    # impulses
    "ticking": lambda g, n: _repeat(
        _at(g, n, _log_uniform(g, 1, 6), 0.02),
        _resonate(g.normal(size=200), _log_uniform(g, 1500, 6000), 600)
        * np.exp(-np.arange(200) / 30),
    ),
    "crackle": lambda g, n: (
        _repeat(_at(g, n, _log_uniform(g, 8, 60), 1.0), _click(g, 0.0006))
        + 0.01 * _coloured(g, n, 1.0)
    ),
    "clatter": lambda g, n: _knocks(g, n, 900, 3500, g.uniform(0.01, 0.05)),
    "wooden_knocks": lambda g, n: _knocks(g, n, 100, 500, g.uniform(0.02, 0.06)),
    "bells": lambda g, n: _knocks(g, n, 300, 2500, g.uniform(0.3, 1.0)),
    "drops": lambda g, n: _drops(g, n, 0.0),
    "bubbles": lambda g, n: _drops(g, n, 0.8),
    "rain": lambda g, n: (
        _repeat(_at(g, n, _log_uniform(g, 300, 2500), 1.0), _click(g, 0.002))
        + g.uniform(0.02, 0.3) * _coloured(g, n, g.uniform(-0.3, 0.5))
    ),
    # textures and machines
    "engine": _engine,
    "rotor": _rotor,
    "saw": lambda g, n: _formants(
        g, _harmonic(g, _log_uniform(g, 70, 220) * (1 + 0.3 * _wander(g, n, 2)), n, (0.0, 0.4)), 5
    ),
    "scratches": _scratches,
    "insects": _insects,
    # calls
    "cry": _cry,
    "barks": _barks,
    "crow": _crow,
    "growl": _growl,
    "sneeze": _sneeze,
    "vowels": _glottal_vowels,
}
