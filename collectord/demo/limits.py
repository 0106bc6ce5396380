"""Rate limits as vendors keep them: so many requests in a window, the window opened by its first request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request was told about its limit."""

    limit: int
    remaining: int
    reset_at: float
    """Vendor's clock, seconds since 1970."""
    allowed: bool


@dataclass(slots=True)
class RateBucket:
    """One limit; the caller brings the vendor's clock, so skew and fake time need no word here."""

    limit: int
    window_seconds: float = 60.0
    used: int = 0
    reset_at: float = 0.0

    def left(self, now: float) -> int:
        """Requests that still fit into the window of `now`, opening a new one if the last is over."""
        if now >= self.reset_at:
            self.used = 0
            self.reset_at = now + self.window_seconds
        return max(0, self.limit - self.used)


def take(buckets: Sequence[RateBucket], now: float) -> Allowance:
    """Count one request in every bucket, or in none if one is empty; tells of the bucket that is nearest to its end."""
    tightest = min(buckets, key=lambda bucket: (bucket.left(now), -bucket.reset_at))
    left = tightest.left(now)
    if left == 0:
        return Allowance(buckets[0].limit, 0, tightest.reset_at, allowed=False)
    for bucket in buckets:
        bucket.used += 1
    return Allowance(buckets[0].limit, left - 1, tightest.reset_at, allowed=True)
