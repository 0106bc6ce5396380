"""How fast a vendor may be asked: one budget per bucket that the vendor counts, shared by all who draw on it.

A budget is kept before it is broken: the answers' headers say when to rest, and what is known of the vendor's limits
paces requests from the first one on.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from multidict import MultiMapping

_SHORTEST_SLEEP_SECONDS = 0.001  # what is left by rounding must not be waited for in circles


@dataclass(frozen=True, slots=True)
class Limits:
    """What a vendor lets one credential do."""

    counted_by: str
    """What the vendor counts by, without a secret in clear: sources with the same value share their budgets."""
    rest_seconds: Callable[[int, MultiMapping[str], float], float]
    """From an answer's status, headers and the vendor's clock (epoch seconds): how long its bucket must rest, or 0."""
    per_second: float = math.inf
    """Sustained requests in a second, for each bucket."""
    burst: int = 1
    in_flight: int = 4
    """Requests at a time, for each bucket."""


class Budget:
    """One bucket. Take a turn, make one request, tell what the answer said."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots = anyio.CapacityLimiter(limits.in_flight)
        self._not_before = -math.inf
        self._next_token_at = -math.inf

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until a request may be made; hold while it is in flight."""
        # Borrowed by a name of its own: a task may make two requests of one bucket at a time.
        borrower = object()
        await self._slots.acquire_on_behalf_of(borrower)
        try:
            while (wait := self._wait_seconds()) > 0:  # noqa: ASYNC110  the time to wait is known, and may have grown
                await anyio.sleep(max(wait, _SHORTEST_SLEEP_SECONDS))
            self._spend()
            yield
        finally:
            self._slots.release_on_behalf_of(borrower)

    def rest(self, seconds: float) -> None:
        """Let nobody make a request for so long."""
        self._not_before = max(self._not_before, anyio.current_time() + seconds)
        # The timer holds this budget, so that a source which is started anew meanwhile finds it.
        asyncio.get_running_loop().call_later(seconds, lambda: self)

    @property
    def resting_seconds(self) -> float:
        """How long the vendor still wants us to rest."""
        return max(0.0, self._not_before - anyio.current_time())

    @property
    def per_second(self) -> float | None:
        """Sustained requests in a second that we allow ourselves; None: only the vendor's answers limit us."""
        return self._limits.per_second if math.isfinite(self._limits.per_second) else None

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return self._slots.borrowed_tokens

    def _wait_seconds(self) -> float:
        return max(self._not_before, self._next_token_at) - anyio.current_time()

    def _spend(self) -> None:
        # A bucket of `burst` tokens, kept as the moment at which it will be full enough again.
        if math.isfinite(self._limits.per_second):
            interval = 1.0 / self._limits.per_second
            full_at = anyio.current_time() - (self._limits.burst - 1) * interval
            self._next_token_at = max(self._next_token_at, full_at) + interval


class Budgets:
    """All budgets of the process, found by what the vendor counts by; gone with the last source that draws on them."""

    def __init__(self) -> None:
        self._budgets: WeakValueDictionary[tuple[str, str], Budget] = WeakValueDictionary()

    def get(self, limits: Limits, bucket: str) -> Budget:
        """The budget of this bucket."""
        key = (limits.counted_by, bucket)
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = Budget(limits)
        return budget
