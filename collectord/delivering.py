"""One sink's loops: for each source that has something waiting, a lane that delivers its batches in order.

A batch goes from the outbox's hands to the sink at once while a lane keeps up, and is read back from disk after
trouble. While the sink is away one lane asks for all of them.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from collectord.backoff import GaveUp, Nap, retry
from collectord.errors import BatchRejected, BatchTooLarge, SinkRefused, SinkUnavailable, StoreError
from collectord.settings import MINUTE, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from collectord.backoff import Failure
    from collectord.errors import CollectordError
    from collectord.health import HealthBoard, SinkStatus
    from collectord.outbox import Entry, Outbox
    from collectord.records import Batch
    from collectord.sink import Sink

T = TypeVar("T")

SENDS_AT_A_TIME = 8
"""Requests in flight to one sink; each lane has one."""
IN_MEMORY_BYTES = 8 * 2**20
"""Batches held for one sink beside those on disk."""
READ_AHEAD_BYTES = 2 * 2**20
STORE_RETRY = RetryPolicy(max=MINUTE, then=MINUTE)


class Lane:
    """What waits for one sink from one source."""

    __slots__ = ("nap", "newest", "queue", "read_to", "source")

    def __init__(self, source: str, *, read_to: int, newest: int) -> None:
        self.source = source
        self.nap = Nap()
        self.queue: deque[Entry] = deque()
        self.read_to = read_to
        """Everything up to this sequence number has been in `queue`."""
        self.newest = newest
        """Entries up to this one are in the outbox."""


class Delivery:
    """Delivers to one sink."""

    def __init__(
        self, sink: Sink, policy: RetryPolicy, outbox: Outbox, health: HealthBoard, status: SinkStatus
    ) -> None:
        self.status = status
        self._sink = sink
        self._policy = policy
        self._outbox = outbox
        self._health = health
        self.resource = status.resource
        self.ended = anyio.Event()
        self._lanes: dict[str, Lane] = {}
        self._queued_bytes = 0
        self._successes = 0
        self._slots = anyio.CapacityLimiter(SENDS_AT_A_TIME)
        self._asking = anyio.Lock()
        self._resumed = anyio.Event()
        self._group = anyio.create_task_group()
        self._flights: set[anyio.CancelScope] = set()

    async def run(self) -> None:
        """Deliver until stopped: first what waits on disk, then what the outbox offers."""
        name = self.status.name
        try:
            await self._run(name)
        finally:
            self._outbox.detach(name)
            self.ended.set()

    async def _run(self, name: str) -> None:
        async with self._group:
            # Offers wait until we know what is on disk, lest something new overtake something old.
            for source, newest in await self._outbox.attach(name, self._offer):
                self._open_lane(Lane(source, read_to=0, newest=newest))
            await anyio.sleep_forever()

    def stop(self) -> None:
        """Ask: waiting ends at once, a batch in flight may arrive and be acknowledged."""
        self._group.cancel_scope.cancel()

    def cut(self) -> None:
        """Enforce: what is in flight is broken off; never acknowledged, it is sent again another time."""
        for flight in self._flights:
            flight.cancel()

    def retry_now(self) -> None:
        """Try a sink that refused, or that is waited for, again at once."""
        self._resumed.set()
        self._resumed = anyio.Event()
        for lane in self._lanes.values():
            lane.nap.wake()

    def _offer(self, entries: list[Entry]) -> None:
        source = entries[0].key.source
        lane = self._lanes.get(source)
        if lane is None:  # drained before: nothing older than these waits for it
            lane = Lane(source, read_to=entries[0].seq - 1, newest=entries[0].seq - 1)
            self._open_lane(lane)
        if lane.read_to == lane.newest and self._queued_bytes < IN_MEMORY_BYTES:
            self._enqueue(lane, entries)
        lane.newest = entries[-1].seq

    def _open_lane(self, lane: Lane) -> None:
        self._lanes[lane.source] = lane
        self._group.start_soon(self._drain, lane)

    def _enqueue(self, lane: Lane, entries: list[Entry]) -> None:
        lane.queue.extend(entries)
        lane.read_to = entries[-1].seq
        self._queued_bytes += sum(len(entry.batch.body) for entry in entries)

    async def _drain(self, lane: Lane) -> None:
        while (entry := await self._next(lane)) is not None:
            await self._hand_over(lane, entry, entry.batch)
            await self._kept(lane, partial(self._outbox.acknowledge, entry))
        del self._lanes[lane.source]

    async def _next(self, lane: Lane) -> Entry | None:
        while not lane.queue:
            if lane.read_to >= lane.newest:
                return None
            read = partial(self._outbox.waiting, self.status.name, lane.source, lane.read_to, READ_AHEAD_BYTES)
            entries = await self._kept(lane, read)
            if entries:
                self._enqueue(lane, entries)
            else:
                lane.read_to = lane.newest
        entry = lane.queue.popleft()
        self._queued_bytes -= len(entry.batch.body)
        return entry

    async def _hand_over(self, lane: Lane, entry: Entry, batch: Batch) -> None:
        """Deliver a batch, or what is left of it when the sink refuses parts for good."""
        try:
            await self._send(lane, batch)
        except (BatchTooLarge, BatchRejected) as refusal:
            if batch.count > 1:
                for half in batch.split():
                    await self._hand_over(lane, entry, half)
            else:
                await self._kept(lane, partial(self._outbox.bury, entry, batch, refusal))

    async def _send(self, lane: Lane, batch: Batch) -> None:
        while True:
            failed: list[SinkUnavailable] = []
            successes = self._successes
            if not self._asking.locked():
                try:
                    return await self._once(batch)
                except SinkUnavailable as error:
                    failed.append(error)
                except SinkRefused as error:
                    await self._refused(error)
                    continue
            try:
                async with self._asking:
                    if self._successes != successes:  # another lane found the sink well while we waited
                        failed.clear()
                    return await self._ask_until_well(lane, batch, failed)
            except SinkRefused as error:
                await self._refused(error)
            except GaveUp as gave_up:
                await self._refused(gave_up.error)

    async def _ask_until_well(self, lane: Lane, batch: Batch, failed: list[SinkUnavailable]) -> None:
        """Try again and again; an error in `failed` is an attempt that was made already."""

        async def attempt() -> None:
            if failed:
                raise failed.pop()
            await self._once(batch)

        await retry(attempt, self._policy, on=SinkUnavailable, sleep=lane.nap.sleep, report=self._report)

    async def _once(self, batch: Batch) -> None:
        async with self._slots:
            with anyio.CancelScope(shield=True) as flight:
                self._flights.add(flight)
                try:
                    await self._sink.send(batch)
                finally:
                    self._flights.discard(flight)
            if flight.cancelled_caught:  # cut: our own cancellation is due here
                await anyio.sleep_forever()
        self._successes += 1
        if self.status.error is not None:
            self.status.error = None
            await self._health.close(self.resource)

    async def _refused(self, error: CollectordError) -> None:
        await self._trouble(error)
        await self._resumed.wait()

    async def _report(self, failure: Failure) -> None:
        await self._trouble(failure.error)

    async def _trouble(self, error: CollectordError) -> None:
        self.status.error = error
        await self._health.open(self.resource, error)

    async def _kept(self, lane: Lane, operation: Callable[[], Awaitable[T]]) -> T:
        return await retry(operation, STORE_RETRY, on=StoreError, sleep=lane.nap.sleep, report=self._report)
