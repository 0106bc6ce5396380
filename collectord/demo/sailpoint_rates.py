"""SailPoint's rate limit: so many requests in ten seconds, for each client id and API version (A10)."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence

from collectord.demo.limits import RateBucket
from collectord.demo.sailpoint_knobs import SailPointKnobs


class SailPointRates:
    """Counters by client id and version."""

    def __init__(self, knobs: SailPointKnobs) -> None:
        self._knobs = knobs
        self._buckets: dict[tuple[str, str], RateBucket] = {}
        self._arrivals: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._reset_at = 0.0

    def buckets(self, client: str, version: str) -> Sequence[RateBucket]:
        """What a request counts against; nothing where there are no limits."""
        limit = self._knobs.rate_limit
        if limit is None or not version:
            return ()
        bucket = self._buckets.setdefault((client, version), RateBucket(limit, self._knobs.window_seconds))
        bucket.limit = limit
        self._reset_at = bucket.reset_at
        return (bucket,)

    def retry_after(self, now: float) -> str | None:
        """The header's value for the request that was just refused."""
        if self._knobs.retry_after == "told":
            return str(max(1, math.ceil(self._reset_at - now)))
        return self._knobs.retry_after

    def meet_anew(self) -> None:
        """A client that died does not know what it asked for before; the limits themselves stay as they are."""
        self._arrivals.clear()

    def complaint(self, client: str, version: str, at: float) -> str:
        """What SailPoint may still take, and a calm client does not do."""
        arrivals = self._arrivals[client, version]
        arrivals.append(at)
        while arrivals[0] <= at - 10.0:
            arrivals.popleft()
        agreed = self._knobs.agreed_per_window
        if agreed is not None and len(arrivals) > agreed + 1:  # one more, since the way here takes its time
            return f"{len(arrivals)} requests within ten seconds, {agreed} are agreed"
        return ""
