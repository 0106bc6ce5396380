"""What every document has, whatever its stream: the frame around the fields that a stream's table produces."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from collectord.ecs.compiling import compiled
from collectord.ecs.naming import without
from collectord.records import iso_time

if TYPE_CHECKING:
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


_MOST_PROBLEMS = 20
_DECODE = msgspec.json.Decoder().decode
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
"""Every escape in JSON; the group is a lone surrogate."""


def _finite(number: str) -> float | str:
    """A number, or its text if no double holds it."""
    found = float(number)
    return found if math.isfinite(found) else number


_LENIENT = json.JSONDecoder(parse_float=_finite, parse_constant=str, strict=False)


class UnknownStream(ValueError):
    """There is no mapping for it; the message says for which there is."""

    def __init__(self, source_type: str, stream: str) -> None:
        known = ", ".join(f"{kind} {name}" for kind, name in DATASETS)
        super().__init__(f"no ECS mapping for stream {stream!r} of {source_type!r}; there is: {known}")


class Unreadable(ValueError):
    """A record that cannot be mapped at all; the message says why."""


class Mapper:
    """Maps the records of one stream."""

    unknown: dict[str, int]
    """How often each event type came that the table does not know, by all mappers of the process; boundedly many."""

    def __init__(
        self, source_type: str, stream: str, metadata: Metadata | None, *, namespace: str, original: bool
    ) -> None:
        name = DATASETS[source_type, stream]
        table = compiled(name)
        self.unknown = table.unknown
        self._fill = table.fill
        self._absent = table.absent
        self._sign = re.compile('"(?:{})"'.format("|".join(map(re.escape, sorted(table.absent)))).encode())
        self._original = original
        self._time = iso_time(metadata.receipt_ms if metadata else 0)
        self._event = {"module": name.partition(".")[0], "dataset": name}
        if metadata:
            self._event |= {"created": self._time, "ingested": self._time}
        self._frame = orjson.dumps(_frame(name, metadata, namespace, original=original))[:-1] + b","

    def __call__(self, raw: bytes | msgspec.Raw) -> bytes:
        """One document; never raises for what the vendor sent."""
        try:
            return self.document(raw)
        except Unreadable as error:
            return self._unmapped(raw, str(error))
        except Exception as error:  # noqa: BLE001  a fault of a table costs one record its fields, not the stream its way
            return self._unmapped(raw, f"cannot be mapped, {type(error).__name__}")

    def document(self, raw: bytes | msgspec.Raw) -> bytes:
        """One document; raises Unreadable for what is no JSON object, and the caller says so."""
        problems: list[str] = []
        try:
            try:
                record = _DECODE(raw)
            except msgspec.DecodeError:
                record = _read_leniently(bytes(raw), problems)
            if record.__class__ is not dict:
                raise Unreadable("not an object")
            if self._absent and self._may_hold_absent(bytes(raw)):
                record = without(record, self._absent)
            document = self._fill(record, self._event.copy(), problems)
            if problems or self._original or "@timestamp" not in document:
                self._complete(document, raw, problems)
            return self._frame + _encoded(document)[1:]
        except RecursionError:
            raise Unreadable("nested too deep") from None

    def _may_hold_absent(self, raw: bytes) -> bool:
        # A look at the bytes takes a third of the time that a look at every value takes. An escape may hide a word.
        return b"\\" in raw or self._sign.search(raw) is not None

    def _complete(self, document: dict[str, Any], raw: bytes | msgspec.Raw, problems: list[str]) -> None:
        document.setdefault("@timestamp", self._time)
        if problems:
            document["error"] = {"message": problems[:_MOST_PROBLEMS]}
        if problems or self._original:
            document["event"]["original"] = bytes(raw).decode("utf-8", "replace")

    def _unmapped(self, raw: bytes | msgspec.Raw, why: str) -> bytes:
        event = {**self._event, "kind": "pipeline_error"}
        document: dict[str, Any] = {"event": event}
        self._complete(document, raw, [f"record: {why}"])
        return self._frame + orjson.dumps(document)[1:]


def _read_leniently(raw: bytes, problems: list[str]) -> Any:
    """What a record says that no strict parser takes; raises Unreadable or RecursionError."""
    repaired = _ESCAPE.sub(_whole_character, raw)
    try:
        record = _LENIENT.decode(repaired.decode())
    except ValueError:
        raise Unreadable("not readable as JSON") from None
    problems.append(f"record: {'no strict JSON' if repaired == raw else 'half a character became U+FFFD'}")
    return record


def _encoded(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:  # a number beyond 64 bits, or an object within 254 others; rare, so the faster one is asked first
        return msgspec.json.encode(document)


def _whole_character(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


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
