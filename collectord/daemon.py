"""The daemon: the only place that builds things, and where start, reload and stop are put together."""

from __future__ import annotations

import contextlib
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from collectord import config, log
from collectord.client import Client, open_session
from collectord.delivering import Delivery
from collectord.errors import ConfigError
from collectord.health import HealthBoard, Resource, SinkStatus, State
from collectord.kept import KeptSources, find_key
from collectord.limits import Budgets
from collectord.management import Catalogue, Plant, serve
from collectord.outbox import Outbox
from collectord.records import Notice
from collectord.reporting import Reporter
from collectord.sinks import open_sink
from collectord.sources import SOURCE_TYPES
from collectord.store import Store
from collectord.supervisor import Supervisor
from collectord.systemd import Notifier, watchdog_interval_seconds
from collectord.watching import watch, watch_dead_letters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from collectord.config import Configuration
    from collectord.settings import DaemonSettings, Environment, ManagementSettings, SinkSettings, SourceSettings
    from collectord.sink import Sink
    from collectord.source import Connect

HOUSEKEEPING_SECONDS = 10.0
SINK_CLOSE_SECONDS = 5.0
"""A reload waits so long for a batch in flight to a sink that changed."""


class StateLost(Exception):
    """The disk of the state store failed: systemd starts the daemon anew, which looks at what is left."""


class Daemon:
    """One run, from the first transaction to the last."""

    def __init__(
        self,
        path: Path,
        environment: Environment,
        configuration: Configuration,
        store: Store,
        source_key: str | None,
    ) -> None:
        self._path = path
        self._environment = environment
        self._configuration = configuration
        self._began_with = configuration.daemon
        self._store = store
        self._notifier = Notifier(environment.notify_socket)
        self._log = log.get()
        self._outbox = Outbox(store)
        self._health = HealthBoard(store)
        self._budgets = Budgets()
        self._sinks: dict[str, Sink] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._reporter = Reporter(self._outbox, self._sinks)
        self._health.on_change.append(self._reporter.note)
        self._kept = KeptSources(store, source_key)
        self._supervisor = Supervisor(
            self._outbox, self._health, self._sinks, SOURCE_TYPES, self._connect_for, paused=self._kept.paused
        )
        self._catalogue = Catalogue(self._kept, self._supervisor, path.absolute().parent)
        self._group = anyio.create_task_group()
        self._reload_wanted = anyio.Event()
        self._resource = Resource("Collector", 1, configuration.daemon.collector.name)
        self._plant = Plant(
            int(time.time() * 1000),
            self._resource.name,
            self._catalogue,
            self._outbox,
            self._health,
            self._supervisor,
            self._deliveries,
            store,
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; raises StateLost when nothing can be kept any more."""
        hear = anyio.open_signal_receiver(signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
        with contextlib.closing(self._notifier), hear as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            await self._health.load()
            await self._outbox.load()
            await self._kept.load()
            management = self._configuration.daemon.management
            doors = serve(self._plant, self._socket(), management)
            async with open_session() as self._session, doors as self._listeners, self._group:
                await self._report_damage()
                self._group.start_soon(self._supervisor.run)
                await self._apply(self._configuration)
                for task in (self._keep_house, self._feed_watchdog, self._watch_store, self._reporter.run):
                    self._group.start_soon(task)
                self._notifier.ready(self._summary())
                self._plant.is_ready = True
                self._log.info("ready", sources=len(self._supervisor.running), sinks=len(self._sinks))
                async with anyio.create_task_group() as reloading:
                    reloading.start_soon(self._reload_when_asked)
                    await self._obey(signals)
                    self._plant.is_ready = False
                    self._notifier.stopping()
                    reloading.cancel_scope.cancel()  # and wait for its end: two must not start and stop sources at once
                self._group.start_soon(self._hurry, signals)
                await self._stop()
                self._group.cancel_scope.cancel()
            await self._back_up()

    async def _obey(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                self._log.info("stopping", signal=number.name)
                return
            self._reload_wanted.set()

    async def _hurry(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Stop at once when asked a second time."""
        async for number in signals:
            if number != signal.SIGHUP:
                for delivery in self._deliveries.values():
                    delivery.cut()

    async def _stop(self) -> None:
        await self._supervisor.apply({}, self._configuration.daemon.collector)
        await self._reporter.finish()
        await self._close_sinks(list(self._deliveries), self._configuration.daemon.stop_grace)

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted = anyio.Event()  # whoever asks from here on is not sure to be heard by this reload
            self._notifier.reloading()
            await self._reload()
            self._notifier.ready(self._summary())

    async def _reload(self) -> None:
        try:
            configuration = await to_thread.run_sync(config.load, self._path, self._environment)
        except ConfigError as error:
            for fault in error.faults:
                self._log.error("configuration fault", file=fault.file, place=fault.place, reason=fault.reason)
            more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
            text = f"the changed configuration is refused: {error.faults[0]}{more}; what ran runs on"
            await self._health.warn(self._resource, [Notice("ConfigurationRefused", text)])
            return
        await self._rename(configuration.daemon.collector.name)
        unheard = await self._listen(configuration.daemon.management)
        await self._health.warn(self._resource, [*unheard, *self._needing_restart(configuration.daemon)])
        await self._apply(configuration)

    async def _rename(self, name: str) -> None:
        if name != self._resource.name:
            await self._health.close_all(self._resource)
            self._resource = Resource("Collector", 1, name)
            self._plant.collector_name = name

    async def _listen(self, settings: ManagementSettings) -> list[Notice]:
        """Let the management listener follow a reload; what keeps it from that is a matter of its own."""
        try:
            await self._listeners.follow(settings)
        except ConfigError as error:
            return [Notice("ListenRefused", f"{error.faults[0]}; the API listens where it did")]
        return []

    def _needing_restart(self, new: DaemonSettings) -> list[Notice]:
        began = self._began_with
        changed = ["state"] if began.state != new.state else []
        changed += ["management.socket"] if began.management.socket != new.management.socket else []
        if not changed:
            return []
        return [
            Notice("RestartNeeded", f"a change of {' and '.join(changed)} takes effect when collectord is restarted")
        ]

    async def _apply(self, configuration: Configuration) -> None:
        daemon = configuration.daemon
        # Until the old sources have stopped, their secrets are live as well.
        log.configure(daemon.log.level, daemon.log.format, self._catalogue.secrets | configuration.secrets)
        for warning in configuration.warnings:
            self._log.warning("configuration warning", file=warning.file, place=warning.place, reason=warning.reason)
        await self._open_sinks(daemon.sinks)
        self._reporter.follow(daemon.collector, daemon.health_events.sinks)
        difference, unable = await self._catalogue.apply(configuration)
        await self._health.warn(self._resource, unable, place="kept sources")
        # Last, since until now a source may have used them.
        gone = [name for name in self._deliveries if name not in daemon.sinks]
        await self._close_sinks(gone, SINK_CLOSE_SECONDS)
        for name in gone:
            del self._sinks[name]
            self._outbox.limit(name, None)
        await self._report_orphans()
        self._configuration = configuration
        self._catalogue.settle(configuration)
        self._log.info("configuration applied", sources=str(difference))

    async def _open_sinks(self, wanted: Mapping[str, SinkSettings]) -> None:
        """Open new and changed sinks, and those in trouble anew; leave the others untouched."""
        have = self._configuration.daemon.sinks
        for name, settings in wanted.items():
            if name in self._deliveries:
                if have[name] == settings and self._deliveries[name].status.error is None:
                    continue
                await self._close_sinks([name], SINK_CLOSE_SECONDS)
            sink = self._sinks[name] = open_sink(settings, self._session)
            status = SinkStatus(name, settings.type)
            self._outbox.limit(name, settings.buffer_bytes)
            delivery = Delivery(sink, settings.retry, self._outbox, self._health, status)
            self._deliveries[name] = delivery
            self._group.start_soon(delivery.run)

    async def _close_sinks(self, names: list[str], grace_seconds: float) -> None:
        closing = {name: self._deliveries[name] for name in names}
        for delivery in closing.values():
            delivery.stop()
        with anyio.move_on_after(grace_seconds) as grace:
            for delivery in closing.values():
                await delivery.ended.wait()
        for name, delivery in closing.items():
            if grace.cancelled_caught:
                delivery.cut()
            await delivery.ended.wait()
            del self._deliveries[name]  # only now: until it has ended, a stop or a second signal must find it
            await self._health.close_all(delivery.resource)

    def _connect_for(self, settings: SourceSettings) -> Connect:
        options = settings.options
        proxy = options.proxy.get_secret_value() if options.proxy else None
        return partial(Client, self._session, self._budgets, proxy=proxy, ca_pem=options.ca_file)

    async def _report_damage(self) -> None:
        if self._store.quarantined is not None:
            text = (
                f"the state store was damaged; it lies in {self._store.quarantined}, and what could be read of it was"
                " taken over: some records may be delivered twice"
            )
        elif self._outbox.restored:
            streams = ", ".join("/".join(key) for key in self._outbox.restored)
            text = f"saved places were damaged, older ones were taken ({streams}): some records may be delivered twice"
        else:
            return
        await self._health.warn(self._resource, [Notice("StateDamaged", text)], place="state")

    async def _report_orphans(self) -> None:
        orphans = {
            name: backlog.records for name, backlog in self._outbox.by_sink.items() if name not in self._deliveries
        }
        text = "; ".join(f"{records} records wait for sink {name}" for name, records in orphans.items() if records)
        said = f"{text}, which is not configured any more: bring it back under this name, and they are delivered"
        await self._health.warn(self._resource, [Notice("OrphanedRecords", said)] if text else [], place="outbox")

    async def _keep_house(self) -> None:
        while True:
            await anyio.sleep(HOUSEKEEPING_SECONDS)
            await self._back_up()
            await self._store.tidy()
            for running in list(self._supervisor.running.values()):
                await watch(self._health, running.resource, running.status)
            for name, delivery in list(self._deliveries.items()):
                await watch_dead_letters(self._health, delivery.resource, self._outbox.dead_letters[name])
            self._notifier.status(self._summary())

    async def _back_up(self) -> None:
        try:
            await self._outbox.back_up()
        except OSError as error:  # the backup is for a damaged store only; it is written again in a while
            self._log.warning("cursor backup not written", error=error.strerror)

    async def _feed_watchdog(self) -> None:
        interval = watchdog_interval_seconds(self._environment.watchdog_usec)
        while interval is not None:
            if self._supervisor.is_alive():
                self._notifier.watchdog()
            await anyio.sleep(interval)

    async def _watch_store(self) -> None:
        await self._store.broken.wait()
        raise StateLost

    def _summary(self) -> str:
        states = [running.status.state for running in self._supervisor.running.values()]
        troubled = [name for name, delivery in self._deliveries.items() if delivery.status.error is not None]
        parts = [
            f"{len(states)} {'source' if len(states) == 1 else 'sources'}",
            f"{states.count(State.ERROR)} in error",
        ]
        parts += [f"sink {name} in trouble" for name in troubled]
        if any(event.name == "ConfigurationRefused" for event in self._health.open_events.values()):
            parts.append("the changed configuration was refused: see `collectord check`")
        return ", ".join(parts)

    def _socket(self) -> Path:
        socket = self._configuration.daemon.management.socket
        assert socket is not None  # resolved when the files were read
        return Path(socket)


async def run(path: Path, environment: Environment, configuration: Configuration) -> None:
    """Open the state store and run; raises StoreUnusable when it cannot be used."""
    directory = configuration.daemon.state.directory
    assert directory is not None  # resolved when the files were read
    source_key = await to_thread.run_sync(find_key, environment)
    store = await to_thread.run_sync(Store.open, Path(directory))
    lost = False
    try:
        await Daemon(path, environment, configuration, store, source_key).run()
    except* StateLost:
        lost = True
    finally:
        store.close()
    if lost:
        raise StateLost("the disk of the state directory failed; systemd starts collectord anew")
