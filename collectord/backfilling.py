"""A past window of one stream, collected beside its live cursor: bounded, resumable, within the same rate budget.

A backfill is its checkpoint: as long as that one says that the window is not done, it goes on, also after a restart.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from collectord import log
from collectord.collecting import Collector, Surroundings
from collectord.errors import CollectordError
from collectord.health import State, StreamStatus, iso
from collectord.outbox import Acceptance, StreamKey
from collectord.records import RESTORED
from collectord.source import Backfillable

if TYPE_CHECKING:
    from collectord.outbox import Outbox
    from collectord.records import Cursor, Metadata, Page
    from collectord.source import Stream

SUFFIX = "@backfill"
"""Behind a stream's name it is the name of its backfill's checkpoint."""
RATE_PACE_SECONDS = 1.0


class NoBackfill(Exception):
    """This stream cannot be asked for its past; the message says why."""


class BackfillBroken(CollectordError):
    """A mistake in this program met a backfill; the source's restart tries it again."""


def key_of(source: str, stream: str) -> StreamKey:
    """The name under which a stream's backfill saves its place."""
    return StreamKey(source, stream + SUFFIX)


def bounded(stream: Stream, name: str, since_ms: int, until_ms: int) -> Stream:
    """The same feed between two times; raises NoBackfill."""
    if not isinstance(stream, Backfillable):
        raise NoBackfill(
            f"{name} is an inventory: it has no past, only what there is now; poll the source to collect it anew"
        )
    return stream.between(since_ms, until_ms)


def new_cursor(since_ms: int, until_ms: int, asked: str) -> Cursor:
    """Where a backfill begins; `asked`: the operator's own words, by which the same command is known again."""
    return {"since_ms": since_ms, "until_ms": until_ms, "asked": asked, "records": 0, "reached_ms": since_ms}


class Window:
    """A bounded stream whose cursor also says how far it has come."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of the window; see `Stream.fetch`."""
        assert cursor is not None  # written before the backfill begins
        place = cursor.get("place")
        if place is not None and cursor.get(RESTORED):
            place = {**place, RESTORED: True}
        page = await self._stream.fetch(place)
        newest = max((record.time_ms for record in page.records if record.time_ms is not None), default=0)
        reached = max(cursor["reached_ms"], page.complete_to_ms or newest)
        following = {
            **{key: value for key, value in cursor.items() if key not in {RESTORED, "halted"}},
            "place": page.cursor,
            "records": cursor["records"] + len(page.records),
            "reached_ms": min(reached, cursor["until_ms"]) if page.more else cursor["until_ms"],
        }
        if not page.more:
            following["done"] = True
        return replace(page, cursor=following)

    async def probe(self) -> str:
        """See `Stream.probe`."""
        return await self._stream.probe()


class Backfill:
    """One window that is being collected."""

    def __init__(self, key: StreamKey, stream: Stream, metadata: Metadata, around: Surroundings) -> None:
        self.key = key
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.error: CollectordError | None = None
        self._outbox = around.outbox
        self._health = around.health
        self._resource = around.resource
        self._status = StreamStatus(key.stream, RATE_PACE_SECONDS, State.INITIALIZED)
        self._collector = Collector(key, Window(stream), metadata, self._status, around)
        self._began = (time.monotonic(), *_progress(around.outbox, key))

    async def run(self) -> None:
        """Collect until the window is done, until cancelled, or until collecting must stop."""
        try:
            with self.scope:
                self.error = await self._collector.run_once()
        except Exception:  # noqa: BLE001  our mistake stops the backfill, and not the live stream beside it
            log.get().exception("internal error", source=self.key.source, stream=self.key.stream)
            self.error = self._status.error = BackfillBroken("an internal error of collectord stopped it; see its log")
        finally:
            self.ended.set()
            if self.error is None:
                with anyio.CancelScope(shield=True):
                    await self._health.close(self._resource, place=self.key.stream)

    async def halt(self) -> None:
        """Stop, and stay stopped until the same backfill is asked for again."""
        self.scope.cancel()
        await self.ended.wait()
        cursor = self._outbox.checkpoint(self.key)
        if cursor is not None and not cursor.get("done"):
            await self._outbox.accept(Acceptance(self.key, {**cursor, "halted": True}))

    def pace(self) -> dict[str, Any]:
        """How fast it is, and how long it still takes; None where that is not known yet."""
        at, records, done = self._began
        seconds = time.monotonic() - at
        records_now, done_now = _progress(self._outbox, self.key)
        left = seconds * (1 - done_now) / (done_now - done) if done_now > done else None
        return {
            "records_per_second": round((records_now - records) / seconds, 1) if seconds > 0 else None,
            "seconds_left": None if left is None else round(left, 1),
            "error": None if self._status.error is None else self._status.error.message,
        }


def _progress(outbox: Outbox, key: StreamKey) -> tuple[int, float]:
    """Records so far, and the part of the window that is done, of 1."""
    cursor = outbox.checkpoint(key)
    if cursor is None:
        return 0, 0.0
    whole = cursor["until_ms"] - cursor["since_ms"]
    return cursor["records"], (cursor["reached_ms"] - cursor["since_ms"]) / whole if whole > 0 else 1.0


def shown(outbox: Outbox, stream: str, key: StreamKey, running: Backfill | None) -> dict[str, Any] | None:
    """A backfill as the API has it; None: there was none."""
    cursor = outbox.checkpoint(key)
    if cursor is None:
        return None
    records, done = _progress(outbox, key)
    if cursor.get("done"):
        state = "Done"
    elif cursor.get("halted"):
        state = "Halted"
    elif running is None or running.error is not None:
        state = "Stopped"
    else:
        state = "Collecting"
    return {
        "stream": stream,
        "state": state,
        "since": iso(cursor["since_ms"]),
        "until": iso(cursor["until_ms"]),
        "reached": iso(cursor["reached_ms"]),
        "fraction": round(done, 4),
        "records": records,
        **({} if running is None else running.pace()),
    }
