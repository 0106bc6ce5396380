"""Knobs: what may be changed at any moment, by a test or by another process."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Knobs:
    """For all vendors."""

    gzip: bool = True
    """Answer gzip to a client that asks for it."""
    clock_skew_seconds: float = 0.0
    """The vendor's clock against ours: Date header, times and reset headers."""
    max_in_flight: int = 8
    """Requests of one client at the same time; more is a violation."""
    keep_issued: bool = True
    """Remember what was issued, for the oracle; switch off for long benchmarks."""


def turn(knobs: object, name: str, value: Any) -> None:
    """Set a knob from JSON; KeyError when there is none of that name.

    An object goes into a knob that has knobs of its own; text becomes a path or bytes, a list a set, as the knob needs.
    """
    if name not in {field.name for field in fields(knobs)}:  # type: ignore[arg-type]  # any dataclass
        raise KeyError(name)
    old = getattr(knobs, name)
    if is_dataclass(old) and isinstance(value, dict):
        for inner, inner_value in value.items():
            turn(old, inner, inner_value)
        return
    if name == "directory" and value is not None:
        value = Path(value)
    elif isinstance(old, bytes):
        value = value.encode()
    elif isinstance(old, set):
        value = set(value)
    setattr(knobs, name, value)
