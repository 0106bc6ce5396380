"""Wanted sources ↔ running tasks: starts, stops and restarts, and touches nothing that need not change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from collectord import log
from collectord.backfilling import Backfill, NoBackfill, bounded, key_of
from collectord.collecting import Collector, Surroundings
from collectord.errors import CollectordError, SourceRefused
from collectord.health import Resource, SourceStatus, State, StreamStatus
from collectord.metadata import metadata_of
from collectord.outbox import Acceptance, StreamKey
from collectord.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from anyio.abc import TaskGroup

    from collectord.auth import Authorization
    from collectord.client import Client
    from collectord.health import HealthBoard
    from collectord.limits import Limits
    from collectord.outbox import Outbox
    from collectord.records import Cursor, Metadata
    from collectord.settings import CollectorSettings, SourceSettings
    from collectord.sink import Sink
    from collectord.source import Connect, SourceType, Stream

STARTS_PER_SECOND = 20.0
"""Sources that begin to poll in one second; a thousand begin within fifty."""
AFTER_MISTAKE_SECONDS = 60.0


class InternalError(CollectordError):
    """A mistake in this program met a source; the source is started anew."""


@dataclass(slots=True)
class Running:
    """One source that runs."""

    settings: SourceSettings
    status: SourceStatus
    collectors: list[Collector] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    backfills: dict[str, Backfill] = field(default_factory=dict)
    """By stream; those that ended in this run as well."""
    group: TaskGroup | None = None
    """Of its streams, while it collects."""
    refusal: SourceRefused | None = None
    """What stopped all of its streams."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def resource(self) -> Resource:
        """What health events call it."""
        return Resource("Source", self.status.id, self.status.name)

    @property
    def is_settled(self) -> bool:
        """Whether it is right that its task has ended."""
        return self.status.state in {State.ERROR, State.PAUSED, State.STOPPING}


@dataclass(frozen=True, slots=True)
class Difference:
    """What a reload did, by source name."""

    started: list[str]
    restarted: list[str]
    stopped: list[str]
    untouched: int

    def __str__(self) -> str:
        parts = [f"{len(self.started)} started", f"{len(self.restarted)} restarted", f"{len(self.stopped)} stopped"]
        return ", ".join([*parts, f"{self.untouched} untouched"])


class Supervisor:
    """Runs the sources."""

    def __init__(  # noqa: PLR0913  all that sources need, assembled in one place
        self,
        outbox: Outbox,
        health: HealthBoard,
        sinks: Mapping[str, Sink],
        types: Mapping[str, SourceType],
        connect_for: Callable[[SourceSettings], Connect],
        *,
        paused: Collection[str] = (),
    ) -> None:
        self.running: dict[str, Running] = {}
        self._outbox = outbox
        self._health = health
        self._sinks = sinks
        """The sinks of the daemon as they are now: a sink that changes needs no source to start anew."""
        self._types = types
        self._connect_for = connect_for
        self._paused = paused
        """Names of the sources that shall not collect now; whoever gave them may change them."""
        self._group = anyio.create_task_group()
        self._turn = anyio.Lock()
        """A reload and a command at the same time would start a source twice."""
        self._collector: CollectorSettings | None = None

    async def run(self) -> None:
        """Be there for the sources until cancelled."""
        async with self._group:
            await anyio.sleep_forever()

    async def apply(self, wanted: Mapping[str, SourceSettings], collector: CollectorSettings) -> Difference:
        """Make what runs be what is wanted: stop first, start later; a source in `Error` starts anew."""
        async with self._turn:
            return await self._apply(wanted, collector)

    async def _apply(self, wanted: Mapping[str, SourceSettings], collector: CollectorSettings) -> Difference:
        everything = collector != self._collector
        self._collector = collector
        gone = [name for name in self.running if name not in wanted]
        again = [
            name
            for name, running in self.running.items()
            if name in wanted
            and (everything or running.settings != wanted[name] or running.status.state is State.ERROR)
        ]
        new = [name for name in wanted if name not in self.running]
        untouched = len(self.running) - len(gone) - len(again)
        await self._stop([*gone, *again])
        for name in gone:
            await self._health.close_all(self.running.pop(name).resource)
        await self._start([wanted[name] for name in [*again, *new]])
        return Difference(new, again, gone, untouched)

    async def put(self, settings: SourceSettings) -> None:
        """Start a source, anew if it runs."""
        async with self._turn:
            await self._stop([settings.name] if settings.name in self.running else [])
            await self._start([settings])

    def remove(self, name: str) -> None:
        """Begin to stop a source; it is gone when it has stopped. Raises KeyError."""
        self.running[name].status.override = State.STOPPING
        self._group.start_soon(self._remove, name)

    async def _remove(self, name: str) -> None:
        async with self._turn:
            if name in self.running and self.running[name].status.override is State.STOPPING:
                await self._stop([name])
                await self._health.close_all(self.running.pop(name).resource)

    async def set_checkpoint(self, name: str, stream: str, cursor: Cursor | None) -> None:
        """Let a stream go on elsewhere, None: from its beginning; the source starts anew. Raises KeyError."""
        async with self._turn:
            settings = self.running[name].settings
            await self._stop([name])
            try:
                await self._outbox.set_checkpoint(StreamKey(name, stream), cursor)
            finally:
                await self._start([settings])

    async def begin_backfill(self, name: str, stream: str, cursor: Cursor) -> None:
        """Collect a past window, or go on with it; `cursor` says which. Raises KeyError and NoBackfill."""
        async with self._turn:
            running = self.running[name]
            if running.group is None:
                raise NoBackfill(f"{name} does not collect now: restart or resume it first")
            self._past_of(running, stream, cursor)  # refuses before anything is written
            if stream in running.backfills:
                await running.backfills[stream].halt()
            if "place" in cursor:  # the ids that it remembers stay
                await self._outbox.accept(Acceptance(key_of(name, stream), cursor))
            else:
                await self._outbox.set_checkpoint(key_of(name, stream), cursor)
            self._go_on(running, stream)

    def _go_on(self, running: Running, stream: str) -> None:
        """Collect a stream's backfill if there is one that is not over."""
        key = key_of(running.settings.name, stream)
        cursor = self._outbox.checkpoint(key)
        if running.group is None or cursor is None or cursor.get("done") or cursor.get("halted"):
            return
        try:
            past, around = self._past_of(running, stream, cursor)
        except NoBackfill:  # the stream is not selected any more
            return
        backfill = Backfill(key, past, self._metadata_of(running.settings, stream), around)
        running.backfills[stream] = backfill
        running.group.start_soon(backfill.run)

    def _past_of(self, running: Running, stream: str, cursor: Cursor) -> tuple[Stream, Surroundings]:
        """A feed of its own, with the budgets of the live one."""
        streams, around = self._open(running)
        if stream not in streams:
            raise NoBackfill(f"{running.settings.name} has no stream {stream}; it has: {', '.join(streams)}")
        return bounded(streams[stream], stream, cursor["since_ms"], cursor["until_ms"]), around

    def origins(self, settings: SourceSettings) -> set[str]:
        """Where a source would send its credential; it is not started for that."""
        found: set[str] = set()

        def connect(origin: str, *, authorization: Authorization, limits: Limits) -> Client:
            found.add(origin)
            return self._connect_for(settings)(origin, authorization=authorization, limits=limits)

        self._types[settings.type].open(settings, connect)
        return found

    async def restart(self, name: str) -> None:
        """Start a source anew, from its checkpoint; raises KeyError."""
        async with self._turn:
            settings = self.running[name].settings
            await self._stop([name])
            await self._start([settings])

    async def pause(self, name: str) -> None:
        """Stop collecting of a source until it is resumed; raises KeyError."""
        async with self._turn:
            running = self.running[name]
            await self._stop([name])
            running.status.override = State.PAUSED
            await self._health.close_all(running.resource)

    def poll(self, name: str) -> None:
        """Let all streams of a source poll now; raises KeyError."""
        for collector in self.running[name].collectors:
            collector.nap.wake()

    def is_alive(self) -> bool:
        """Whether every task does what it should; the watchdog is fed only while this is true."""
        now = anyio.current_time()
        return all(
            running.is_settled
            if running.ended.is_set()
            else all(collector.expected_by > now for collector in running.collectors)
            for running in self.running.values()
        )

    async def _stop(self, names: Iterable[str]) -> None:
        stopping = [self.running[name] for name in names]
        for running in stopping:
            running.status.override = State.STOPPING
            running.scope.cancel()
        for running in stopping:
            await running.ended.wait()

    async def _start(self, sources: Sequence[SourceSettings]) -> None:
        ids = await self._outbox.identify([settings.name for settings in sources])
        for number, settings in enumerate(sources):
            status = SourceStatus(ids[settings.name], settings.name, settings.type)
            running = self.running[settings.name] = Running(settings, status)
            if settings.options.enabled and settings.name not in self._paused:
                self._group.start_soon(
                    self._guard, running, number / STARTS_PER_SECOND, len(sources) / STARTS_PER_SECOND
                )
            else:
                status.override = State.PAUSED
                running.ended.set()
                await self._health.close_all(running.resource)

    async def _guard(self, running: Running, delay: float, spread: float) -> None:
        """Hold one source's failure off the others."""
        try:
            with running.scope:
                while True:
                    try:
                        return await self._collect(running, delay, spread)
                    except Exception as error:  # noqa: BLE001  our mistake stops one source
                        await self._report_mistake(running, error)
                        await anyio.sleep(AFTER_MISTAKE_SECONDS)
        finally:
            running.ended.set()

    async def _report_mistake(self, running: Running, error: Exception) -> None:
        log.get().exception("internal error", source=running.settings.name)
        message = (
            f"an internal error of collectord ({type(error).__name__}) stopped the source; it starts anew in a minute"
        )
        running.status.error = InternalError(message)
        running.status.override = State.ERROR
        await self._health.open(running.resource, running.status.error)

    async def _collect(self, running: Running, delay: float, spread: float) -> None:
        running.status.override, running.status.error = State.STARTED, None
        running.collectors = self._build(running)
        running.status.streams = [collector.status for collector in running.collectors]
        running.status.override = None
        await self._health.close_all(running.resource, but=[collector.status.name for collector in running.collectors])
        running.backfills = {}
        async with anyio.create_task_group() as group:
            running.group = group
            for name in self._types[running.settings.type].streams:
                self._go_on(running, name)
            for collector in running.collectors:
                # A stream's polls stay as far apart as they begin, so the spread never passes the interval.
                share = min(1.0, collector.status.interval_seconds / spread)
                group.start_soon(self._run_stream, running, collector, delay * share, group.cancel_scope)
        running.group = None
        for collector in running.collectors:
            if running.refusal is not None and collector.status.error is not running.refusal:
                await collector.stop_for(running.refusal)

    async def _run_stream(self, running: Running, collector: Collector, delay: float, whole: anyio.CancelScope) -> None:
        error = await collector.run(delay)
        if isinstance(error, SourceRefused) and error.whole_source:
            running.refusal = error
            whole.cancel()

    def _build(self, running: Running) -> list[Collector]:
        running.clients = []
        streams, around = self._open(running)
        return [self._collector_of(running.settings, name, stream, around) for name, stream in streams.items()]

    def _open(self, running: Running) -> tuple[Mapping[str, Stream], Surroundings]:
        settings = running.settings
        kind = self._types[settings.type]
        connect = self._connect_for(settings)

        def remembered(*args: Any, **kwargs: Any) -> Client:
            running.clients.append(connect(*args, **kwargs))
            return running.clients[-1]

        streams = kind.open(settings, remembered)
        around = Surroundings(
            self._outbox,
            self._health,
            running.resource,
            self._sinks,
            settings.options.sinks,
            settings.options.retry.policy(kind.after_window),
            Rules(settings.config.filters, settings.config.hashAlgorithm) if settings.config.filters else None,
        )
        return streams, around

    def _collector_of(self, settings: SourceSettings, name: str, stream: Stream, around: Surroundings) -> Collector:
        common = self._types[settings.type].streams[name]
        interval = settings.interval_seconds(name) or common.interval_seconds
        status = StreamStatus(name, interval, State.INITIALIZED, retention_seconds=common.retention_seconds)
        return Collector(StreamKey(settings.name, name), stream, self._metadata_of(settings, name), status, around)

    def _metadata_of(self, settings: SourceSettings, stream: str) -> Metadata:
        assert self._collector is not None  # set by apply, before anything starts
        kind = self._types[settings.type]
        inventory = kind.streams[stream].inventory
        return metadata_of(self._collector, settings, stream, kind.siem, inventory=inventory)
