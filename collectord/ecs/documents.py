"""What every document has, whatever its stream: the frame around the fields that a stream's table produces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from collectord.records import iso_time

if TYPE_CHECKING:
    import msgspec

    from collectord.records import Metadata

ECS_VERSION = "8.17.0"
_NETSKOPE_EVENTS = ["application", "audit", "infrastructure", "network", "page", "connection", "incident", "endpoint"]
DATASETS = {
    ("Okta", "events"): "okta.system",
    ("Okta", "users"): "okta.users",
    ("SailPoint", "events"): "sailpoint_identity_sc.events",
    ("SailPoint", "users"): "sailpoint_identity_sc.identities",
    ("SentinelOne Mgmt API", "activities"): "sentinel_one.activity",
    ("SentinelOne Mgmt API", "threats"): "sentinel_one.threat",
    ("SentinelOne Mgmt API", "agents"): "sentinel_one.agent",
    ("Netskope", "alert"): "netskope.alerts",
    **{("Netskope", name): "netskope.events" for name in _NETSKOPE_EVENTS},
}
"""(source type, stream) → dataset; Okta's users are ours, Elastic's integrations name all the others."""


class UnknownStream(ValueError):
    """There is no mapping for it; the message says for which there is."""

    def __init__(self, source_type: str, stream: str) -> None:
        known = ", ".join(f"{kind} {name}" for kind, name in DATASETS)
        super().__init__(f"no ECS mapping for stream {stream!r} of {source_type!r}; there is: {known}")


class Mapper:
    """Maps the records of one stream."""

    unknown: dict[str, int]
    """How often each event type came that the table does not know, since the process began; boundedly many."""

    def __init__(
        self, source_type: str, stream: str, metadata: Metadata | None, *, namespace: str, original: bool
    ) -> None:
        name = DATASETS[source_type, stream]
        self.unknown = {}
        self._original = original
        self._module = name.partition(".")[0]
        self._time = iso_time(metadata.receipt_ms if metadata else 0)
        self._event = {"module": self._module, "dataset": name, "kind": "event"}
        if metadata:
            self._event |= {"created": self._time, "ingested": self._time}
        self._frame = orjson.dumps(_frame(name, metadata, namespace, original=original))[:-1]

    def __call__(self, raw: bytes | msgspec.Raw) -> bytes:
        """One document; never raises for what the vendor sent."""
        text = bytes(raw)
        event: dict[str, Any] = dict(self._event)
        document: dict[str, Any] = {"@timestamp": self._time, "event": event}
        try:
            document[self._module] = orjson.loads(text)
        except ValueError:
            event["kind"] = "pipeline_error"
            document["error"] = {"message": ["not readable as JSON"]}
        if self._original:
            event["original"] = text.decode("utf-8", "replace")
        return self._frame + b"," + orjson.dumps(document)[1:]


def _frame(name: str, metadata: Metadata | None, namespace: str, *, original: bool) -> dict[str, Any]:
    tags = ["preserve_original_event"] if original else []
    frame: dict[str, Any] = {
        "data_stream": {"type": "logs", "dataset": name, "namespace": namespace},
        "ecs": {"version": ECS_VERSION},
        "tags": [*tags, "forwarded", name.replace(".", "-")],
    }
    if metadata:
        frame["agent"] = {"name": metadata.collector, "type": "collectord"}
        labels = {"source": metadata.source, "source_category": metadata.category, **metadata.fields}
        frame["labels"] = {key.replace(".", "_"): value for key, value in labels.items() if value}
    return frame
