"""A stand-in for Splunk's HTTP Event Collector: its codes, and indexer acknowledgement by channel."""

import json
import uuid
from typing import Any

import orjson

from collectord.demo.exchange import Answer, Call
from tests.sinks.stand_in import BadBody, StandIn, text_of

_SAYS = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    21: (400, "Invalid token"),
    22: (400, "Token disabled"),
    23: (503, "Server is shutting down"),
    24: (200, "Queue approaching capacity"),
    26: (429, "Queue at capacity"),
}
_KEYS = {"time", "host", "source", "sourcetype", "index", "event", "fields"}


def said(code: int, **more: Any) -> Answer:
    status, text = _SAYS[code]
    return Answer.json({"text": text, "code": code, **more}, status)


class SplunkHec(StandIn):
    type = "splunk_hec"
    is_idempotent = False

    def __init__(self, *arguments: Any, acknowledgement: bool = False) -> None:
        super().__init__(*arguments)
        self.acknowledgement = acknowledgement
        self.indexes = {"main", "security"}
        self.held: list[dict[str, Any]] = []
        """Events as they were indexed, the vendor's object as text under `raw`."""
        self.polls_until_indexed = 2
        self._pending: dict[str, dict[int, int]] = {}

    def settings(self, **options: Any) -> dict[str, Any]:
        extra = {"acknowledgement": True} if self.acknowledgement else {}
        return {"type": "splunk_hec", "url": self.base_url, "token": self.secret, **extra, **options}

    def wrong_credential(self) -> dict[str, Any]:
        return {"token": f"x{self.secret}"}

    def events(self) -> list[bytes]:
        return [each["raw"] for each in self.held]

    def answer(self, call: Call) -> Answer:
        given = call.headers.get("Authorization", "")
        if given != f"Splunk {self.secret}":
            return said(4 if given.startswith("Splunk ") else 2)
        if call.method != "POST":
            return Answer(405)
        channel = call.headers.get("X-Splunk-Request-Channel", "")
        if call.path == "/services/collector/ack":
            return self._acks(channel, call)
        if call.path not in {"/services/collector", "/services/collector/event"}:
            return Answer.json({"text": "The requested URL was not found on this server.", "code": 404}, 404)
        if self.acknowledgement and not _is_guid(channel):
            return said(11 if channel else 10)
        return self._posted(call, channel)

    def _posted(self, call: Call, channel: str) -> Answer:
        try:
            text = text_of(call)
        except BadBody:
            return said(6)
        if self.largest is not None and len(text) > self.largest:
            return Answer(413, b"<html>Content-Length is too large</html>", content_type="text/html")
        return self._events(text, channel) if text else said(5)

    def _events(self, text: bytes, channel: str) -> Answer:
        # Objects one behind another; those before a bad one are indexed.
        rest = text.decode()
        number = 0
        while rest := rest.lstrip():
            try:
                event, end = json.JSONDecoder().raw_decode(rest)
            except ValueError:
                return said(6, **{"invalid-event-number": number})
            code = self._code(event, rest[:end])
            if code:
                return said(code, **{"invalid-event-number": number})
            begin = rest.index('"event":') + len('"event":')
            _, length = json.JSONDecoder().raw_decode(rest[begin:])
            self.held.append({**event, "raw": rest[begin : begin + length].encode()})
            rest = rest[end:]
            number += 1
        if not self.acknowledgement:
            return said(0)
        pending = self._pending.setdefault(channel, {})
        pending[len(pending)] = self.polls_until_indexed
        return said(0, ackId=len(pending) - 1)

    def _code(self, event: Any, text: str) -> int:
        if not isinstance(event, dict) or not event.keys() <= _KEYS:
            return 6
        if "event" not in event:
            return 12
        if event["event"] in ("", None, {}):
            return 13
        if not isinstance(event.get("time", 0), int | float):
            return 6
        if event.get("index", "main") not in self.indexes:
            return 7
        fields = event.get("fields", {})
        if not isinstance(fields, dict) or any(isinstance(value, dict | None) for value in fields.values()):
            return 15
        return 6 if self.poison and self.poison in text.encode() else 0

    def _acks(self, channel: str, call: Call) -> Answer:
        if not self.acknowledgement:
            return said(14)
        if not channel:
            return said(10)
        pending = self._pending.setdefault(channel, {})
        acks = {}
        for number in orjson.loads(call.body)["acks"]:
            left = pending.get(number, -1)
            acks[str(number)] = left == 0
            pending[number] = left - 1  # once told, it is forgotten
        return Answer.json({"acks": acks})

    @property
    def posts(self) -> list[Call]:
        return [call for call in super().posts if not call.path.endswith("/ack")]


def _is_guid(channel: str) -> bool:
    try:
        return str(uuid.UUID(channel)) == channel
    except ValueError:
        return False
