"""What a simulator and the sink have in common: a port that can go away, faults on demand, violations, counters."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from collectord.demo.exchange import Call
from collectord.demo.fault_plan import FaultPlan
from collectord.demo.faults import CHAOS, Fault
from collectord.demo.loopback import Handler, Loopback


class Served:
    """A server on a loopback port that `handler` answers for."""

    def __init__(self, handler: Handler) -> None:
        self.violations: list[str] = []
        """What the client did wrong; must be empty at the end of every test."""
        self.counters: Counter[str] = Counter()
        self.faults = FaultPlan()
        self._loopback = Loopback(handler)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen until the block ends; gives the base URL. Port 0 = any free one."""
        async with self._loopback.serve(port) as base_url:
            yield base_url

    @property
    def base_url(self) -> str:
        return self._loopback.base_url

    @property
    def port(self) -> int:
        return self._loopback.port

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Serve HTTPS; to be called before it serves."""
        self._loopback.tls = context

    async def go_down(self) -> None:
        """Refuse connections until `come_back`, which is on the same port."""
        await self._loopback.stop()

    async def come_back(self) -> None:
        await self._loopback.start()

    def put_before(self, wrap: Callable[[Handler], Handler]) -> None:
        """Let a control endpoint stand before this server; to be called before it serves."""
        self._loopback.put_before(wrap)

    def fail(
        self,
        fault: Fault,
        *,
        path: str = "*",
        times: int | None = 1,
        after: int = 0,
        when: Callable[[Call], bool] | None = None,
    ) -> None:
        """Play `fault` to the next `times` requests on `path` (`*` = anything), after letting `after` of them pass."""
        self.faults.add(fault, path=path, times=times, after=after, when=when)

    def chaos(self, rate: float, seed: int = 0, kinds: Sequence[Fault] = CHAOS) -> None:
        """From now on every request meets a random fault with this probability, the same ones for the same seed."""
        self.faults.chaos(rate, seed, kinds)
