"""Every source that is wanted: those of the files, and those that were made through the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from collectord import log
from collectord.config import parse_source, unknown_fields
from collectord.errors import ConfigError, Fault
from collectord.management import shapes
from collectord.records import Notice

if TYPE_CHECKING:
    from pathlib import Path

    from collectord.config import Configuration
    from collectord.kept import Kept, KeptSources
    from collectord.settings import DaemonSettings, SourceSettings
    from collectord.supervisor import Difference, Supervisor


class NotOurs(Exception):
    """The source stands in a file, and only there it can be changed."""


class NameTaken(Exception):
    """There is a source of this name."""


class Outdated(Exception):
    """The source was changed in the meantime."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A source that came by the API, validated."""

    settings: SourceSettings
    document: dict[str, Any]
    """As it is kept."""
    secrets: frozenset[str]


class Catalogue:
    """Brings together what the files want and what the API wants, one change at a time."""

    def __init__(self, kept: KeptSources, supervisor: Supervisor, folder: Path) -> None:
        self.kept = kept
        self._supervisor = supervisor
        self._folder = folder
        """Where a relative `ca_file` begins."""
        self._turn = anyio.Lock()
        self._daemon: DaemonSettings | None = None
        self._of_files: frozenset[str] = frozenset()
        self._file_secrets: frozenset[str] = frozenset()
        self._own_secrets: dict[str, frozenset[str]] = {}

    async def apply(self, configuration: Configuration) -> tuple[Difference, list[Notice]]:
        """Let run what the files and the API want; returns what could not run as well."""
        async with self._turn:
            self._daemon = configuration.daemon
            self._of_files = frozenset(configuration.sources)
            self._file_secrets |= configuration.secrets  # until `settle`, the old ones are live as well
            own, notices = await self._read_own()
            log.update_secrets(self.secrets)
            wanted = {**own, **configuration.sources}
            difference = await self._supervisor.apply(wanted, configuration.daemon.collector)
            return difference, notices

    def settle(self, configuration: Configuration) -> None:
        """Hear that nothing uses the secrets of an older configuration any more."""
        self._file_secrets = configuration.secrets
        log.update_secrets(self.secrets)

    @property
    def secrets(self) -> frozenset[str]:
        """All that must not be seen in a log."""
        return self._file_secrets.union(*self._own_secrets.values())

    @property
    def daemon(self) -> DaemonSettings:
        """The daemon's settings as they are now."""
        assert self._daemon is not None  # nobody asks before `apply`
        return self._daemon

    async def _read_own(self) -> tuple[dict[str, SourceSettings], list[Notice]]:
        own, said = {}, []
        if self.kept.unreadable:
            names = ", ".join(self.kept.unreadable)
            said.append(f"{names} cannot be read with this source_key: bring back the old key, or delete them")
        for name, kept in self.kept.sources.items():
            if name in self._of_files:
                said.append(f"{name} stands in a file as well, and that counts: delete one of the two")
                continue
            try:
                parsed = await self._parse(kept.document)
            except ConfigError as error:
                said.append(f"{name} does not run: {shapes.faults(error)}")
            else:
                own[name] = parsed.settings
                self._own_secrets[name] = parsed.secrets
                self._warn_of_fields(parsed.settings)
        return own, [Notice("KeptSourcesRefused", "sources made by the API: " + "; ".join(said))] if said else []

    async def create(self, source: dict[str, Any]) -> str:
        """Keep and start a source; returns its name. Raises ConfigError, KeyMissing, NameTaken and StoreError."""
        self.kept.require_key()
        async with self._turn:
            parsed = await self._parse(source)
            name = parsed.settings.name
            taken = {*self._supervisor.running, *self.kept.sources, *self.kept.unreadable, *self._of_files}
            if name in taken:
                raise NameTaken
            await self._put(parsed)
            return name

    async def change(self, name: str, source: dict[str, Any], etag: str) -> None:
        """Change a source; raises KeyError, NotOurs, Outdated, ConfigError, KeyMissing and StoreError."""
        async with self._turn:
            kept = self._own(name)
            if etag not in {"*", kept.revision}:
                raise Outdated
            took_secrets = shapes.is_masked(source)
            before = await self._parse_kept(kept.document)
            if before is not None:
                source = shapes.with_secrets(source, before.document, before.settings)
            parsed = await self._parse(source)
            if parsed.settings.name != name:
                _refuse("config.name", "is the source's identity and cannot change: its checkpoint belongs to it")
            if before is not None:
                self._check_way(before, parsed, took_secrets=took_secrets)
            await self._put(parsed)

    def _check_way(self, before: Parsed, after: Parsed, *, took_secrets: bool) -> None:
        if before.settings.type != after.settings.type:
            _refuse("schemaRef.type", "cannot change: make another source")
        # Whoever may change a source need not know its secret, and must not be able to send it to himself.
        if took_secrets and self._way(before.settings) != self._way(after.settings):
            _refuse("config", "the address, proxy or ca_file changes: the secrets must be given anew, not as ********")

    async def _parse_kept(self, document: dict[str, Any]) -> Parsed | None:
        try:
            return await self._parse(document)
        except ConfigError:  # the daemon's file has changed since, and this source with it must
            return None

    def _way(self, settings: SourceSettings) -> tuple[object, ...]:
        return (self._supervisor.origins(settings), settings.options.proxy, settings.options.ca_file)

    def is_own(self, name: str) -> bool:
        """Whether this source was made by the API, readable or not."""
        return name in self.kept.sources or name in self.kept.unreadable

    def kept_source(self, name: str) -> Kept | None:
        """What is kept of a source; None: it stands in a file, and that counts."""
        return None if name in self._of_files else self.kept.sources.get(name)

    async def delete(self, name: str) -> None:
        """Forget a source and begin to stop it; raises KeyError, NotOurs and StoreError."""
        async with self._turn:
            if name not in self.kept.unreadable:
                self._own(name)
            await self.kept.forget(name)
            if name in self._supervisor.running and name not in self._of_files:
                self._supervisor.remove(name)

    async def _put(self, parsed: Parsed) -> None:
        name = parsed.settings.name
        # Before anything can be logged of it; those that it had are live until it has stopped.
        self._own_secrets[name] = self._own_secrets.get(name, frozenset()) | parsed.secrets
        log.update_secrets(self.secrets)
        await self.kept.keep(name, parsed.document)
        await self._supervisor.put(parsed.settings)
        self._own_secrets[name] = parsed.secrets
        log.update_secrets(self.secrets)
        self._warn_of_fields(parsed.settings)

    def _warn_of_fields(self, settings: SourceSettings) -> None:
        """Say of a source made by the API what is said of those of files."""
        schema = self.daemon.collector.fields_schema
        for name, said in unknown_fields(schema, settings.config.fields, settings.name):
            log.get().warning("configuration warning", source=settings.name, field=name, reason=said)

    def _own(self, name: str) -> Kept:
        if name in self.kept.sources:
            return self.kept.sources[name]
        if name in self._of_files:
            raise NotOurs
        raise KeyError(name)

    async def _parse(self, source: dict[str, Any]) -> Parsed:
        settings, secrets = await to_thread.run_sync(parse_source, {"source": source}, self.daemon, self._folder)
        return Parsed(settings, shapes.document(settings, source), secrets)


def _refuse(place: str, reason: str) -> None:
    raise ConfigError([Fault("request", f"source.{place}", reason)])
