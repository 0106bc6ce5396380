"""The fifth vendor's tenant on the frame of the simulators, and its row for the demonstration's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from collectord.demo.exchange import Answer, Call
from collectord.demo.knobs import Knobs
from collectord.demo.limits import RateBucket
from collectord.demo.simulator import Routes, Simulator, digest_key
from collectord.demo.tenants import Tenant

ODD = {
    "missing_id": lambda event: orjson.dumps({"at": event["at"], "text": event["text"]}),
    "huge_integer": lambda event: orjson.dumps(event)[:-1] + b',"n":123456789012345678901234567890}',
    "duplicate_keys": lambda event: orjson.dumps(event)[:-1] + b',"n":1,"n":2}',
}


@dataclass(kw_only=True)
class AcmeKnobs(Knobs):
    """What may differ between tenants."""

    requests_per_second: int | None = 5


class AcmeSimulator(Simulator):
    """Events in order of their number; `Acme-Next` says behind which."""

    vendor = "acme"
    odd: ClassVar[Mapping[str, Sequence[str]]] = {"events": tuple(ODD)}
    knobs: AcmeKnobs

    def __init__(self, token: str = "acmeDEMOdemoDEMOdemo") -> None:
        super().__init__([token], AcmeKnobs())
        self.token = token
        self._events: list[bytes] = []
        self._bucket = RateBucket(5, 1.0)

    def routes(self) -> Routes:
        return {"GET /events": self._page}

    def credential(self, call: Call) -> str | None:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else None

    def failure(self, status: int, code: str = "") -> Answer:
        answer = Answer.json({"error": code or str(status)}, status)
        return answer.adding(("Retry-After", "1")) if status == 429 else answer

    def buckets(self, call: Call) -> Sequence[RateBucket]:
        return () if self.knobs.requests_per_second is None else (self._bucket,)

    def issue(self, count: int = 1, **options: Any) -> list[str]:
        return [self._issue_one(number, **options) for number in range(count)]

    def _issue_one(self, number: int, stream: str = "events", odd: Sequence[str] = (), pretty: bool = False) -> str:
        key = f"e{len(self._events)}"
        event = {"id": key, "at": "2026-11-01T00:00:00Z", "text": f"event {key}"}
        kind = odd[number % len(odd)] if odd else ""
        body = ODD[kind](event) if kind else orjson.dumps(event)
        if pretty:
            body = orjson.dumps(event, option=orjson.OPT_INDENT_2)
        if kind == "missing_id":
            key = digest_key(body)
        self._events.append(body)
        self.record_issued(stream, key, body)
        return key

    async def _page(self, call: Call) -> Answer:
        first = int(call.query.get("after") or 0)
        page = self._events[first : first + int(call.query.get("limit", "10"))]
        answer = Answer(200, b"[" + b",".join(page) + b"]")
        return answer.adding(("Acme-Next", str(first + len(page))))


def tenant(poll_seconds: float) -> Tenant:
    """As a row of demo/tenants.py."""
    simulator = AcmeSimulator()
    return Tenant(
        source="acme-demo",
        simulator=simulator,
        schema="Acme",
        config={"host": "acme.test", "token": "${file:acme.token}"},
        options={"intervals": {"events": poll_seconds}},
        secrets={"acme.token": simulator.token},
        history={"events": 100},
        per_second={"events": 5.0},
        late={"stream": "events"},
    )
