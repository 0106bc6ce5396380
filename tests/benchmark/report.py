"""Figures of both programs side by side, and the ratio of each pair of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

R = TypeVar("R")

Row = tuple[str, Callable[[R], float], int]
"""What it is called, where it is found, and how many decimal digits mean something."""


def table(rows: Sequence[Row[R]], ours: Sequence[R], floors: Sequence[R]) -> str:
    lines = [f"{'':28}{'collectord':28}{'floor':28}ratio"]
    for name, figure, digits in rows:
        pairs = [(figure(our), figure(floor)) for our, floor in zip(ours, floors, strict=True)]
        left, right = (_spread([pair[side] for pair in pairs], digits) for side in (0, 1))
        ratio = _spread([our / floor for our, floor in pairs if floor], 2)
        lines.append(f"{name:28}{left:28}{right:28}{ratio}".rstrip())
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    """The median, and between which values it lies."""
    if not values:
        return ""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} - {high})"
