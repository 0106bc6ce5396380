"""The commands that look at one source's records with no daemon: `preview` and `rules test`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from collectord.cli.local import EXIT_CONFIG, EXIT_FAILED, load
from collectord.client import Client, open_session
from collectord.ecs import mapper
from collectord.errors import CollectordError, RateLimited
from collectord.limits import Budgets
from collectord.metadata import metadata_of
from collectord.records import Page, Record
from collectord.rules import Rules
from collectord.sinks import open_sink
from collectord.sources import SOURCE_TYPES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from collectord.config import Configuration
    from collectord.settings import Environment, SourceSettings
    from collectord.source import Stream

EXIT_USAGE = 2
MAX_PAGES = 50
"""A first page may be empty, such as the one that makes Netskope's index; so many are looked at."""
LONGEST_REST_SECONDS = 30.0


class Unusable(Exception):
    """There is no such source, stream or file; the message says what there is."""


def preview(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord preview SOURCE`."""
    try:
        configuration = load(options.config, environment)
        if configuration is None:
            return EXIT_CONFIG
        settings = _source(configuration, options.source)
        anyio.run(_preview, configuration, settings, options)
    except Unusable as error:
        print(f"collectord: {error}", file=sys.stderr)
        return EXIT_USAGE
    except CollectordError as error:
        said = f" ({error.info})" if error.info else ""
        print(f"collectord: {options.source}: {error.message}{said}", file=sys.stderr)
        return EXIT_FAILED
    return 0


async def _preview(configuration: Configuration, settings: SourceSettings, options: argparse.Namespace) -> None:
    kind, daemon, limit = SOURCE_TYPES[settings.type], configuration.daemon, options.limit
    name = _chosen(options.stream, kind.selected(settings.config), f"{settings.name} has no stream")
    sink = _chosen(options.sink, list(settings.options.sinks or daemon.sinks), f"{settings.name} delivers to no sink")
    asked = _asking_for(settings, limit)
    async with open_session() as session:
        proxy = asked.options.proxy.get_secret_value() if asked.options.proxy else None
        connect = partial(Client, session, Budgets(), proxy=proxy, ca_pem=asked.options.ca_file)
        page = await _first_page(kind.open(asked, connect)[name])
        records = page.records[:limit]
        if settings.config.filters:
            records = Rules(settings.config.filters, settings.config.hashAlgorithm).apply(records)
        common = kind.streams[name]
        metadata = metadata_of(daemon.collector, settings, name, kind.siem, inventory=common.inventory)
        metadata = replace(metadata, receipt_ms=time.time_ns() // 1_000_000)
        if options.format == "ecs":
            to_document = mapper(settings.type, name, metadata)
            lines = b"".join(to_document(record.raw) + b"\n" for record in records)
        else:
            batches = open_sink(daemon.sinks[sink], session).encode(records, metadata)
            lines = b"".join(batch.lines() for batch in batches)
    sys.stdout.buffer.write(lines)
    dropped = min(limit, len(page.records)) - len(records)
    form = "as ECS documents" if options.format == "ecs" else f"as sink {sink} would get them"
    print(
        f"{settings.name}, {name}: {len(records)} records {form}, {dropped} dropped by rules;"
        " nothing was saved or sent",
        file=sys.stderr,
    )


def _chosen(wanted: str | None, there: Sequence[str], none: str) -> str:
    if wanted is not None and wanted not in there:
        raise Unusable(f"{none} {wanted}; there is: {', '.join(there)}")
    return wanted or there[0]


def _asking_for(settings: SourceSettings, limit: int) -> SourceSettings:
    """The same source, but for a smaller page where the vendor lets us choose."""
    most = settings.config.max_page_size
    if most is None:
        return settings
    size = min(limit, settings.options.page_size or most)
    return settings.model_copy(update={"options": settings.options.model_copy(update={"page_size": size})})


async def _first_page(stream: Stream) -> Page:
    """The first page with records; with no cursor to begin with, an index of Netskope's is new as well."""
    page = Page([], {}, more=True)
    cursor = None
    for _ in range(MAX_PAGES):
        try:
            page = await stream.fetch(cursor)
        except RateLimited as limited:
            if (limited.retry_after or 1.0) > LONGEST_REST_SECONDS:
                raise
            await anyio.sleep(limited.retry_after or 1.0)
            continue
        if page.records or not page.more:
            break
        cursor = page.cursor
        await anyio.sleep(min(page.not_before_seconds, LONGEST_REST_SECONDS))
    return page


def try_rules(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord rules test SOURCE [FILE]`."""
    try:
        configuration = load(options.config, environment)
        if configuration is None:
            return EXIT_CONFIG
        settings = _source(configuration, options.source)
        rules = Rules(settings.config.filters, settings.config.hashAlgorithm)
        kinds = {rule.name: _DID[rule.filterType] for rule in settings.config.filters}
        counts = {"kept": 0, "changed": 0, "dropped": 0}
        for number, line in _lines(options.file):
            shown = _judged(rules, kinds, number, line)
            counts[shown["outcome"]] += 1
            _show(shown, as_json=options.json)
    except Unusable as error:
        print(f"collectord: {error}", file=sys.stderr)
        return EXIT_USAGE
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print(f"{settings.name}: {len(settings.config.filters)} rules: {said}", file=sys.stderr)
    return 0


_DID = {"Include": "included", "Exclude": "excluded", "Hash": "hashed", "Mask": "masked"}


def _judged(rules: Rules, kinds: dict[str, str], number: int, line: bytes) -> dict[str, Any]:
    effect = rules.judge(Record(line, str(number)))
    outcome = "dropped" if effect.record is None else "changed" if effect.by else "kept"
    by = [f"{kinds[name]} by {name}" if name in kinds else name for name in effect.by]
    shown: dict[str, Any] = {"line": number, "outcome": outcome, "by": by}
    if effect.record is not None:
        shown["event"] = bytes(effect.record.raw).decode()
    return shown


def _show(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown, ensure_ascii=False))
        return
    why = f" ({'; '.join(shown['by'])})" if shown["by"] else ""
    event = f": {shown['event']}" if "event" in shown else ""
    print(f"line {shown['line']}: {shown['outcome']}{why}{event}")


def _lines(path: str | None) -> Iterator[tuple[int, bytes]]:
    """The objects of an NDJSON text with their line numbers; raises Unusable at one that is none."""
    try:
        content = sys.stdin.buffer.read() if path in {None, "-"} else Path(str(path)).read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            is_object = isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise Unusable(f"{path or 'stdin'}: line {number} is no JSON object; give one event a line (NDJSON)")
        yield number, line.strip()


def _source(configuration: Configuration, name: str) -> SourceSettings:
    if name not in configuration.sources:
        raise Unusable(f"there is no source {name}; there is: {', '.join(sorted(configuration.sources)) or 'none'}")
    return configuration.sources[name]
