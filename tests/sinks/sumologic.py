"""A stand-in for Sumo Logic's HTTP Logs and Metrics source, strict about its headers and sizes."""

import json
from typing import Any, NamedTuple

from collectord.demo.exchange import Answer, Call
from tests.sinks.stand_in import BadBody, StandIn, text_of

_MOST_BYTES = 1_000_000
_MOST_FIELDS = 30


class Message(NamedTuple):
    text: bytes
    name: str
    host: str
    category: str
    fields: dict[str, str]


class SumoLogic(StandIn):
    type = "sumologic"
    is_idempotent = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.messages: list[Message] = []
        self.problem = b""
        """The body of its answers with 200."""

    def settings(self, **options: Any) -> dict[str, Any]:
        return {"type": "sumologic", "url": f"{self.base_url}/receiver/v1/http/{self.secret}", **options}

    def wrong_credential(self) -> dict[str, Any]:
        return {"url": f"{self.base_url}/receiver/v1/http/x{self.secret}"}

    def events(self) -> list[bytes]:
        return [message.text for message in self.messages]

    def answer(self, call: Call) -> Answer:
        if call.path != f"/receiver/v1/http/{self.secret}":
            return Answer.json({"status": 401, "code": "unauthorized", "message": call.path}, 401)
        if call.method != "POST":
            return Answer(405)
        try:
            text = text_of(call)
        except BadBody:
            return Answer(400)
        if self.largest is not None and len(text) > self.largest:
            return Answer(413)
        if self.poison and self.poison in text:
            return Answer(400)
        if text:
            self._take(call, text)
        return Answer(200, self.problem)

    def _take(self, call: Call, text: bytes) -> None:
        lines = text.split(b"\n")
        if lines.pop() != b"":
            self.violations.append("the last line is not ended")
        if len(text) > _MOST_BYTES and len(lines) > 1:
            self.violations.append(f"{len(text)} bytes in one request")
        for line in lines:
            if not isinstance(json.loads(line), dict):
                self.violations.append(f"no JSON object: {line[:100]!r}")
        pairs = [pair.partition("=") for pair in call.headers.get("X-Sumo-Fields", "").split(",") if pair]
        fields = {name.strip(): value for name, _, value in pairs}
        if len(pairs) > _MOST_FIELDS or len(fields) != len(pairs) or not all(fields.values()):
            self.violations.append(f"not fields that can be taken: {pairs}")
        name, host, category = (call.headers.get(f"X-Sumo-{each}", "") for each in ("Name", "Host", "Category"))
        self.messages += [Message(line, name, host, category, fields) for line in lines]
