"""Figures of two programs side by side, and the ratio of each pair of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

R = TypeVar("R")

Row = tuple[str, Callable[[R], float], int]
"""What it is called, where it is found, and how many decimal digits mean something."""


def table(rows: Sequence[Row[R]], runs: Mapping[str, Sequence[R]]) -> str:
    """`runs` of two programs, by name; run after run they are pairs."""
    lines = ["".join(f"{title:28}" for title in ("", *runs)) + "ratio"]
    for name, figure, digits in rows:
        sides = [[figure(run) for run in side] for side in runs.values()]
        left, right = (_spread(side, digits) for side in sides)
        ratio = _spread([our / other for our, other in zip(*sides, strict=True) if other], 2)
        lines.append(f"{name:28}{left:28}{right:28}{ratio}".rstrip())
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    """The median, and between which values it lies."""
    if not values:
        return ""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} - {high})"
