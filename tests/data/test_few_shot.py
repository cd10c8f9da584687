"""Few shots are the same few whatever else there is."""

import pytest

from mambadapter.data.few_shot import draw_shots
from mambadapter.errors import UserError


def manifest(**clips):
    return {
        f"{label}/{number:03d}": {"label": label, "wav": f"{label}{number}.wav"}
        for label, count in clips.items()
        for number in range(count)
    }


def of(label, entries):
    return {name for name, entry in entries.items() if entry["label"] == label}


def test_shots_are_in_the_manifests_order():
    entries = manifest(dog=20, rain=12, siren=10)
    drawn = draw_shots(entries, 7, seed=1)
    assert {label: len(of(label, drawn)) for label in ("dog", "rain", "siren")} == {
        "dog": 7, "rain": 7, "siren": 7,
    }  # fmt: skip
    assert list(drawn) == [name for name in entries if name in drawn]
    assert all(drawn[name] is entries[name] for name in drawn)


def test_shots_depend_on_seed_and_class_alone():
    entries = manifest(dog=30, rain=30)
    drawn = draw_shots(entries, 5, seed=1)
    assert drawn == draw_shots(dict(reversed(entries.items())), 5, seed=1)
    assert of("dog", drawn) == of("dog", draw_shots(manifest(dog=30), 5, seed=1))
    assert of("dog", drawn) != of("dog", draw_shots(entries, 5, seed=2))
    numbers = [{name[-3:] for name in of(label, drawn)} for label in ("dog", "rain")]
    assert numbers[0] != numbers[1]


def test_five_shots_are_among_ten():
    entries = manifest(dog=30, rain=30)
    assert set(draw_shots(entries, 5, seed=3)) < set(draw_shots(entries, 10, seed=3))


def test_too_many_shots_name_the_class():
    """And how many clips it has."""
    with pytest.raises(UserError, match="class 'rain' has 3 training clips; give at most 3"):
        draw_shots(manifest(dog=9, rain=3), 4, seed=0)
