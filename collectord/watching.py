"""Looks for what lasts though nothing fails: silent and lagging streams, records a vendor will forget, dead letters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from collectord.health import WATCHED, State
from collectord.records import Notice
from collectord.settings import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collectord.backlog import Backlog
    from collectord.health import HealthBoard, Resource, SourceStatus, StreamStatus

SILENT_INTERVALS = 3
"""So many without a successful poll are too many."""
SHORTEST_SILENCE_SECONDS = MINUTE
LAG_SECONDS = HOUR
"""Beside two intervals, which every stream may be behind."""
RISK = 0.5
"""The share of the vendor's retention that a stream may be behind."""


async def watch(health: HealthBoard, resource: Resource, source: SourceStatus) -> None:
    """Open and close the events of a source's streams as their clocks say; what does not run is not looked at."""
    runs = source.override in {None, State.ERROR}
    for stream in source.streams if runs else ():
        notices = troubles(stream, time.time_ns() // 1_000_000)
        await health.warn(resource, notices, place=stream.name, among=WATCHED)


async def watch_dead_letters(health: HealthBoard, sink: Resource, dead: Backlog) -> None:
    """Open the event of a sink that refused records for good, and close it when they are delivered or dropped."""
    text = f"{dead.records} records that it refused for good are kept as dead letters"
    step = "collectord dead-letters list says why; mend the cause and retry them, or drop them"
    await health.warn(sink, [Notice("DeadLetters", f"{text}: {step}")] if dead.records else [], among=WATCHED)


def troubles(stream: StreamStatus, now_ms: int) -> Iterator[Notice]:
    """What is the matter with a stream at this moment."""
    success_ms = stream.last_success_ms or stream.started_ms
    silent = (now_ms - success_ms) / 1000
    if silent > max(SILENT_INTERVALS * stream.interval_seconds, SHORTEST_SILENCE_SECONDS):
        since = "since it was started" if stream.last_success_ms is None else "since its last success"
        text = f"no successful poll for {_for_people(silent)} {since}; its interval is"
        step = "the error of this source, or its rate limit, says why"
        yield Notice("StreamSilent", f"{text} {_for_people(stream.interval_seconds)}: {step}")
    complete_ms = stream.complete_to_ms or stream.saved_ms
    if complete_ms is None:
        return
    behind = (now_ms - complete_ms) / 1000
    if behind > LAG_SECONDS + 2 * stream.interval_seconds:
        text = f"collecting is {_for_people(behind)} behind: it is catching up, or it is held back"
        yield Notice("StreamLagging", f"{text} (a failure, a rate limit, a full buffer); see when it was complete last")
    if stream.retention_seconds is not None and behind > RISK * stream.retention_seconds:
        left, kept = _for_people(max(0.0, stream.retention_seconds - behind)), _for_people(stream.retention_seconds)
        text = f"the vendor keeps records for {kept}, and collecting is {_for_people(behind)} behind"
        yield Notice("RetentionAtRisk", f"{text}: in {left} it begins to lose some; mend this source now")


def _for_people(seconds: float) -> str:
    for unit, word in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds:.0f} s"
