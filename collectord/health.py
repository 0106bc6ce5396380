"""What is the matter, since when, and what to do: states of streams and sinks, and the health events they open.

A trouble opens one event when it begins and closes it when it ends; in between it is counted, not repeated. Events are
kept in the state store, so that a restart does not forget last night.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from isal.isal_zlib import crc32

from collectord import log
from collectord.errors import CollectordError, ErrorType, StoreError
from collectord.last_hour import LastHour

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from collectord.records import Notice
    from collectord.store import Store

WATCHED = ("StreamSilent", "StreamLagging", "RetentionAtRisk", "DeadLetters")
"""Warnings that come with the time that passes, not with a page: `collectord.watching` opens and closes them."""
RECENT_EVENTS = 200
"""Closed events kept in memory and in the store."""


class State(StrEnum):
    """States of a source and of its streams, in Sumo's words; `Paused` is ours."""

    PENDING = "Pending"
    STARTED = "Started"
    INITIALIZED = "Initialized"
    AUTHENTICATED = "Authenticated"
    COLLECTING = "Collecting"
    ERROR = "Error"
    STOPPING = "Stopping"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class Resource:
    """What an event is about."""

    type: str
    """`Source`, `Sink` or `Collector`."""
    id: int
    name: str


@dataclass(slots=True)
class StreamStatus:
    """How one stream is doing; written by its loop, read by everybody."""

    name: str
    interval_seconds: float
    state: State = State.PENDING
    error: CollectordError | None = None
    last_success_ms: int | None = None
    next_poll_ms: int | None = None
    complete_to_ms: int | None = None
    """Everything up to this time has been collected."""
    records_received: int = 0
    records_accepted: int = 0
    records_dropped: int = 0
    duplicates_suppressed: int = 0
    started_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    saved_ms: int | None = None
    """When its place was last saved before it started; None: never."""
    retention_seconds: float | None = None
    """How long the vendor keeps its records; None: not known."""
    last_hour: LastHour = field(default_factory=LastHour)
    """Records accepted."""

    def lag_seconds(self) -> float | None:
        """How far behind collecting is; None: nothing was collected yet."""
        return None if self.complete_to_ms is None else max(0.0, time.time() - self.complete_to_ms / 1000)


@dataclass(slots=True)
class SourceStatus:
    """How one source is doing: as its worst stream."""

    id: int
    name: str
    type: str
    streams: list[StreamStatus] = field(default_factory=list)
    override: State | None = None
    """A state of the whole source: before its streams run, while it stops or pauses."""
    error: CollectordError | None = None

    @property
    def state(self) -> State:
        """The source's state."""
        if self.override is not None:
            return self.override
        states = {stream.state for stream in self.streams}
        worst = [State.ERROR, State.PENDING, State.STARTED, State.INITIALIZED, State.AUTHENTICATED, State.COLLECTING]
        return next((state for state in worst if state in states), State.PENDING)

    def state_object(self) -> dict[str, Any]:
        """The state as the management API spells it."""
        shown: dict[str, Any] = {"state": self.state.value}
        failed = next((stream.error for stream in self.streams if stream.state is State.ERROR), self.error)
        if self.state is State.ERROR and failed is not None:
            shown |= describe(failed)
        return shown


@dataclass(slots=True)
class SinkStatus:
    """How one sink is doing."""

    name: str
    type: str
    error: CollectordError | None = None

    @property
    def state(self) -> str:
        """`Healthy` or `Error`."""
        return "Healthy" if self.error is None else "Error"

    @property
    def resource(self) -> Resource:
        """What health events call it; a sink's name is all its identity."""
        return Resource("Sink", 0, self.name)


def describe(error: CollectordError) -> dict[str, Any]:
    """An error as the `state` object of the management API has it."""
    info = error.message if not error.info else f"{error.message}: {error.info}"
    return {"errorType": error.error_type.value, "errorCode": error.code, "errorInfo": info}


@dataclass(slots=True)
class HealthEvent:
    """One trouble, from its beginning to its end."""

    id: str
    name: str
    severity: str
    resource: Resource
    place: str
    """The stream, where only one is concerned; else empty."""
    error: str
    description: str
    code: int | None
    info: str
    opened_ms: int
    count: int = 1
    closed_ms: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON holds it, in the store and in `health --json`."""
        return {
            "eventId": self.id,
            "eventName": self.name,
            "details": {
                "trackerId": self.name,
                "error": self.error,
                "description": self.description,
                **({"stream": self.place} if self.place else {}),
                **({"errorCode": self.code} if self.code is not None else {}),
                **({"errorInfo": self.info} if self.info else {}),
            },
            "resourceIdentity": {
                "id": f"{self.resource.id:016X}",
                "name": self.resource.name,
                "type": self.resource.type,
            },
            "eventTime": iso(self.opened_ms),
            "subsystem": "Collection",
            "severityLevel": self.severity,
            "count": self.count,
            "closedTime": iso(self.closed_ms),
        }


def iso(ms: int | None) -> str | None:
    """A moment as the API shows it."""
    if ms is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}Z"


NEXT_STEPS = {
    ErrorType.THIRD_PARTY_CONFIG: "Collecting has stopped until the source is changed or restarted. Nothing is lost: it"
    " goes on from its checkpoint.",
    ErrorType.THIRD_PARTY_GENERIC: "Collecting is tried again with growing waits and goes on from its checkpoint.",
    ErrorType.FIRST_PARTY_GENERIC: "What was collected waits on disk and is delivered when this is over.",
}
GIVEN_UP = (
    "It was tried for as long as `retry` says, and is not tried any more: restart the source when this is over. Nothing"
    " is lost: it goes on where it stopped."
)


class _Key(NamedTuple):
    """Of all that is the matter with one place, one trouble of a kind is open at a time."""

    resource: Resource
    place: str
    name: str


class HealthBoard:
    """All open and recent events; one for the whole daemon."""

    def __init__(self, store: Store) -> None:
        self.open_events: dict[_Key, HealthEvent] = {}
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_EVENTS)
        """Closed events as JSON objects, oldest first, those of past runs too."""
        self.on_change: list[Callable[[HealthEvent], Awaitable[None]]] = []
        """Called when an event opens and when it closes, e.g. to deliver it to a sink."""
        self._store = store
        self._log = log.get()

    async def load(self) -> None:
        """Remember the events of past runs; what was open when the process ended is closed now."""
        now = time.time_ns() // 1_000_000
        for text in await self._store.write(lambda connection: _load(connection, now), urgent=True):
            event = orjson.loads(text)
            self.recent.append(event | {"closedTime": event["closedTime"] or iso(now)})

    async def open(self, resource: Resource, error: CollectordError, *, place: str = "") -> None:
        """Note a failure: opens an event, or counts one that is open."""
        kind = error.error_type
        await self._note(_Key(resource, place, kind.health_event), "Error", error, NEXT_STEPS[kind])

    def give_up(self, resource: Resource, error: CollectordError, *, place: str = "") -> None:
        """Say of an open failure that it is not tried any more."""
        event = self.open_events.get(_Key(resource, place, error.error_type.health_event))
        if event is not None:
            event.description = _described(error, GIVEN_UP)
        self._log.error("given up", resource=resource.name, stream=place or None, error=error.message)

    async def warn(
        self, resource: Resource, notices: Iterable[Notice], *, place: str = "", among: Collection[str] | None = None
    ) -> None:
        """Open a Warning for each notice, and close those of this place that are not among them.

        `among` names those that may be closed; None: all but the watched ones, which are another's to close.
        """
        named = {notice.name: notice for notice in notices}
        for key, event in list(self.open_events.items()):
            ours = key.name not in WATCHED if among is None else key.name in among
            if key[:2] == (resource, place) and event.severity == "Warning" and ours and key.name not in named:
                await self._close(key)
        for notice in named.values():
            await self._note(_Key(resource, place, notice.name), "Warning", CollectordError(notice.text), "")

    async def close(self, resource: Resource, *, place: str = "") -> None:
        """Note that all is well here: closes the errors of this place."""
        for key, event in list(self.open_events.items()):
            if key[:2] == (resource, place) and event.severity == "Error":
                await self._close(key)

    async def close_all(self, resource: Resource, *, but: Collection[str] = ()) -> None:
        """Close whatever is open about a resource that is gone, paused or started anew, but for some places."""
        for key in [key for key in self.open_events if key.resource == resource and key.place not in but]:
            await self._close(key)

    async def _note(self, key: _Key, severity: str, error: CollectordError, next_step: str) -> None:
        known = self.open_events.get(key)
        if known is not None:
            known.count += 1
            known.error, known.code, known.info = error.message, error.code, error.info
            known.description = _described(error, next_step)
            return
        event = HealthEvent(
            uuid.uuid4().hex,
            key.name,
            severity,
            key.resource,
            key.place,
            error.message,
            _described(error, next_step),
            error.code,
            error.info,
            time.time_ns() // 1_000_000,
        )
        self.open_events[key] = event
        say = self._log.error if severity == "Error" else self._log.warning
        say(
            "health event opened",
            health_event=key.name,
            resource=key.resource.name,
            stream=key.place or None,
            error=error.message,
            code=error.code,
            info=error.info or None,
        )
        await self._changed(event)

    async def _close(self, key: _Key) -> None:
        event = self.open_events.pop(key, None)
        if event is None:  # another task was quicker
            return
        event.closed_ms = time.time_ns() // 1_000_000
        self.recent.append(event.as_dict())
        self._log.info(
            "health event closed",
            health_event=event.name,
            resource=event.resource.name,
            stream=event.place or None,
            seconds=round((event.closed_ms - event.opened_ms) / 1000, 1),
            count=event.count,
        )
        await self._changed(event)

    async def _changed(self, event: HealthEvent) -> None:
        text = orjson.dumps(event.as_dict()).decode()
        row = (event.id, event.opened_ms, event.closed_ms, text, crc32(text.encode()))
        try:
            await self._store.write(lambda connection: _save(connection, row))
        except (
            StoreError
        ) as error:  # the trouble may be the store itself; it is on the board and in the log all the same
            self._log.warning("health event not saved", error=error.message)
        for hear in self.on_change:
            await hear(event)


def _described(error: CollectordError, next_step: str) -> str:
    return f"{error.message}. {next_step}".strip()


def _save(connection: sqlite3.Connection, row: tuple[str, int, int | None, str, int]) -> None:
    connection.execute("INSERT OR REPLACE INTO health_event VALUES (?,?,?,?,?)", row)
    connection.execute(
        "DELETE FROM health_event WHERE closed_ms IS NOT NULL AND id NOT IN"
        " (SELECT id FROM health_event ORDER BY opened_ms DESC LIMIT ?)",
        (RECENT_EVENTS,),
    )


def _load(connection: sqlite3.Connection, now: int) -> list[str]:
    connection.execute("UPDATE health_event SET closed_ms = ? WHERE closed_ms IS NULL", (now,))
    rows = connection.execute("SELECT event, crc FROM health_event ORDER BY opened_ms")
    return [event for event, crc in rows if crc32(event.encode()) == crc]
