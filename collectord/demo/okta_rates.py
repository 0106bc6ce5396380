"""Okta's rate limits: a bucket for the tenant, a smaller one for each token, told by headers (okta-netskope.md 1.5)."""

from __future__ import annotations

from collections.abc import Sequence

from collectord.demo.exchange import Answer, Headers
from collectord.demo.limits import Allowance, RateBucket
from collectord.demo.okta_knobs import OktaKnobs

_OTHER_PATHS_LIMIT = 1200
_ORG = "org"
_DUPLICATE_MORE = 7
"""A doubled header's other value is this much larger than the true one."""


class OktaRates:
    """Counters by holder and path."""

    def __init__(self, knobs: OktaKnobs) -> None:
        self.knobs = knobs
        self._buckets: dict[tuple[str, str], RateBucket] = {}

    def buckets(self, token: str, path: str) -> Sequence[RateBucket]:
        """What a request counts against; nothing where the tenant has no limits."""
        if self.knobs.org_limits is None:
            return ()
        return (self._bucket(token, path), self._bucket(_ORG, path))

    def burn(self, path: str, count: int, now: float) -> None:
        """Other users of the tenant make so many requests now."""
        bucket = self._bucket(_ORG, path)
        bucket.used += min(count, bucket.left(now))

    def headers(self, allowance: Allowance) -> Headers:
        reset = int(allowance.reset_at + self.knobs.reset_offset_seconds) + 1
        lines = (
            ("X-Rate-Limit-Limit", str(allowance.limit)),
            ("X-Rate-Limit-Remaining", str(allowance.remaining)),
            ("X-Rate-Limit-Reset", str(reset)),
        )
        if not self.knobs.duplicate_rate_headers:
            return lines
        others = tuple((name, str(int(value) + _DUPLICATE_MORE)) for name, value in lines)
        return tuple(line for pair in zip(others, lines, strict=True) for line in pair)

    def _bucket(self, holder: str, path: str) -> RateBucket:
        limit = (self.knobs.org_limits or {}).get(path, _OTHER_PATHS_LIMIT)
        own = limit if holder == _ORG else max(1, int(limit * self.knobs.token_share))
        bucket = self._buckets.setdefault((holder, path), RateBucket(own, self.knobs.window_seconds))
        bucket.limit = own
        return bucket


def seconds_to_wait(answer: Answer, now: float) -> float | None:
    """What the rate headers tell a client to wait; None while something remains.

    Of a doubled header the smaller value counts [OSDK]; a limit of 0 is the concurrency limit, whose reset is a guess.
    """
    limits, left, resets = (
        [int(value) for value in answer.values(f"X-Rate-Limit-{name}")] for name in ("Limit", "Remaining", "Reset")
    )
    if not left or min(left) > 0 or min(limits) == 0:
        return None
    return max(0.0, min(resets) - now)
