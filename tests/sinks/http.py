"""The demo's own sink, with the face that the conformance suite asks for."""

from typing import Any

from collectord.demo.exchange import Call
from collectord.demo.sink import NdjsonSink, SinkKnobs
from tests.sinks.stand_in import SECRET


class Http(NdjsonSink):
    type = "http"
    is_idempotent = True

    def __init__(self) -> None:
        super().__init__(SinkKnobs(authorization=f"Bearer {SECRET}"))
        self.calls: list[Call] = []

    def settings(self, **options: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {SECRET}"}
        return {"type": "http", "url": f"{self.base_url}/ingest?key={SECRET}", "headers": headers, **options}

    def wrong_credential(self) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer x{SECRET}"}}

    def secrets(self) -> list[str]:
        return [SECRET]

    def events(self) -> list[bytes]:
        return [delivered.event for kept in self.records.values() for delivered in kept]

    @property
    def posts(self) -> list[Call]:
        return [call for call in self.calls if call.body]

    @property
    def largest(self) -> int | None:
        return self.knobs.max_batch_bytes

    @largest.setter
    def largest(self, size: int | None) -> None:
        self.knobs.max_batch_bytes = size

    @property
    def poison(self) -> bytes:
        return self.knobs.poison

    @poison.setter
    def poison(self, text: bytes) -> None:
        self.knobs.poison = text

    def _inspect(self, call, posted):
        self.calls.append(call)
        if call.method == "POST":
            super()._inspect(call, posted)
