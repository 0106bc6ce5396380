"""Who was told to stay away until when, and who came back too early."""

from __future__ import annotations

_GRACE_SECONDS = 0.1
"""A request that left before the answer arrived is no violation, nor is one that a clock's rounding sent early."""


class Waits:
    """Times are the event loop's."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, float]] = {}

    def tell(self, key: str, at: float, seconds: float) -> None:
        self._told[key] = (at, at + seconds)

    def forget(self) -> None:
        """The client died, and with it what it was told."""
        self._told.clear()

    def complaint(self, key: str, at: float) -> str:
        """What a request arriving now does wrong; empty when it may come."""
        told_at, until = self._told.get(key, (0.0, 0.0))
        if told_at + _GRACE_SECONDS < at < until - _GRACE_SECONDS:
            return f"told to wait {until - told_at:.1f} s, came back after {at - told_at:.1f} s"
        return ""
