"""Refuse values of a method's settings that cannot be, each with one message that names the setting."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from mambadapter.errors import UserError, did_you_mean


def check_types(method: Any) -> None:
    """Refuse what is not of its field's type: to Python, YAML's texts ``no`` and ``off`` are true."""
    for field in fields(method):
        value = getattr(method, field.name)
        if field.type is bool and not isinstance(value, bool):
            raise UserError(f"{field.name}={value!r} is impossible: give true or false.")
        if field.type is float and not _is_number(value):
            raise UserError(f"{field.name}={value!r} is impossible: give a number.")
        if field.type is str and not isinstance(value, str):
            raise UserError(f"{field.name}={value!r} is impossible: give a name.")


def one_of(setting: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones."""
    if value not in known:
        raise UserError(f"{setting}: '{value}' is unknown; {did_you_mean(value, known)}.")


def positive_integer(setting: str, value: Any) -> None:
    """Refuse what is no whole number of at least 1."""
    whole_number(setting, value, least=1)


def whole_number(setting: str, value: Any, least: int = 0) -> None:
    """Refuse what is no whole number, or below the least."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(
            f"{setting}={value!r} is impossible: give a whole number of at least {least}."
        )


def odd(setting: str, value: Any) -> None:
    """Refuse what is no odd number: a centred convolution has a middle."""
    positive_integer(setting, value)
    if value % 2 == 0:
        raise UserError(
            f"{setting}={value} has no middle; give an odd number, {value - 1} or {value + 1}."
        )


def probability(setting: str, value: float) -> None:
    """Refuse what is no probability below 1."""
    if not 0 <= value < 1:
        raise UserError(f"{setting}={value} is no probability below 1; give 0 to 0.99.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
