"""What the API shows: the daemon's state as JSON objects, with no secret in any of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from collectord import __version__
from collectord.health import describe, iso
from collectord.outbox import StreamKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collectord.delivering import Delivery
    from collectord.health import HealthBoard, Resource, StreamStatus
    from collectord.limits import Budget
    from collectord.management.catalogue import Catalogue
    from collectord.outbox import Outbox
    from collectord.store import Store
    from collectord.supervisor import Running, Supervisor


@dataclass(slots=True)
class Plant:
    """The running daemon, as far as it is looked at and acted upon."""

    started_ms: int
    collector_name: str
    catalogue: Catalogue
    outbox: Outbox
    health: HealthBoard
    supervisor: Supervisor
    deliveries: Mapping[str, Delivery]
    store: Store
    is_ready: bool = False
    """From the first configuration applied until the daemon begins to stop."""

    def retry_sinks(self) -> None:
        """Try sinks in trouble again at once."""
        for delivery in self.deliveries.values():
            delivery.retry_now()


_Troubles = Counter[tuple["Resource", str]]
"""Open health events by what they are about and by severity."""


def status(plant: Plant) -> dict[str, Any]:
    """`GET /api/v1/status` and `status --json`, for orjson."""
    troubles = _troubles(plant)
    return {
        "collector": {
            "id": 1,
            "name": plant.collector_name,
            "version": __version__,
            "started_at": iso(plant.started_ms),
        },
        # Each as bytes at once: so many objects at a time would call for a whole garbage collection, in mid-answer.
        "sources": [
            orjson.Fragment(orjson.dumps(_source(plant, running, troubles)))
            for running in plant.supervisor.running.values()
        ],
        "sinks": [_sink(plant, name, delivery, troubles) for name, delivery in plant.deliveries.items()],
    }


def source_of(plant: Plant, name: str) -> dict[str, Any]:
    """One source, as in `status`."""
    return _source(plant, plant.supervisor.running[name], _troubles(plant))


def _troubles(plant: Plant) -> _Troubles:
    return Counter((event.resource, event.severity) for event in plant.health.open_events.values())


def _health(resource: Resource, troubles: _Troubles) -> dict[str, int]:
    return {"errors": troubles[resource, "Error"], "warnings": troubles[resource, "Warning"]}


def _source(plant: Plant, running: Running, troubles: _Troubles) -> dict[str, Any]:
    source = running.status
    # Two clients with one credential share a budget.
    budgets = {budget: bucket for client in running.clients for bucket, budget in client.held.items()}
    return {
        "id": source.id,
        "name": source.name,
        "type": source.type,
        "category": running.settings.config.category or plant.catalogue.daemon.collector.category,
        "state": source.state_object(),
        "health": _health(running.resource, troubles),
        "rate_budgets": [_budget(bucket, budget) for budget, bucket in budgets.items()],
        "streams": [_stream(plant, StreamKey(source.name, stream.name), stream) for stream in source.streams],
    }


def _budget(bucket: str, budget: Budget) -> dict[str, Any]:
    return {
        "bucket": bucket,
        "per_second": budget.per_second,
        "in_flight": budget.in_flight,
        "resting_seconds": round(budget.resting_seconds, 1),
    }


def _stream(plant: Plant, key: StreamKey, stream: StreamStatus) -> dict[str, Any]:
    backlog = plant.outbox.by_stream.get(key)
    lag = stream.lag_seconds()
    error = {} if stream.error is None else {"error": describe(stream.error)}
    return {
        "name": stream.name,
        "state": stream.state.value,
        **error,
        "interval_seconds": stream.interval_seconds,
        "last_success_at": iso(stream.last_success_ms),
        "next_poll_at": iso(stream.next_poll_ms),
        "lag_seconds": None if lag is None else round(lag, 1),
        "records_received": stream.records_received,
        "records_delivered": plant.outbox.delivered.get(key, 0),
        "records_dropped": stream.records_dropped,
        "duplicates_suppressed": stream.duplicates_suppressed,
        "last_hour": stream.last_hour.counts(time.time_ns() // 1_000_000),
        "backlog_records": backlog.records if backlog else 0,
        "backlog_bytes": backlog.size if backlog else 0,
        "checkpoint": plant.outbox.checkpoint(key) or {},
    }


def _sink(plant: Plant, name: str, delivery: Delivery, troubles: _Troubles) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": name, "type": delivery.status.type, "state": delivery.status.state}
    if delivery.status.error is not None:
        error = delivery.status.error
        shown["error"] = {"code": error.code, "message": error.message, "info": error.info}
    backlog = plant.outbox.by_sink[name]
    return {
        **shown,
        "backlog_records": backlog.records,
        "backlog_bytes": backlog.size,
        "buffer_bytes": plant.outbox.limits.get(name),
        "health": _health(delivery.status.resource, troubles),
        "dead_letters": plant.outbox.dead_letters[name].records,
    }


def health(plant: Plant, source: str | None = None) -> dict[str, Any]:
    """Open health events, then recent ones, newest first; of one source, or all."""

    def wanted(event: dict[str, Any]) -> bool:
        return source is None or event["resourceIdentity"]["name"] == source

    open_now = [event.as_dict() for event in plant.health.open_events.values()]
    return {"open": list(filter(wanted, open_now)), "recent": list(filter(wanted, reversed(plant.health.recent)))}
