"""One sink's loops: for each source that has something waiting, a lane that delivers its batches in order.

A batch goes from the outbox's hands to the sink at once while a lane keeps up, and is read back from disk after
trouble. Lanes take turns, so that neither memory nor what one sink is asked at a time depends on how many there are.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from collectord.backoff import MAX_RETRY_AFTER_SECONDS, GaveUp, Nap, retry
from collectord.errors import BatchRejected, BatchTooLarge, SinkRefused, SinkUnavailable, StoreError
from collectord.settings import MINUTE, RetryPolicy
from collectord.sink import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from collectord.backoff import Failure
    from collectord.errors import CollectordError, SinkError
    from collectord.health import HealthBoard, SinkStatus
    from collectord.outbox import Entry, Outbox
    from collectord.records import Batch
    from collectord.sink import Sink

T = TypeVar("T")

SEATS = 8
"""Lanes that hold a batch in hand, or ask a sink that is away, at a time."""
IN_MEMORY_BYTES = 8 * 2**20
"""Batches held for one sink beside those on disk, but for those in hand."""
READ_AHEAD_BYTES = 2 * 2**20
GATHER_SECONDS = 0.05
"""So long an acknowledgement waits for others: a commit costs much, and after a crash only these are sent again."""
MAX_UNACKNOWLEDGED = 32
"""Batches that the sink has and the disk too: then the lanes wait."""
STORE_RETRY = RetryPolicy(max=MINUTE, then=MINUTE)
_TAKEN = Outcome()
_SHORTEST_SLEEP_SECONDS = 0.001  # what is left by rounding must not be waited for in circles


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


class Parcel:
    """What is left of a batch that a sink takes in parts, and what it refused of it."""

    __slots__ = ("batch", "refused")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.refused: list[tuple[Batch, SinkError]] = []


class _RefusedAnother(Exception):
    """While this lane waited, the sink refused another one, or that one gave up."""


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
        self._sent: list[int] = []
        """Numbers of the entries that the sink has, and the disk still too."""
        self._something_sent = anyio.Event()
        self._acknowledged = anyio.Event()
        self._seats = anyio.CapacityLimiter(SEATS)
        self._warned = False
        """The sink had something to say about the last batch that it took."""
        self._failing: set[Lane] = set()
        """Lanes whose last attempt, at the sink or at the store, failed."""
        self._refusal: CollectordError | None = None
        """Why nothing is sent until somebody says so."""
        self._not_before = -math.inf
        """The sink asked for rest until then, on the loop's clock."""
        self._resumed = anyio.Event()
        self._group = anyio.create_task_group()
        self._flights: set[anyio.CancelScope] = set()

    async def run(self) -> None:
        """Deliver until stopped: first what waits on disk, then what the outbox offers."""
        name = self.status.name
        try:
            await self._run(name)
        finally:
            self._outbox.detach(name)  # first: what is offered to a group that has ended would end the one who offers
            with contextlib.suppress(StoreError):  # else they are sent again
                await self._acknowledge()
            self.ended.set()

    async def _run(self, name: str) -> None:
        async with self._group:
            start = Lane("", read_to=0, newest=0)
            await self._kept(start, partial(self._attach, name))
            await self._well(start)
            while True:
                await self._something_sent.wait()
                await anyio.sleep(GATHER_SECONDS)
                await self._kept(start, self._acknowledge)
                await self._well(start)

    async def _attach(self, name: str) -> None:
        # No other task runs between the two: an offer finds the lane of what is on disk, and does not overtake it.
        for source, newest in await self._outbox.attach(name, self._offer):
            self._open_lane(Lane(source, read_to=0, newest=newest))

    def stop(self) -> None:
        """Ask: waiting ends at once, a batch in flight may arrive and be acknowledged."""
        self._group.cancel_scope.cancel()

    def cut(self) -> None:
        """Enforce: what is in flight is broken off; never acknowledged, it is sent again another time."""
        for flight in self._flights:
            flight.cancel()

    def retry_now(self) -> None:
        """Try a sink that refused, or that is waited for, again at once."""
        self._refusal = None
        self._not_before = -math.inf
        self._resumed.set()
        self._resumed = anyio.Event()
        self._wake()

    def _wake(self) -> None:
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
        while self._has_more(lane):
            async with self._seats:
                await self._deliver_next(lane)
        del self._lanes[lane.source]

    def _has_more(self, lane: Lane) -> bool:
        return bool(lane.queue) or lane.read_to < lane.newest

    async def _deliver_next(self, lane: Lane) -> None:
        if not lane.queue:
            await self._read(lane)
        if lane.queue:
            entry = lane.queue.popleft()
            self._queued_bytes -= len(entry.batch.body)
            buried = await self._hand_over(lane, entry, entry.batch)
            self._outbox.count_delivered(entry, buried=buried)
            self._sent.append(entry.seq)
            self._something_sent.set()
        await self._well(lane)  # not before: a stop must not come between the sink's answer and this
        while len(self._sent) > MAX_UNACKNOWLEDGED:
            await self._acknowledged.wait()

    async def _acknowledge(self) -> None:
        """Let the outbox forget what the sink has."""
        self._something_sent = anyio.Event()
        if sent := tuple(self._sent):
            await self._outbox.acknowledge(*sent)
            del self._sent[: len(sent)]
            self._acknowledged.set()
            self._acknowledged = anyio.Event()

    async def _read(self, lane: Lane) -> None:
        newest = lane.newest  # while we read, there may be more
        room = READ_AHEAD_BYTES if self._queued_bytes + READ_AHEAD_BYTES <= IN_MEMORY_BYTES else 1
        read = partial(self._outbox.waiting, self.status.name, lane.source, lane.read_to, room)
        entries = await self._kept(lane, read)
        if entries:
            self._enqueue(lane, entries)
        else:
            lane.read_to = newest

    async def _hand_over(self, lane: Lane, entry: Entry, batch: Batch) -> int:
        """Deliver a batch; returns how many records of it were buried because the sink refuses them for good."""
        parcel = Parcel(batch)
        buried = 0
        try:
            await self._send(lane, parcel)
        except (BatchTooLarge, BatchRejected) as refusal:
            if parcel.batch.count > 1:
                for half in parcel.batch.split():
                    buried += await self._hand_over(lane, entry, half)
            else:
                parcel.refused.append((parcel.batch, refusal))
        if parcel.refused:
            await self._kept(lane, partial(self._outbox.bury, entry, parcel.refused))
        return buried + sum(part.count for part, _ in parcel.refused)

    async def _send(self, lane: Lane, parcel: Parcel) -> None:
        """Send until the sink has it, or refuses what is left of it."""
        while True:
            while self._refusal is not None:
                await self._resumed.wait()
            try:
                return await self._retried(lane, partial(self._once, lane, parcel), self._policy, SinkUnavailable)
            except _RefusedAnother:
                continue
            except SinkRefused as error:
                self._refusal = error
                await self._trouble(lane, error)
            except GaveUp as gave_up:
                self._refusal = gave_up.error
                await self._trouble(lane, gave_up.error)
                self._health.give_up(self.resource, gave_up.error)

    async def _once(self, lane: Lane, parcel: Parcel) -> None:
        while (rest := self._not_before - anyio.current_time()) > 0:
            await lane.nap.sleep(max(rest, _SHORTEST_SLEEP_SECONDS))
        if self._refusal is not None:
            raise _RefusedAnother
        with anyio.CancelScope(shield=True) as flight:
            self._flights.add(flight)
            try:
                await self._exchange(parcel)
            except SinkUnavailable as error:
                self._rest(error)
                raise
            finally:
                self._flights.discard(flight)
        if flight.cancelled_caught:  # cut: our own cancellation is due here
            await anyio.sleep_forever()

    async def _exchange(self, parcel: Parcel) -> None:
        """Hand over what is left, as long as nothing has to wait."""
        while True:
            outcome = await self._sink.send(parcel.batch) or _TAKEN
            parcel.refused += outcome.refused
            if outcome.notices or self._warned:
                self._warned = bool(outcome.notices)
                await self._health.warn(self.resource, outcome.notices)
            if outcome.rest is None:
                return
            parcel.batch = outcome.rest
            if outcome.because is not None:
                raise outcome.because

    def _rest(self, error: SinkUnavailable) -> None:
        """What the sink asks of one lane it asks of all."""
        if error.retry_after is not None:
            rest = min(error.retry_after, MAX_RETRY_AFTER_SECONDS)
            self._not_before = max(self._not_before, anyio.current_time() + rest)

    async def _kept(self, lane: Lane, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._retried(lane, operation, STORE_RETRY, StoreError)

    async def _retried(
        self, lane: Lane, attempt: Callable[[], Awaitable[T]], policy: RetryPolicy, on: type[CollectordError]
    ) -> T:
        async def report(failure: Failure) -> None:
            await self._trouble(lane, failure.error)

        return await retry(attempt, policy, on=on, sleep=lane.nap.sleep, report=report)

    async def _well(self, lane: Lane) -> None:
        if lane not in self._failing:
            return
        self._failing.discard(lane)
        self._wake()  # the others need not wait to see for themselves
        if not self._failing:
            self.status.error = None
            await self._health.close(self.resource)

    async def _trouble(self, lane: Lane, error: CollectordError) -> None:
        self._failing.add(lane)
        self.status.error = error
        await self._health.open(self.resource, error)
