"""How many records came in each minute of the last hour: what the Collection page draws beside a source."""

from __future__ import annotations

from array import array

MINUTES = 60


class LastHour:
    """A ring of minutes; a stream at rest holds none, since there may be ten thousand of them."""

    __slots__ = ("_counts", "_minute")

    def __init__(self) -> None:
        self._counts: array[int] | None = None
        self._minute = 0
        """The minute since 1970 that was counted last."""

    def add(self, count: int, now_ms: int) -> None:
        """Count so many in this minute; a clock that went back counts on where it was."""
        if not count:
            return
        minute = max(now_ms // 60_000, self._minute)
        counts = array("L", self.counts(now_ms)) or array("L", [0] * MINUTES)
        counts[-1] += count
        self._counts, self._minute = counts, minute

    def counts(self, now_ms: int) -> list[int]:
        """Sixty numbers, the oldest minute first and the running one last; empty when nothing came."""
        if self._counts is None:
            return []
        passed = max(0, now_ms // 60_000 - self._minute)
        if passed >= MINUTES:
            self._counts = None
            return []
        return [*self._counts[passed:], *[0] * passed]
