"""Reads `collectord.yaml` and the source files: one validated configuration, or every fault of every file.

A file is right, or it is refused with the place and the reason; nothing is guessed and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from collectord.config import checks, places
from collectord.config.checks import unknown_fields
from collectord.config.documents import read
from collectord.config.envelope import Entry, entries
from collectord.config.places import find_socket
from collectord.config.references import References
from collectord.config.wording import Part, Place, Report, did_you_mean, dotted, validate
from collectord.errors import ConfigError, Fault
from collectord.settings import (
    DaemonSettings,
    Environment,
    FieldsSchema,
    SinkSettings,
    SourceOptions,
    SourceSettings,
)
from collectord.sources import SOURCE_TYPES

__all__ = ["Configuration", "find_socket", "load", "parse_source", "unknown_fields"]

T = TypeVar("T", SinkSettings, SourceOptions)

SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class Configuration:
    """Everything that the files say, resolved."""

    daemon: DaemonSettings
    sources: Mapping[str, SourceSettings]
    """By name; disabled ones as well."""
    secrets: frozenset[str]
    """What must never be seen in a log."""
    warnings: tuple[Fault, ...]
    """What works and should not stay as it is."""


def load(path: Path, environment: Environment) -> Configuration:
    """Read the daemon's file and its folder of sources; raises ConfigError with every fault of every file."""
    path = path.absolute()
    if not path.exists():  # its whole path, and not that the folder of sources beside it is missing, too
        raise ConfigError([Fault(str(path), "file", "is not there; name another by --config or $COLLECTORD_CONFIG")])
    reading = _Reading(path.parent, References(path.parent, environment.credentials_directory))
    tree, report = reading.file(path)
    daemon = reading.daemon(tree, environment, report)
    folder = path.parent / _folder(tree)
    sources = [
        source
        for file in _source_files(folder, report)
        for source in reading.sources(*reading.file(file), _sinks(tree))
    ]
    faults = [fault for each in reading.reports for fault in each.faults]
    if faults or daemon is None:
        raise ConfigError(list(dict.fromkeys(faults)))
    warnings = [fault for each in reading.reports for fault in each.warnings]
    secrets = frozenset(reading.secrets | reading.references.secrets)
    return Configuration(daemon, {source.name: source for source in sources}, secrets, tuple(warnings))


def parse_source(document: Any, daemon: DaemonSettings, folder: Path) -> tuple[SourceSettings, frozenset[str]]:
    """Validate one source that came by the API in the shape of a source file, with its secrets; raises ConfigError.

    References are refused there: whoever may call the API may not read this machine's files by it. `folder` is where
    a relative `ca_file` begins.
    """
    reading = _Reading(folder, References(folder, None, allowed=False))
    report = Report("request")
    sources = list(reading.sources(reading.references.resolve(document, (), report), report, daemon.sinks))
    if report.faults or len(sources) != 1:
        raise ConfigError(report.faults or [Fault("request", "sources", "must hold one source")])
    return sources[0], frozenset(reading.secrets)


def _source_files(folder: Path, report: Report) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    except OSError as error:
        report.fault(("sources",), f"the folder of source files cannot be read: {error.strerror}")
        return []
    if not files:
        report.warn(("sources",), "the folder holds no .yaml, .yml or .json file, so nothing is collected")
    return files


def _folder(tree: Any) -> str:
    folder = _mapping(tree).get("sources")
    return folder if isinstance(folder, str) else places.SOURCES


def _sinks(tree: Any) -> Collection[str] | None:
    sinks = _mapping(tree).get("sinks")
    return sinks if isinstance(sinks, dict) else None


def _mapping(tree: Any) -> dict[str, Any]:
    return tree if isinstance(tree, dict) else {}


class _Reading:
    """One pass over the files: what was read once serves for all of them."""

    def __init__(self, base: Path, references: References) -> None:
        self._base = base
        self._certificates = checks.Certificates(base)
        self._owners: dict[str, str] = {}
        self._fields_schema = FieldsSchema()
        self.references = references
        self.reports: list[Report] = []
        self.secrets: set[str] = set()

    def file(self, path: Path) -> tuple[Any, Report]:
        """Read a file's tree, its references replaced."""
        report = Report(str(path.relative_to(self._base) if path.is_relative_to(self._base) else path))
        self.reports.append(report)
        return self.references.resolve(read(path, report), (), report), report

    def daemon(self, tree: Any, environment: Environment, report: Report) -> DaemonSettings | None:
        """Make the daemon's settings of its file."""
        if tree is None:
            return None
        part = Part(tree, ())
        settings = validate(DaemonSettings, part, report, salvage=True)
        self.secrets.update(checks.secrets(DaemonSettings, part, report))
        if settings is None:
            return None
        checks.daemon(settings, report)
        self._fields_schema = settings.collector.fields_schema
        if not tree.get("sinks"):
            report.fault(("sinks",), "is missing; records must go somewhere")
        checks.sinks_exist(settings.health_events.sinks, _sinks(tree), ("health_events", "sinks"), report)
        settings = places.resolve(settings, self._base, environment, report)
        sinks = {name: self._trust(sink, ("sinks", name), report) for name, sink in settings.sinks.items()}
        return settings.model_copy(update={"sinks": sinks})

    def sources(self, tree: Any, report: Report, sinks: Collection[str] | None) -> Iterator[SourceSettings]:
        """Make settings of every source of a file; `sinks` are those that exist."""
        if tree is None:
            return
        for entry in entries(tree, report):
            self._claim(entry, report)
            source = self._source(entry, report, sinks)
            if source is not None:
                yield source

    def _source(self, entry: Entry, report: Report, sinks: Collection[str] | None) -> SourceSettings | None:
        options = validate(SourceOptions, entry.options, report, salvage=True)
        self.secrets.update(checks.secrets(SourceOptions, entry.options, report))
        if options is not None:
            checks.sinks_exist(options.sinks or (), sinks, (*entry.options.place, "sinks"), report)
            options = self._trust(options, entry.options.place, report)
        row = SOURCE_TYPES.get(entry.type)
        if row is None:
            said = f"there is no such type{did_you_mean(entry.type, SOURCE_TYPES)}; there are {', '.join(SOURCE_TYPES)}"
            report.fault((*entry.place, "schemaRef", "type"), said)
            return None
        config = validate(row.config, entry.config, report)
        self.secrets.update(checks.secrets(row.config, entry.config, report))
        if options is None:
            return None
        checks.source(row, config, options, entry.options.place, report)
        if config is None:
            return None
        checks.rules(config, entry.config, report)
        checks.fields(self._fields_schema, config, entry.config, report)
        return SourceSettings(type=row.name, config=config, options=options, file=report.file)

    def _claim(self, entry: Entry, report: Report) -> None:
        # Before anything else is known to be right, so that no correction brings up the next fault.
        place = (*entry.config.place, "name")
        owner = self._owners.setdefault(entry.name or "", f"{report.file}: {dotted(place)}")
        if entry.name and owner != f"{report.file}: {dotted(place)}":
            report.fault(place, f"the name is taken by another source: {owner}")

    def _trust(self, settings: T, place: Place, report: Report) -> T:
        # The text of the certificates instead of the path: a file that changed makes the settings differ at reload.
        if settings.ca_file is None:
            return settings
        pem = self._certificates.load(settings.ca_file, (*place, "ca_file"), report)
        return settings.model_copy(update={"ca_file": pem})
