"""A Netskope tenant: the iterators of its data export, rate limits, errors (okta-netskope.md 2.6).

`netskope.issue(2500, stream="alert")` makes records appear; `async with netskope.serve() as base_url` serves them;
`netskope.violations` says what the client did wrong, `netskope.knobs` and `netskope.fail` make life harder for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, ClassVar

import anyio
import orjson

from collectord.demo.exchange import Answer, Call, Headers
from collectord.demo.faults import BadGzip, Cut, Fault, Reset
from collectord.demo.limits import Allowance, RateBucket
from collectord.demo.netskope_events import NetskopeEvents
from collectord.demo.netskope_export import HOUR_MS, Export, Index, Row
from collectord.demo.netskope_knobs import EXPORT, STREAMS, Flavour, NetskopeKnobs
from collectord.demo.netskope_odd import ODD, UNREADABLE, WITHOUT_ID
from collectord.demo.netskope_prerendered import PrerenderedExport
from collectord.demo.prerendered import Rendering
from collectord.demo.simulator import Routes, Simulator, digest_key
from collectord.demo.waits import Waits

DEMO_TOKEN = "0123456789abcdefDEMO"  # noqa: S105  # a simulator's, good for nothing else
_ODD_KINDS = {**ODD, **UNREADABLE}
_INDEX = re.compile(r"[a-z0-9-]{1,63}")
_MESSAGES: dict[int, Any] = {
    400: {"status": "error", "message": "Invalid operation"},
    401: {"message": "Unauthorized"},
    403: {"message": "You cannot consume this service"},
    404: {"message": "no Route matched with those values"},
    409: {"error": "Concurrent requests with the same index are not allowed"},
    429: {"message": "API rate limit exceeded"},
}


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(status)
        self.answer = Answer.json(body or _MESSAGES[status], status)


class NetskopeSimulator(Simulator):
    """One tenant; `token` is the API token that it takes."""

    vendor = "netskope"
    odd: ClassVar[Mapping[str, Sequence[str]]] = dict.fromkeys(STREAMS, tuple(ODD))
    commands = Simulator.commands | {"issue", "prerender", "drop_index"}
    knobs: NetskopeKnobs

    def __init__(
        self, token: str = DEMO_TOKEN, knobs: NetskopeKnobs | None = None, *, seed: int = 0, event_bytes: int = 1_500
    ) -> None:
        super().__init__([token], knobs or NetskopeKnobs())
        self.token = token
        self.exports = {stream: Export() for stream in STREAMS}
        self.indexes: dict[tuple[str, str], Index] = {}
        """By stream and name."""
        self.on_next: Callable[[str, list[str]], Awaitable[str]] | None = None
        """Asked whenever `next` gives up the last page: its stream and keys; says what is wrong with that, if anything.

        Here a test looks whether the page is where no crash can take it away."""
        self._events = NetskopeEvents(seed, event_bytes)
        self._random = Random(seed)
        self._buckets: dict[str, RateBucket] = {}
        self._prerendered: dict[str, PrerenderedExport] = {}
        self._page_waits = Waits()
        self._told: dict[Call, float] = {}
        self._met_faults: dict[Call, Fault] = {}
        self._dropped: set[str] = set()
        self._turn = 0

    # ------------------------------------------------------------------------------------------------- issuing

    def issue(self, count: int = 1, **flavour: Any) -> list[str]:
        """Make records appear now and return their keys; options are those of Flavour: `issue(3, stream="audit")`."""
        wanted = Flavour(**flavour)
        return [self._issue_one(wanted, number) for number in range(count)]

    def prerender(
        self, total: int, page_size: int = 10_000, *, stream: str = "page", distinct_pages: int | None = None
    ) -> None:
        """Serve an export that is rendered now; nothing of it is kept for the oracle, and rate limits stay as they are.

        All its records lie within the last hours when rendering starts.
        """
        packed = self.knobs.gzip and distinct_pages is None
        rendering = Rendering(total, page_size, distinct_pages, packed)
        self._prerendered[stream] = PrerenderedExport(rendering, stream, self._events, int(self.now()) - 36_000)
        self.issued_count[stream] += total

    def meet_anew(self) -> None:
        super().meet_anew()
        self._page_waits.forget()

    def drop_index(self, stream: str) -> None:
        """Forget every iterator of a stream: nobody knows how long one that is not used is kept."""
        for key in [key for key in self.indexes if key[0] == stream]:
            del self.indexes[key]
            self._dropped.add(key[1])

    def in_order(self, stream: str) -> Sequence[str] | None:
        return None if self.knobs.shuffle else [row.key for row in self.exports[stream].rows]

    def _issue_one(self, flavour: Flavour, number: int) -> str:
        stream = flavour.stream or STREAMS[self._turn % len(STREAMS)]
        self._turn += 1
        export = self.exports[stream]
        insert_ms = self.now_ms() + int((flavour.visible_after_seconds - flavour.age_seconds) * 1000)
        if not flavour.visible_after_seconds and not flavour.age_seconds:
            insert_ms = max(insert_ms, export.served_ms)
        time_ms = insert_ms - int(flavour.late_seconds * 1000)
        event = self._events.event(stream, time_ms // 1000)
        event |= {"audit_log_event": flavour.text} if flavour.text else {}
        event |= {"description": flavour.description} if flavour.description else {}
        event |= {"_id": flavour.object_id} if flavour.object_id else {}
        kind = flavour.odd[number % len(flavour.odd)] if flavour.odd else ""
        body = _ODD_KINDS[kind](event) if kind else orjson.dumps(event)
        if flavour.pretty:
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n  ")
        seq = export.next_seq()
        if "_id" not in event or kind in WITHOUT_ID:
            key = digest_key(body)
        else:
            key = f"{event['_id']}@{seq}" if stream == "incident" else event["_id"]
        export.add(Row(insert_ms, seq, time_ms // 1000 * 1000, key, body))
        self.record_issued(stream, key, body)
        return key

    # -------------------------------------------------------------------------------------- what Simulator asks

    def routes(self) -> Routes:
        return {f"GET {EXPORT}/{stream}": partial(self._export, stream) for stream in STREAMS}

    def credential(self, call: Call) -> str | None:
        return call.headers.get("Netskope-Api-Token")

    def failure(self, status: int, code: str = "") -> Answer:
        if status == 401 and not code:
            status = self.knobs.bad_token_status
        return Answer.json(
            {"message": code} if code else _MESSAGES.get(status, {"status": {"message": "oops"}}), status
        )

    def buckets(self, call: Call) -> Sequence[RateBucket]:
        limit = self.knobs.requests_per_second
        if limit is None:
            return ()
        bucket = self._buckets.setdefault(call.path, RateBucket(limit, 1.0))
        bucket.limit = limit
        return (bucket,)

    def rate_headers(self, allowance: Allowance) -> Headers:
        return (
            ("RateLimit-Limit", str(allowance.limit)),
            ("RateLimit-Remaining", str(allowance.remaining)),
            ("RateLimit-Reset", str(max(1, math.ceil(allowance.reset_at - self.now())))),
        )

    def decorate(self, call: Call, answer: Answer) -> Answer:
        answer = super().decorate(call, answer).adding(("x-request-id", f"req-{self.counters['requests']:08d}"))
        limited = call.allowance is not None and not call.allowance.allowed
        if limited and self.knobs.retry_after is not None:
            return answer.adding(("Retry-After", self.knobs.retry_after))
        return answer

    def told_to_wait(self, answer: Answer) -> float | None:
        told = super().told_to_wait(answer)
        left, resets = answer.values("RateLimit-Remaining"), answer.values("RateLimit-Reset")
        if told is None and left[-1:] == ["0"] and float(resets[-1]) <= self.longest_wait_seconds:
            return float(resets[-1])
        return told

    # ------------------------------------------------------------------------- what became of an answer on its way

    def _met(self, call: Call) -> Fault | None:
        fault = super()._met(call)
        if fault is not None:
            self._met_faults[call] = fault
        return fault

    def _remember_wait(self, call: Call, answer: Answer) -> None:
        super()._remember_wait(call, answer)
        seconds = self._told.get(call)
        if seconds and call not in self._met_faults:
            self._page_waits.tell(f"{call.path} {call.query['index']}", anyio.current_time(), seconds)

    def _log(self, call: Call, status: int, fault: Fault | None) -> None:
        super()._log(call, status, fault)
        self._told.pop(call, None)
        self._met_faults.pop(call, None)

    # ------------------------------------------------------------------------------------------------ handlers

    async def _export(self, stream: str, call: Call) -> Answer:
        try:
            name, operation = self._question(stream, call)
            if self.knobs.answer_seconds:
                await anyio.sleep(self.knobs.answer_seconds)
            self.counters[f"{stream} {'epoch' if operation.isdecimal() else operation}"] += 1
            if stream in self._prerendered:
                return self._prerendered_page(call, self._prerendered[stream], name, operation)
            complaint = self._page_waits.complaint(f"{call.path} {name}", call.at)
            if complaint:
                self.violation(call, f"wait_time: {complaint}")
            index = await self._moved(call, stream, name, operation)
        except Refused as refused:
            return refused.answer
        self.indexes[stream, name] = index
        index.was_lost = self._is_lost(call)
        return self._page(call, index)

    def _question(self, stream: str, call: Call) -> tuple[str, str]:
        """Index and operation, if this may be asked here and now."""
        if stream in self.knobs.denied:
            raise Refused(403)
        if stream in self.knobs.absent:
            raise Refused(404)
        unknown = call.query.keys() - {"index", "operation"}
        if unknown:
            self.violation(call, f"unknown parameters: {', '.join(sorted(unknown))}")
        name, operation = call.query.get("index", ""), call.query.get("operation", "")
        known = {"next", "resend"} | ({"head", "tail"} if self.knobs.head_and_tail else set())
        if not name or not (operation.isdecimal() or operation in known):
            raise Refused(400)
        if not _INDEX.fullmatch(name):
            self.violation(call, f"nobody knows whether {name!r} is a legal index")
        others = [other for other in self.in_flight if other is not call and other.path == call.path]
        if others:
            self.counters["overlaps"] += 1
        if any(self.knobs.conflict_by == "path" or other.query.get("index") == name for other in others):
            raise Refused(409)
        return name, operation

    async def _moved(self, call: Call, stream: str, name: str, operation: str) -> Index:
        """The index with the page to send; it has moved before a byte of it is on its way."""
        export, now_ms, limit = self.exports[stream], self.now_ms(), self.knobs.page_size
        if operation.isdecimal():
            epoch_ms = int(operation) * 1000
            by_event = self.knobs.epoch_by == "event"
            index = Index((epoch_ms, 0), epoch_ms if by_event else 0, epoch_ms)
        else:
            index = self.indexes.get((stream, name)) or self._fresh(call, stream, name, operation)
        if operation == "resend":
            return index
        if operation == "tail":
            return replace(index, page=export.newest(now_ms, limit))
        if operation == "head":
            index = Index((0, 0))
        if operation == "next":
            await self._look_at_next(call, stream, index)
        export.advance(index, now_ms, limit, hour_batches=self.knobs.hour_batches and operation != "head")
        if self.knobs.shuffle:
            self._random.shuffle(index.page)
        return index

    def _fresh(self, call: Call, stream: str, name: str, operation: str) -> Index:
        if name not in self._dropped:
            self.violation(call, f"{operation} on an index of {stream} that was never positioned")
        if operation == "resend" and self.knobs.fresh_index == "refused":
            raise Refused(400, {"status": "error", "message": "nothing to resend"})
        return Index((self.now_ms(), 0))

    async def _look_at_next(self, call: Call, stream: str, index: Index) -> None:
        if index.was_lost:
            self.violation(call, f"next, although the last page of {len(index.page)} records broke off: it is lost")
        if self.on_next is not None:
            complaint = await self.on_next(stream, [row.key for row in index.page])
            if complaint:
                self.violation(call, complaint)

    def _is_lost(self, call: Call) -> bool:
        fault = self._met_faults.get(call)
        if isinstance(fault, BadGzip):
            return fault.kind != "members"
        return isinstance(fault, Cut | Reset)

    def _page(self, call: Call, index: Index) -> Answer:
        rows = index.page
        if len(rows) >= self.knobs.page_size:
            wait = self.knobs.wait_full
        elif rows:
            wait = self.knobs.wait_some
        else:  # an hour without records is not the end
            wait = self.knobs.wait_idle if index.at[0] > self.now_ms() - HOUR_MS else self.knobs.wait_full
        members = []
        if wait is not None:
            members.append(b'"wait_time":' + orjson.dumps(wait))
            self._told[call] = wait
        hwm_ms = self.now_ms() if self.knobs.hwm == "moving" and not rows else index.hwm_ms
        if hwm_ms is not None and self.knobs.hwm != "absent":
            members.append(b'"timestamp_hwm":%d' % (hwm_ms // 1000))
        if self.knobs.extra_keys:
            members.append(b'"analyze_result":{"took":3}')
        body = b",".join([b'{"ok":1', b'"result":[' + b",".join([row.body for row in rows]) + b"]", *members]) + b"}"
        return Answer(200, body)

    def _prerendered_page(self, call: Call, export: PrerenderedExport, name: str, operation: str) -> Answer:
        if operation.isdecimal():
            number = export.pages if int(operation) > self.now() else 0
        else:
            number = export.places.get(name, -1) + (operation == "next")
            if number < 0:
                self.violation(call, f"{operation} on an index that was never positioned")
        export.places[name] = number = min(number, export.pages)
        plain, packed = export.body(number)
        return Answer(200, plain, gzipped=packed)
