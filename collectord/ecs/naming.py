"""Vendors' own keys and empty values: names that Elasticsearch takes, snake_case, objects without what says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[ \-]+")
_LONGEST = 512
_REMEMBERED = 8192


class _Names(dict[str, str]):
    """What keys become, remembered; a look-up costs less than any call. Bounded, since vendors choose their keys."""

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make
        self.sound: set[str] = set()
        """Keys that are their own names."""

    def __missing__(self, key: str) -> str:
        name = self._make(key)
        if len(key) <= _LONGEST:
            if len(self) >= _REMEMBERED:
                self.clear()
                self.sound.clear()
            self[key] = name
            if name == key:
                self.sound.add(key)
        return name


def _field_name(key: str) -> str:
    return key.replace(".", "_").strip()[:_LONGEST] or "_"


FIELD_NAMES = _Names(_field_name)
"""A key that may be a field: a dot would make it two, and Elasticsearch refuses blank and very long ones."""
_SNAKE_CASE = _Names(lambda key: _field_name(_WORD_START.sub("_", key).lower()))
"""`displayName` as `display_name`; a key that is snake_case already stays."""


def snaked(value: Any) -> Any:
    """With keys in snake_case at all depths, without null, "" and empty lists and objects; None if nothing is left."""
    return _without_empty(value, _SNAKE_CASE)


def cleaned(value: Any) -> Any:
    """With the vendor's keys, without null, "" and empty lists and objects; None if nothing is left."""
    return _without_empty(value, FIELD_NAMES)


def _without_empty(value: Any, names: _Names) -> Any:
    if value.__class__ is dict:
        found = {}
        for key, part in value.items():
            if part.__class__ is str:
                if part:
                    found[names[key]] = part
            elif part is not None and (kept := _without_empty(part, names)) is not None:
                found[names[key]] = kept
        if len(found) < len(value) and len({names[key] for key in value}) < len(value):
            found = apart(value, names)
        return found or None
    if value.__class__ is list:
        return [kept for part in value if (kept := _without_empty(part, names)) is not None] or None
    return None if value == "" else value


def apart(value: dict[str, Any], names: _Names) -> dict[str, Any]:
    """An object two of whose keys become one name: the second gets a `_` behind it, so that neither value is lost."""
    found: dict[str, Any] = {}
    for key, part in value.items():
        if (kept := _without_empty(part, names)) is not None:
            name = names[key]
            while name in found:
                name += "_"
            found[name] = kept
    return found


def sound(value: Any) -> Any:
    """The same, but for keys that Elasticsearch would refuse."""
    if value.__class__ is dict:
        return {FIELD_NAMES[key]: sound(part) for key, part in value.items()}
    return [sound(part) for part in value] if value.__class__ is list else value


def without(value: Any, absent: frozenset[str]) -> Any:
    """Without the texts that mean nothing, at all depths, and without what is empty."""
    if value.__class__ is dict:
        found = {
            key: part
            for key, part in value.items()
            if (part and (part.__class__ is not str or part not in absent)) or part == 0
        }
        for key, part in found.items():
            if part.__class__ is dict or part.__class__ is list:
                found[key] = without(part, absent)
        return found
    if value.__class__ is list:
        return [without(part, absent) for part in value if part.__class__ is not str or part not in absent]
    return value
