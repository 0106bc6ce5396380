"""Vendors' own keys and empty values: names that Elasticsearch takes, snake_case, objects without what says nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[ \-]+")
_LONGEST = 512


@lru_cache(8192)
def snake_case(key: str) -> str:
    """`displayName` as `display_name`; a key that is snake_case already stays."""
    return field_name(_WORD_START.sub("_", key).lower())


@lru_cache(8192)
def field_name(key: str) -> str:
    """A key that may be a field: a dot would make it two, and Elasticsearch refuses blank and very long ones."""
    return key.replace(".", "_").strip()[:_LONGEST] or "_"


def snaked(value: Any) -> Any:
    """With keys in snake_case at all depths, without null, "" and empty lists and objects; None if nothing is left."""
    if value.__class__ is dict:
        found = {snake_case(key): kept for key, part in value.items() if (kept := _kept(part)) is not None}
        return found or None
    if value.__class__ is list:
        return [kept for part in value if (kept := snaked(part)) is not None] or None
    return None if value == "" else value


def _kept(value: Any) -> Any:
    if value.__class__ is str:
        return value or None
    return snaked(value)


def cleaned(value: Any) -> Any:
    """With the vendor's keys, without null, "" and empty lists and objects; None if nothing is left."""
    if value.__class__ is dict:
        found = {}
        for key, part in value.items():
            if (kept := part if part.__class__ is str else cleaned(part)) is not None and kept != "":
                found[field_name(key)] = kept
        return found or None
    if value.__class__ is list:
        return [kept for part in value if (kept := cleaned(part)) is not None] or None
    return None if value == "" else value


def sound(value: Any) -> Any:
    """The same, but for keys that Elasticsearch would refuse."""
    if value.__class__ is dict:
        return {field_name(key): sound(part) for key, part in value.items()}
    return [sound(part) for part in value] if value.__class__ is list else value


def without(value: Any, absent: frozenset[str]) -> Any:
    """Without the texts that mean nothing, at all depths; None if it is one itself."""
    if value.__class__ is str:
        return None if value in absent else value
    if value.__class__ is dict:
        return {key: kept for key, part in value.items() if (kept := without(part, absent)) is not None}
    if value.__class__ is list:
        return [kept for part in value if (kept := without(part, absent)) is not None]
    return value
