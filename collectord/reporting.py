"""Delivers health events to sinks: as batches of a source that is nobody's, by the outbox like everything else."""

from __future__ import annotations

import time
import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from collectord import log
from collectord.backoff import Nap, retry
from collectord.errors import StoreError
from collectord.health import iso
from collectord.outbox import Acceptance, StreamKey
from collectord.records import Metadata, Record
from collectord.settings import MINUTE, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collectord.backoff import Failure
    from collectord.health import HealthEvent
    from collectord.outbox import Outbox
    from collectord.settings import CollectorSettings
    from collectord.sink import Sink

KEY = StreamKey("", "health")
"""No source has an empty name."""
SOURCE = "Health Events"
MAX_WAITING = 1000
"""Events in memory while the outbox takes none; the oldest go first."""
COLLECTOR_ID = f"{1:016X}"
_RETRY = RetryPolicy(max=MINUTE, then=MINUTE)
_LAST_WORDS_SECONDS = 1.0


class Reporter:
    """Hears of every health event and hands it on."""

    def __init__(self, outbox: Outbox, sinks: Mapping[str, Sink]) -> None:
        self._outbox = outbox
        self._sinks = sinks
        """The sinks of the daemon as they are now."""
        self._chosen: tuple[str, ...] = ()
        self._collector: CollectorSettings | None = None
        self._waiting: deque[Record] = deque(maxlen=MAX_WAITING)
        self._noted = anyio.Event()
        self._turn = anyio.Lock()
        self._nap = Nap()

    def follow(self, collector: CollectorSettings, sinks: tuple[str, ...]) -> None:
        """Deliver to these sinks from now on, none: to nobody."""
        self._collector = collector
        self._chosen = sinks

    async def note(self, event: HealthEvent) -> None:
        """Hear that an event opened or closed; never waits, since it may be the outbox that is in trouble."""
        if not self._chosen or self._collector is None:
            return
        shown = log_form(event, self._collector.name)
        if len(self._waiting) == MAX_WAITING:
            log.get().warning("health event not delivered: too many wait", event_id=shown["eventId"])
        time_ms = event.opened_ms if event.closed_ms is None else event.closed_ms
        self._waiting.append(Record(orjson.dumps(shown), shown["eventId"], time_ms))
        self._noted.set()

    async def run(self) -> None:
        """Hand on what is noted, until cancelled."""
        while True:
            await self._noted.wait()
            self._noted = anyio.Event()
            await self._hand_on()

    async def finish(self) -> None:
        """Hand on the last events; what the outbox does not take at once is in the store's list of events only."""
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            await self._hand_on()

    async def _hand_on(self) -> None:
        async with self._turn:
            while self._waiting:
                records = list(self._waiting)
                batches = {name: self._sinks[name].encode(records, self._metadata()) for name in self._names()}
                keep = partial(self._outbox.accept, Acceptance(KEY, {}, batches))
                await retry(keep, _RETRY, on=StoreError, sleep=self._nap.sleep, report=_report)
                for record in records:
                    if self._waiting and self._waiting[0] is record:  # else it was pushed out meanwhile
                        self._waiting.popleft()

    def _names(self) -> list[str]:
        return [name for name in self._chosen if name in self._sinks]

    def _metadata(self) -> Metadata:
        assert self._collector is not None  # nothing is noted before `follow`
        now = time.time_ns() // 1_000_000
        fields = self._collector.fields_schema.kept(self._collector.custom_fields)
        return Metadata(self._collector.name, SOURCE, "Collection", KEY.stream, now, fields=fields)


async def _report(failure: Failure) -> None:
    # No health event: it would be the next to wait here.
    log.get().warning("health events wait for the state store", error=failure.error.message)


def log_form(event: HealthEvent, collector: str) -> dict[str, Any]:
    """The event as Sumo writes it into its index of system events: one for its beginning, one for its end."""
    began = uuid.UUID(hex=event.id)
    is_open = event.closed_ms is None
    details = {"trackerId": event.name, "name": event.error, "description": event.description, **texts(event)}
    if event.closed_ms is not None:
        seconds = (event.closed_ms - event.opened_ms) / 1000
        details["description"] = f"Over after {seconds:.1f} s, seen {event.count} times: {event.error}"
        details["openedEventId"] = str(began)
    is_source = event.resource.type == "Source"
    return {
        "status": "UnHealthy" if is_open else "Healthy",
        "details": details,
        "eventType": "Health-Change",
        "severityLevel": event.severity,
        "accountId": "0" * 16,
        "eventId": str(began if is_open else uuid.uuid5(began, "Healthy")),
        "eventName": event.name,
        "eventTime": iso(event.opened_ms if is_open else event.closed_ms),
        "eventFormatVersion": "1.0",
        "subsystem": "Collection",
        "resourceIdentity": {
            **({"collectorId": COLLECTOR_ID, "collectorName": collector} if is_source else {}),
            "id": f"{event.resource.id:016X}",
            "name": event.resource.name,
            "type": f"{event.resource.type}Resource",
        },
    }


def texts(event: HealthEvent) -> dict[str, str]:
    """What both forms say besides what they must, as text."""
    said = {
        "stream": event.place,
        "errorCode": "" if event.code is None else str(event.code),
        "errorInfo": event.info,
        "count": str(event.count) if event.count > 1 else "",
    }
    return {name: text for name, text in said.items() if text}
