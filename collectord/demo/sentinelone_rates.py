"""SentinelOne's rate limits: for each token and path so many requests a second, told of by nothing (B7)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from collectord.demo.exchange import Call
from collectord.demo.limits import RateBucket
from collectord.demo.sentinelone_knobs import PREFIX, SentinelOneKnobs


class SentinelOneRates:
    """Counters by token and path, and what was agreed with the client beyond them."""

    def __init__(self, knobs: SentinelOneKnobs) -> None:
        self._knobs = knobs
        self._buckets: dict[tuple[str, str], RateBucket] = {}
        self._arrivals: defaultdict[str, deque[float]] = defaultdict(deque)

    def buckets(self, token: str, call: Call) -> Sequence[RateBucket]:
        """What a request counts against; nothing where the console has no limits."""
        path = call.path.removeprefix(f"{PREFIX}/")
        name = path if path == "system/status" else path.partition("/")[0]
        limit = (self._knobs.rate_limits or {}).get(name)
        if limit is None:
            return ()
        bucket = self._buckets.setdefault((token, name), RateBucket(limit, 1.0))
        bucket.limit = limit
        return (bucket,)

    def meet_anew(self) -> None:
        """A client that died does not know what it asked for before; the limits themselves stay as they are."""
        self._arrivals.clear()

    def complaints(self, call: Call, in_flight: Sequence[Call]) -> Iterator[str]:
        """What the console would take, and a calm client does not do."""
        asked = (call.path, call.headers.get("Authorization"))
        if sum((other.path, other.headers.get("Authorization")) == asked for other in in_flight) > 1:
            yield "two requests of one list at the same time"
        agreed = self._knobs.agreed_per_second
        arrivals = self._arrivals[call.path]
        arrivals.append(call.at)
        while arrivals[0] <= call.at - 1.0:
            arrivals.popleft()
        if agreed is not None and len(arrivals) > agreed + 1:  # one more, since the way here takes its time
            yield f"{len(arrivals)} requests of one list within a second, {agreed} are agreed"
