"""The shape of a source file: what stands round a source's own parameters, in Sumo's form and in ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collectord.config.wording import Part, Place, Report, unknown
from collectord.settings import SourceConfig, SourceOptions

API_VERSION = "v1"
SOURCE_TYPE = "Universal"

_FILE = ("api.version", "source", "sources")
_SOURCE = ("schemaRef", "sourceType", "config", "collectord")
_OF_SERVER = ("id", "alive", "state", "file")
"""In what Sumo exports, and our own API shows; of no use to us."""
_BESIDE = ("filters", "hashAlgorithm")
"""Sumo's documentation does not say on which level these stand, so both are taken."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One source of a file, not validated yet."""

    type: str
    place: Place
    config: Part
    options: Part

    @property
    def name(self) -> str | None:
        """Its name, if there is one that deserves to be called so."""
        name = self.config.raw.get("name")
        return name if isinstance(name, str) else None


def entries(tree: Any, report: Report) -> Iterator[Entry]:
    """Every source of a file whose envelope is right; the rest is reported."""
    if not _is_mapping(tree, (), report):
        return
    _known_only(tree, _FILE, (), report, dict.fromkeys(_SOURCE, "under source"))
    if tree.get("api.version") not in (None, API_VERSION):
        report.fault(("api.version",), f"must be {API_VERSION}")
    if ("source" in tree) == ("sources" in tree):
        report.fault((), "must hold either source (one) or sources (a list)")
    elif "source" in tree:
        yield from _entry(tree["source"], ("source",), report)
    elif isinstance(tree["sources"], list):
        for number, source in enumerate(tree["sources"]):
            yield from _entry(source, ("sources", number), report)
    else:
        report.fault(("sources",), "must be a list; a single one stands under source")


def _entry(source: Any, place: Place, report: Report) -> Iterator[Entry]:
    if not _is_mapping(source, place, report):
        return
    known = (*_SOURCE, *_BESIDE, *_OF_SERVER)
    _known_only(source, known, place, report, dict.fromkeys(SourceConfig.model_fields, "under config"))
    if source.get("sourceType") not in (None, SOURCE_TYPE):
        report.fault((*place, "sourceType"), f"must be {SOURCE_TYPE}")
    kind = _type(source, place, report)
    config = _part(source, "config", place, report)
    options = {} if source.get("collectord") is None else _part(source, "collectord", place, report)
    if kind is not None and config is not None and options is not None:
        yield Entry(kind, place, _config(source, place, report), _options(options, place))


def _type(source: dict[str, Any], place: Place, report: Report) -> str | None:
    reference = source.get("schemaRef")
    place = (*place, "schemaRef")
    if reference is None:
        report.fault(place, "is missing; it says the type: schemaRef: {type: Okta}")
        return None
    if not _is_mapping(reference, place, report):
        return None
    _known_only(reference, ("type", "version"), place, report, {})
    kind = reference.get("type")
    if not isinstance(kind, str):
        report.fault((*place, "type"), "is missing" if kind is None else "must be text")
        return None
    return kind


def _config(source: dict[str, Any], place: Place, report: Report) -> Part:
    config = dict(source["config"])
    moved = set()
    for key in _BESIDE:
        if source.get(key) is None:
            continue
        if config.get(key) is None:
            config[key] = source[key]
            moved.add(key)
        elif config[key] != source[key]:
            report.fault((*place, key), "stands here and under config, and the two differ")
    elsewhere = dict.fromkeys(SourceOptions.model_fields, "under collectord, beside config")
    return Part(config, (*place, "config"), frozenset(moved), elsewhere)


def _options(options: dict[str, Any], place: Place) -> Part:
    elsewhere = dict.fromkeys(SourceConfig.model_fields, "under config, beside collectord")
    return Part(options, (*place, "collectord"), elsewhere=elsewhere)


def _part(source: dict[str, Any], key: str, place: Place, report: Report) -> dict[str, Any] | None:
    part = source.get(key)
    if part is None:
        report.fault((*place, key), "is missing")
        return None
    return part if _is_mapping(part, (*place, key), report) else None


def _is_mapping(value: Any, place: Place, report: Report) -> bool:
    if not isinstance(value, dict):
        report.fault(place, "must be a mapping of names to values")
    return isinstance(value, dict)


def _known_only(
    mapping: dict[str, Any], known: tuple[str, ...], place: Place, report: Report, elsewhere: dict[str, str]
) -> None:
    for key in mapping:
        if key not in known:
            report.fault((*place, key), unknown(key, known, elsewhere))
