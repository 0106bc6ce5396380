"""Typed values: text, numbers, flags, times and addresses out of whatever a vendor wrote for one.

Each function takes a value that is there, the name to complain under and the list of complaints; it returns None for a
value that says nothing (empty, a word for nothing) or does not fit, and complains of the second.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from collectord.records import iso_time, milliseconds

Problems = list[str]
Operation = Callable[[Any, str, Problems], Any]

_SHOWN_CHARACTERS = 100
_SIMPLE = frozenset({int, float, bool})
_MILLISECONDS_FROM = 100_000_000_000
"""An epoch from this on counts milliseconds: as seconds it would be the year 5138."""
LONGEST_ADDRESS = 45
NOTHING = frozenset({"", "null", "-", "N/A", "n/a", "none", "None"})
"""Words that vendors write where a typed field has no value; a text field keeps them."""


def misfit(value: Any, name: str, wanted: str, problems: Problems) -> None:
    """Complain that a value does not fit; it is then left out of its field."""
    problems.append(f"{name}: {wanted} expected, not {repr(value)[:_SHOWN_CHARACTERS]}")


def text(value: Any, name: str, problems: Problems) -> Any:
    """Text, or a list of texts; numbers become text, so that an id of 64 bits keeps every digit."""
    if value.__class__ is int:
        return str(value)
    if value.__class__ is str:
        return value or None
    if value.__class__ is list:
        return [one for part in value if part is not None and (one := _scalar(part, name, problems))] or None
    return _scalar(value, name, problems)


def _scalar(value: Any, name: str, problems: Problems) -> str | None:
    if value.__class__ is str:
        return str(value)
    if value.__class__ in _SIMPLE:
        return str(value).lower()
    if value:
        misfit(value, name, "text", problems)
    return None


def number(value: Any, name: str, problems: Problems) -> int | float | None:
    if value.__class__ is int or value.__class__ is float:
        return value
    if value.__class__ is str:
        if value in NOTHING:
            return None
        with suppress(ValueError):
            return int(value) if value.isascii() and len(value) < 19 and value.lstrip("-").isdecimal() else _real(value)
    if value or value is False:
        misfit(value, name, "a number", problems)
    return None


def _real(value: str) -> float:
    found = float(value)
    if found - found != 0:
        raise ValueError("not finite")
    return found


def coordinate(value: Any, name: str, problems: Problems) -> int | float | None:
    """A number; Netskope also writes both coordinates into one text, which is none."""
    return None if value.__class__ is str and "|" in value else number(value, name, problems)


def flag(value: Any, name: str, problems: Problems) -> bool | None:
    if value.__class__ is bool:
        return bool(value)
    if value.__class__ is str:
        if value in NOTHING:
            return None
        if value.lower() in {"true", "false", "yes", "no"}:
            return value.lower() in {"true", "yes"}
    if value or value == 0:
        misfit(value, name, "true or false", problems)
    return None


def time(value: Any, name: str, problems: Problems) -> str | None:
    """A time to the millisecond, as Elasticsearch keeps it; a number counts seconds, or milliseconds, since 1970."""
    try:
        if value.__class__ is str:
            if value[4:5] != "-" and value[:11].isdecimal():
                return _epoch(float(value))
            moment = datetime.fromisoformat(value)
            if value[-1] == "Z" and value[10] == "T" and value[4] == value[7] == "-" and value[19] in ".Z":
                return value if len(value) <= 24 else value[:23] + "Z"
            return iso_time(milliseconds(moment))
        if value.__class__ is int and 0 < value < _MILLISECONDS_FROM:
            return _second(value)
        if value.__class__ is int or value.__class__ is float:
            return _epoch(value)
    except (ValueError, OverflowError, IndexError):
        pass
    if value and not (value.__class__ is str and value in NOTHING):
        misfit(value, name, "a time", problems)
    return None


def _epoch(value: float) -> str | None:
    return iso_time(int(value if value >= _MILLISECONDS_FROM else value * 1000)) if value else None


@lru_cache(1024)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.000Z"


@lru_cache(4096)
def is_address(value: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, value)
            return True
    return False


def ip(value: Any, name: str, problems: Problems) -> str | None:
    if value.__class__ is str:
        if value in NOTHING:
            return None
        if len(value) <= LONGEST_ADDRESS and is_address(value):
            return str(value)
    if value:
        misfit(value, name, "an IP address", problems)
    return None
