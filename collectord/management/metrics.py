"""`/metrics` in Prometheus' text format: the daemon's own counts, read when they are asked for.

Labels are names from the configuration and words of closed lists: nothing that a vendor sends becomes one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from anyio import to_thread
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from collectord import __version__
from collectord.health import State
from collectord.outbox import StreamKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from collectord.health import StreamStatus
    from collectord.management.views import Plant

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STREAM = ("source", "stream")


class _Snapshot(Collector):
    """Metrics as they were at one moment."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def text(plant: Plant) -> bytes:
    """Everything, as Prometheus reads it."""
    families = list(_families(plant))
    return await to_thread.run_sync(_render, families)


def _render(families: list[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(families))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _families(plant: Plant) -> Iterator[Metric]:
    yield InfoMetricFamily("collectord_build", "Version of collectord.", {"version": __version__})
    yield from _of_streams(plant)
    yield from _of_sources(plant)
    yield from _of_sinks(plant)
    yield CounterMetricFamily("collectord_store_commits", "Transactions of the state store.", plant.store.commits)
    open_events = GaugeMetricFamily("collectord_health_events_open", "Open health events.", labels=["severity"])
    severities = [event.severity for event in plant.health.open_events.values()]
    for severity in ("Error", "Warning"):
        open_events.add_metric([severity], severities.count(severity))
    yield open_events


def _of_streams(plant: Plant) -> Iterator[Metric]:
    streams = [
        (StreamKey(name, stream.name), stream)
        for name, running in plant.supervisor.running.items()
        for stream in running.status.streams
    ]
    yield from _counts_of_streams(plant, streams)
    outbox = plant.outbox
    backlogs = {key: outbox.by_stream[key] for key, _ in streams if key in outbox.by_stream}
    records = ((key, backlogs[key].records if key in backlogs else 0) for key, _ in streams)
    yield _gauge("collectord_backlog_records", "Records that wait to be delivered.", records)
    sizes = ((key, backlogs[key].size if key in backlogs else 0) for key, _ in streams)
    yield _gauge("collectord_backlog_bytes", "Bytes that wait to be delivered, as compressed.", sizes)
    lags = ((key, lag) for key, stream in streams if (lag := stream.lag_seconds()) is not None)
    yield _gauge("collectord_lag_seconds", "How far behind collecting is; absent before the first poll.", lags)
    successes = ((key, ms / 1000) for key, stream in streams if (ms := stream.last_success_ms) is not None)
    yield _gauge("collectord_last_success_timestamp_seconds", "When a poll last succeeded.", successes)
    polls = ((key, ms / 1000) for key, stream in streams if (ms := stream.next_poll_ms) is not None)
    yield _gauge("collectord_next_poll_timestamp_seconds", "When the next poll is planned.", polls)
    intervals = ((key, stream.interval_seconds) for key, stream in streams)
    yield _gauge("collectord_poll_interval_seconds", "Between two polls.", intervals)


def _counts_of_streams(plant: Plant, streams: list[tuple[StreamKey, StreamStatus]]) -> Iterator[Metric]:
    received = CounterMetricFamily("collectord_records_received", "Records fetched from vendors.", labels=_STREAM)
    dropped = CounterMetricFamily("collectord_records_dropped", "Records dropped by rules.", labels=_STREAM)
    duplicate = CounterMetricFamily(
        "collectord_records_duplicate", "Records fetched again in an overlap, and left out.", labels=_STREAM
    )
    delivered = CounterMetricFamily(
        "collectord_records_delivered", "Records acknowledged, counted once for each sink.", labels=_STREAM
    )
    for key, stream in streams:
        received.add_metric(key, stream.records_received)
        dropped.add_metric(key, stream.records_dropped)
        duplicate.add_metric(key, stream.duplicates_suppressed)
        delivered.add_metric(key, plant.outbox.delivered.get(key, 0))
    yield from (received, dropped, duplicate, delivered)


def _gauge(name: str, documentation: str, values: Iterable[tuple[StreamKey, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=_STREAM)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _of_sources(plant: Plant) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "collectord_source_state",
        "1 for the state that the source is in; Error is there always.",
        labels=("source", "type", "state"),
    )
    requests = CounterMetricFamily(
        "collectord_vendor_requests", "Requests to vendors by class of their status.", labels=("source", "status")
    )
    received = CounterMetricFamily(
        "collectord_vendor_received_bytes", "Bytes of vendors' answers, inflated.", labels=("source",)
    )
    waited = CounterMetricFamily(
        "collectord_vendor_rate_limit_wait_seconds", "Waited for vendors' rate limits.", labels=("source",)
    )
    for name, running in plant.supervisor.running.items():
        now = running.status.state
        for each in {now, State.ERROR}:  # all eight of a thousand sources would be most of what is scraped
            state.add_metric((name, running.status.type, each.value), int(each is now))
        traffics = [client.traffic for client in running.clients]
        answers = sum((traffic.answers for traffic in traffics), Counter[str]())
        for status in {"2xx", *answers}:
            requests.add_metric((name, status), answers[status])
        received.add_metric((name,), sum(traffic.received_bytes for traffic in traffics))
        waited.add_metric((name,), sum(traffic.waited_seconds for traffic in traffics))
    yield from (state, requests, received, waited)


def _of_sinks(plant: Plant) -> Iterator[Metric]:
    label = ("sink",)
    healthy = GaugeMetricFamily("collectord_sink_healthy", "1 while the sink takes batches.", labels=label)
    records = GaugeMetricFamily("collectord_sink_backlog_records", "Records that wait for the sink.", labels=label)
    size = GaugeMetricFamily("collectord_sink_backlog_bytes", "Bytes that wait for the sink.", labels=label)
    most = GaugeMetricFamily("collectord_sink_buffer_bytes", "How many bytes may wait for the sink.", labels=label)
    dead = GaugeMetricFamily("collectord_sink_dead_letters", "Records that the sink refused.", labels=label)
    batches = CounterMetricFamily("collectord_sink_batches", "Batches that the sink acknowledged.", labels=label)
    taken = CounterMetricFamily("collectord_sink_bytes", "Bytes that the sink acknowledged.", labels=label)
    outbox = plant.outbox
    for name, delivery in plant.deliveries.items():
        healthy.add_metric((name,), int(delivery.status.error is None))
        records.add_metric((name,), outbox.by_sink[name].records)
        size.add_metric((name,), outbox.by_sink[name].size)
        most.add_metric((name,), outbox.limits.get(name, 0))
        dead.add_metric((name,), outbox.dead_letters[name].records)
        batches.add_metric((name,), outbox.delivered_batches.get(name, 0))
        taken.add_metric((name,), outbox.delivered_bytes.get(name, 0))
    yield from (healthy, records, size, most, dead, batches, taken)
