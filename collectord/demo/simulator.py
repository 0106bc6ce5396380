"""One vendor's tenant on a loopback port: the frame on which the four vendors stand.

A vendor is a subclass that says what its API answers; everything that is the same for all of them happens here, in this
order: the checks of the client's manners, a fault if one is due, the credential, the rate limit, the route's handler.

    class AcmeSimulator(Simulator):
        vendor = "acme"

        def routes(self) -> Routes:                          # "METHOD /path/{place}" -> handler
            return {"GET /events/{kind}": self._events}

        def credential(self, call: Call) -> str | None:      # what the client presents, without its scheme word
            return call.headers.get("X-Acme-Token")

        def failure(self, status: int, code: str = "") -> Answer:   # an error in this vendor's shape
            return Answer.json({"error": code or str(status)}, status)

        async def _events(self, call: Call) -> Answer:
            return Answer.json([])

        def issue(self, count: int = 1, **options: Any) -> list[str]:    # calls `record_issued` for each
            ...                                              # `stream` and `odd` are options of every vendor

`record_issued` says what a client must deliver in the end; `buckets`, `rate_headers` and `told_to_wait` are for vendors
that count requests; `decorate` adds header lines to every answer.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, ClassVar

import anyio
from aiohttp import web

from collectord.demo import checks
from collectord.demo.exchange import Answer, Call, Exchanged, Headers
from collectord.demo.faults import Fault, Replay, VendorError
from collectord.demo.knobs import Knobs
from collectord.demo.limits import Allowance, RateBucket, take
from collectord.demo.served import Served
from collectord.demo.waits import Waits
from collectord.demo.wire import Wire

_TICK_SECONDS = 0.1
Handler = Callable[[Call], Awaitable[Answer]]
Routes = Mapping[str, Handler]


class Simulator(Served, ABC):
    """A vendor tenant. One event loop, no locks: handlers change state between two awaits only."""

    vendor: ClassVar[str]
    accept: ClassVar[str] = "application/json"
    open_routes: ClassVar[frozenset[str]] = frozenset()
    """Routes that take no credential, or check it themselves."""
    inventory: ClassVar[frozenset[str]] = frozenset()
    """Streams of objects that are listed anew at every poll: delivered again, they are no duplicates."""
    commands: ClassVar[frozenset[str]] = frozenset({"revoke", "accept_credential"})
    """Methods that another process may call by the control endpoint."""
    odd: ClassVar[Mapping[str, Sequence[str]]] = {}
    """By stream: kinds for `issue(odd=...)` that a client must deliver byte for byte, whatever parsers say."""
    joined: ClassVar[Mapping[str, str]] = {}
    """Streams to whose records collectord adds a member by a second call, e.g. `{"users": "groups"}`."""

    def __init__(self, credentials: Iterable[str], knobs: Knobs) -> None:
        super().__init__(self.handle)
        self.accepted: set[str] = set(credentials)
        self.revoked: set[str] = set()
        self.other_secrets: set[str] = set()
        """What must not stand in a URL either, e.g. a client secret."""
        self.issued: dict[str, dict[str, bytes]] = {}
        self.issued_joins: dict[str, dict[str, bytes]] = {}
        self.issued_count: Counter[str] = Counter()
        self.requests: deque[Exchanged] = deque(maxlen=10_000)
        """The latest of them; `counters` has `requests`, `rate_limited`, `unauthorized`, `faults`, `peak_in_flight`,
        `status 200`, `GET /path/{place}` of all."""
        self.in_flight: list[Call] = []
        self.knobs = knobs
        self._clock_offset: float | None = None
        self._waits = Waits()
        self._last_answers: dict[str, Answer] = {}
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    # ------------------------------------------------------------------------------------- what a vendor fills in

    @abstractmethod
    def routes(self) -> Routes:
        """`METHOD /path/{place}` and its handler; asked once."""

    @abstractmethod
    def credential(self, call: Call) -> str | None:
        """The secret that the client presents; None when there is none or in the wrong form."""

    @abstractmethod
    def failure(self, status: int, code: str = "") -> Answer:
        """An error as this vendor words it; `code` is the vendor's own, empty = the usual one for the status."""

    @abstractmethod
    def issue(self, count: int = 1, **options: Any) -> list[str]:
        """Make new records appear now and return their ids; options are `stream`, `odd` and the vendor's own."""

    def buckets(self, call: Call) -> Sequence[RateBucket]:
        """The limits this request counts against, the client's own first; none = unlimited."""
        del call
        return ()

    async def issue_steadily(self, rate_per_second: float, **options: Any) -> None:
        """Issue records for ever; start it in a task group and cancel it: `start_soon(okta.issue_steadily, 50)`."""
        started_at = anyio.current_time()
        done = 0
        while True:
            await anyio.sleep(_TICK_SECONDS)
            due = int((anyio.current_time() - started_at) * rate_per_second)
            self.issue(due - done, **options)
            done = due

    def rate_headers(self, allowance: Allowance) -> Headers:
        """Header lines that tell the client of its limit."""
        del allowance
        return ()

    def told_to_wait(self, answer: Answer) -> float | None:
        """Seconds that this answer tells the client to stay away; None when it says nothing of it."""
        told = answer.values("Retry-After")
        if answer.status in {429, 503} and told and told[0].isdecimal():
            return min(float(told[0]), self.longest_wait_seconds)
        return None

    longest_wait_seconds: ClassVar[float] = 3600.0
    """Nobody need believe a vendor that says more."""

    def on_rate_limited(self) -> None:  # most vendors do nothing
        """A request was refused by a rate limit; for vendors that log it."""

    def wait_key(self, call: Call) -> str:
        """What one word to wait holds for; the route unless the vendor counts otherwise."""
        return call.route or call.path

    def decorate(self, call: Call, answer: Answer) -> Answer:
        """Add the header lines that every answer of this vendor has."""
        return answer.adding(*self.rate_headers(call.allowance)) if call.allowance else answer

    def in_order(self, stream: str) -> Iterable[str] | None:
        """Ids in the order in which the vendor gives them; None = this stream has no order to keep."""
        return self.issued.get(stream, {})

    # ------------------------------------------------------------------------------------------ for tests and demo

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen until the block ends; gives the base URL."""
        self._clock_offset = time.time() - anyio.current_time()
        async with super().serve(port) as base_url:
            yield base_url

    def revoke(self, credential: str) -> None:
        """The credential was right once and is not any more; using it is an error, not a violation."""
        self.accepted.discard(credential)
        self.revoked.add(credential)

    def accept_credential(self, credential: str) -> None:
        self.accepted.add(credential)
        self.revoked.discard(credential)

    def now(self) -> float:
        """The vendor's clock, seconds since 1970; it follows the event loop's, so a fake clock moves it too."""
        own = time.time() if self._clock_offset is None else anyio.current_time() + self._clock_offset
        return own + self.knobs.clock_skew_seconds

    def now_ms(self) -> int:
        return int(self.now() * 1000)

    def meet_anew(self) -> None:
        """The client died and comes back: it does not know what its predecessor was told, or asked for."""
        self._waits.forget()

    def record_issued(self, stream: str, record_id: str, payload: bytes) -> None:
        """A client that collects everything must deliver exactly these bytes.

        An event is recorded when it appears. An object that changes under one id is recorded at every version that was
        served, as `id@version`; recorded again it moves to the end, so such a stream has no order of its own.
        """
        self.issued_count[stream] += 1
        if self.knobs.keep_issued:
            records = self.issued.setdefault(stream, {})
            records.pop(record_id, None)  # what is served last stands last
            records[record_id] = payload

    def violation(self, call: Call, reason: str) -> None:
        text = f"{call.method} {call.path}: {reason}"
        for secret in filter(None, self._secrets):
            text = text.replace(secret, "********")
        self.violations.append(text)

    @property
    def _secrets(self) -> set[str]:
        return self.accepted | self.revoked | self.other_secrets

    # --------------------------------------------------------------------------------------------- one request

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request from its arrival to the last byte handed to the connection."""
        call = await Call.read(request, anyio.current_time())
        self.in_flight.append(call)
        wire = Wire(request, self._gives_gzip(call), self.now)
        fault = self._met(call)
        try:
            handler = self._find(call)
            self._inspect(call)
            answer = await self._answer(call, handler, fault)
            response = await (fault or Fault()).send(wire, answer)
            self._remember_wait(call, answer)
            return response
        except ConnectionError:
            raise
        except Exception as error:
            self.violation(call, f"the simulator itself failed: {error!r}")
            raise
        finally:
            self.in_flight.remove(call)
            self._log(call, wire.status, fault)

    async def _answer(self, call: Call, handler: Handler | None, fault: Fault | None) -> Answer:
        if isinstance(fault, VendorError):
            return self.decorate(call, self.failure(fault.status, fault.code).adding(*fault.headers))
        if isinstance(fault, Replay) and call.route in self._last_answers:
            return self._last_answers[call.route]
        acts = fault is None or fault.vendor_acts
        answer = await self._admitted(call, handler) if acts else Answer()
        answer = self.decorate(call, fault.alter(answer) if fault else answer)
        self._last_answers[call.route] = answer
        return answer

    async def _admitted(self, call: Call, handler: Handler | None) -> Answer:
        if handler is None:
            self.violation(call, "there is no such path")
            return self.failure(404)
        if call.route not in self.open_routes and not self._is_authorized(call):
            self.counters["unauthorized"] += 1
            return self.failure(401)
        buckets = self.buckets(call)
        if buckets:
            call.allowance = take(buckets, self.now())
            if not call.allowance.allowed:
                self.counters["rate_limited"] += 1
                self.on_rate_limited()
                return self.failure(429)
        return await handler(call)

    def _find(self, call: Call) -> Handler | None:
        if not self._routes:
            self._routes = [(pattern, _compiled(pattern), handler) for pattern, handler in self.routes().items()]
        for pattern, compiled, handler in self._routes:
            match = compiled.fullmatch(f"{call.method} {call.path}")
            if match:
                call.route, call.parts = pattern, match.groupdict()
                return handler
        return None

    def _is_authorized(self, call: Call) -> bool:
        presented = self.credential(call)
        if presented in self.accepted:
            return True
        if presented is None:
            self.violation(call, "no credential, or one in the wrong form")
        elif presented not in self.revoked:
            self.violation(call, "a credential that this vendor never gave out")
        return False

    def _inspect(self, call: Call) -> None:
        self.counters["requests"] += 1
        self.counters["peak_in_flight"] = max(self.counters["peak_in_flight"], len(self.in_flight))
        reasons = [
            *checks.manners(call, self.accept),
            *checks.leaks(call, self._secrets),
            *checks.host(call, self.port),
        ]
        if len(self.in_flight) > self.knobs.max_in_flight:
            reasons.append(f"{len(self.in_flight)} requests at once, {self.knobs.max_in_flight} are allowed")
        reasons.append(self._waits.complaint(self.wait_key(call), call.at))
        for reason in filter(None, reasons):
            self.violation(call, reason)

    def _remember_wait(self, call: Call, answer: Answer) -> None:
        seconds = self.told_to_wait(answer)
        if seconds is not None:
            self._waits.tell(self.wait_key(call), anyio.current_time(), seconds)

    def _met(self, call: Call) -> Fault | None:
        fault = self.faults.take(call)
        if fault is not None:
            self.counters["faults"] += 1
        return fault

    def _gives_gzip(self, call: Call) -> bool:
        return self.knobs.gzip and "gzip" in call.headers.get("Accept-Encoding", "")

    def _log(self, call: Call, status: int, fault: Fault | None) -> None:
        self.counters[f"status {status}"] += 1
        self.counters[call.route or f"{call.method} {call.path}"] += 1
        name = type(fault).__name__ if fault else ""
        self.requests.append(Exchanged(call.method, call.target, status, call.at, name))


def digest_key(payload: bytes) -> str:
    """How the oracle knows a record that has no id."""
    return f"digest:{blake2b(payload, digest_size=16).hexdigest()}"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(pattern)))
