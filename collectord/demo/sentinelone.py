"""A SentinelOne console: activities, threats, agents, its token and its limits (sailpoint-sentinelone.md part B).

`console.issue(2500, stream="threats")` makes rows, `console.touch("threats")` changes some, `async with
console.serve()` serves them; `console.violations` says what the client did wrong, `console.knobs` and `console.fail`
make life harder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, ClassVar

import orjson

from collectord.demo.exchange import Answer, Call
from collectord.demo.limits import RateBucket
from collectord.demo.prerendered import Rendering
from collectord.demo.sentinelone_cursors import Cursors
from collectord.demo.sentinelone_knobs import ACTIVITIES, AGENTS, PREFIX, THREATS, Flavour, SentinelOneKnobs
from collectord.demo.sentinelone_objects import SentinelOneObjects, iso, snowflake
from collectord.demo.sentinelone_odd import NAMELESS, ODD, UNREADABLE
from collectord.demo.sentinelone_prerendered import PrerenderedList
from collectord.demo.sentinelone_query import Refused, complaints, error_answer, read_query, unknown_parameters
from collectord.demo.sentinelone_rates import SentinelOneRates
from collectord.demo.sentinelone_table import RETENTION_MICROS, Query, Row, Table, behind
from collectord.demo.simulator import Routes, Simulator, digest_key

DEMO_TOKEN = "S1DEMOdemoDEMOdemoDEMOdemo"  # noqa: S105  # a simulator's, good for nothing else
MIXED = "mixed"
STREAMS = (ACTIVITIES, THREATS, AGENTS)
_HALF_A_DAY_MICROS = 43_200 * 1_000_000
_ODD_KINDS = {**ODD, **UNREADABLE}


class SentinelOneSimulator(Simulator):
    """One console; `token` is the API token that it takes."""

    vendor = "sentinelone"
    inventory: ClassVar[frozenset[str]] = frozenset({AGENTS})
    odd: ClassVar[Mapping[str, Sequence[str]]] = dict.fromkeys(STREAMS, tuple(ODD))
    open_routes: ClassVar[frozenset[str]] = frozenset({f"GET {PREFIX}/system/status"})
    commands = Simulator.commands | {"issue", "touch", "heartbeat", "remove", "prerender", "forget_cursors"}
    knobs: SentinelOneKnobs

    def __init__(
        self,
        token: str = DEMO_TOKEN,
        knobs: SentinelOneKnobs | None = None,
        *,
        seed: int = 0,
        sizes: dict[str, int] | None = None,
    ) -> None:
        super().__init__([token], knobs or SentinelOneKnobs())
        self.token = token
        self.tables = {stream: Table(expires=stream == ACTIVITIES) for stream in STREAMS}
        self._objects = SentinelOneObjects(seed, {ACTIVITIES: 900, THREATS: 4_000, AGENTS: 3_000} | (sizes or {}))
        self._cursors = Cursors(self.knobs)
        self._rates = SentinelOneRates(self.knobs)
        self._random = Random(seed)
        self._prerendered: PrerenderedList | None = None
        self._order: dict[str, list[tuple[int, int, str]]] = {stream: [] for stream in STREAMS}
        self._disordered = {AGENTS}
        self._latest = 0
        self._number = 0
        self._mixed = 0
        self._born = self.now()

    # ------------------------------------------------------------------------------------------------- issuing

    def issue(self, count: int = 1, **flavour: Any) -> list[str]:
        """Make rows now and return the oracle's keys; options are those of Flavour, `stream="mixed"` does all sorts."""
        if flavour.get("stream") == MIXED:
            return [key for _ in range(count) for key in self._issue_mixed()]
        wanted = Flavour(**flavour)
        moment = self._fresh_micros()
        return [
            self._issue_one(wanted, number, moment if wanted.same_moment else self._fresh_micros())
            for number in range(count)
        ]

    async def issue_steadily(self, rate_per_second: float, **options: Any) -> None:
        """Issue records for ever, of all lists unless told otherwise."""
        await super().issue_steadily(rate_per_second, **({"stream": MIXED} | options))

    def touch(self, stream: str, count: int = 1, ids: Sequence[str] = ()) -> list[str]:
        """New versions of rows, of random ones unless `ids` says which."""
        table = self.tables[stream]
        chosen = list(ids) or self._random.sample(list(table.rows), min(count, len(table.rows)))
        return [self._touch_one(stream, table.rows[row_id]) for row_id in chosen]

    def heartbeat(self, ids: Sequence[str] = ()) -> None:
        """Agents show that they live: `lastActiveDate` changes and `updatedAt` does not."""
        for row_id in list(ids) or list(self.tables[AGENTS].rows):
            row = self.tables[AGENTS].rows[row_id]
            alive = iso(self._fresh_micros())
            is_owed = row.is_required and not row.is_served
            self._withdraw(AGENTS, row)
            row.document = {**row.document, "lastActiveDate": alive}
            row.body = orjson.dumps(row.document)
            row.key = f"{row.id}@{row.document['updatedAt']} alive {alive}"
            row.is_served, row.is_required = False, is_owed
            if is_owed:
                self.record_issued(AGENTS, row.key, row.body)

    def remove(self, stream: str, row_id: str) -> None:
        """A row is gone; nobody need deliver what was never given out of it."""
        self._withdraw(stream, self.tables[stream].rows.pop(row_id))

    def prerender(
        self, total: int, page_size: int = 1000, *, distinct_pages: int | None = None, stream: str = THREATS
    ) -> None:
        """Serve a list that is rendered now; nothing of it is kept for the oracle, and rate limits stay as they are.

        All its rows are from the half day before rendering starts, and none from its last hours.
        """
        rendering = Rendering(total, page_size, distinct_pages, self.knobs.gzip and distinct_pages is None)
        self._prerendered = PrerenderedList(rendering, stream, self._objects, self._now_micros() - _HALF_A_DAY_MICROS)
        self.issued_count[stream] += total

    def forget_cursors(self) -> None:
        """Refuse every cursor that was given until now."""
        self._cursors.forget(self.now())

    def meet_anew(self) -> None:
        super().meet_anew()
        self._rates.meet_anew()

    def in_order(self, stream: str) -> Sequence[str] | None:
        if stream in self._disordered:
            return None
        return [key for _, _, key in sorted(self._order[stream])]

    def _issue_mixed(self) -> list[str]:
        self._mixed += 1
        turn = self._mixed % 8
        if turn == 2 and self.tables[THREATS].rows:
            return self.touch(THREATS)
        if turn == 4 and self._mixed % 40 != 4:
            return self.touch(AGENTS)
        return self.issue(1, stream={0: THREATS, 4: AGENTS}.get(turn, ACTIVITIES))

    def _issue_one(self, flavour: Flavour, number: int, moment: int) -> str:
        stream = flavour.stream
        now = self._now_micros()
        created = moment - int((flavour.late_seconds + flavour.age_seconds) * 1_000_000)
        visible = created if flavour.age_seconds else now + int(flavour.appear_after_seconds * 1_000_000)
        self._number += 1
        row_id = snowflake(created, self._number)
        document = self._objects.make(stream, row_id, created, zone=not self.knobs.zoneless_times)
        kind = flavour.odd[number % len(flavour.odd)] if flavour.odd else ""
        body = _ODD_KINDS[kind](document) if kind else orjson.dumps(document)
        if flavour.pretty:
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n  ")
        row = Row(row_id, created, created, visible, "", document, body)
        row.key = digest_key(body) if kind in NAMELESS else self._key(stream, row)
        self.tables[stream].add(row)
        if flavour.late_seconds or flavour.appear_after_seconds:
            self._disordered.add(stream)
        if stream != ACTIVITIES or created >= now - RETENTION_MICROS:
            self.record_issued(stream, row.key, body)
            self._order[stream].append((created, int(row_id), row.key))
        return row.key

    def _touch_one(self, stream: str, row: Row) -> str:
        self._withdraw(stream, row)
        row.updated = row.visible = self._fresh_micros()
        time = iso(row.updated, zone=not self.knobs.zoneless_times)
        row.document = {**row.document, "updatedAt": time}
        if stream == THREATS:
            del row.document["updatedAt"]
            row.document["threatInfo"] = {**row.document["threatInfo"], "updatedAt": time, "incidentStatus": "resolved"}
        row.body = orjson.dumps(row.document)
        row.key = self._key(stream, row)
        row.is_served, row.is_required = False, True
        self.record_issued(stream, row.key, row.body)
        self._order[stream].append((row.updated, int(row.id), row.key))
        return row.key

    def _withdraw(self, stream: str, row: Row) -> None:
        """A version that nobody saw can be delivered by nobody."""
        if not row.is_served:
            self.issued.get(stream, {}).pop(row.key, None)

    def _key(self, stream: str, row: Row) -> str:
        return row.id if stream == ACTIVITIES else f"{row.id}@{iso(row.updated, zone=not self.knobs.zoneless_times)}"

    def _now_micros(self) -> int:
        return int(self.now() * 1_000_000)

    def _fresh_micros(self) -> int:
        self._latest = max(self._latest + 1, self._now_micros())
        return self._latest

    # -------------------------------------------------------------------------------------- what Simulator asks

    def routes(self) -> Routes:
        lists = {f"GET {PREFIX}/{stream}": partial(self._list, stream) for stream in STREAMS}
        return {
            **lists,
            f"GET {PREFIX}/activities/types": self._activity_types,
            f"GET {PREFIX}/agents/count": self._agent_count,
            f"GET {PREFIX}/system/status": self._system_status,
            f"GET {PREFIX}/system/info": self._system_info,
            f"POST {PREFIX}/users/api-token-details": self._token_details,
        }

    def credential(self, call: Call) -> str | None:
        if self.now() >= self._expires_at and self.token in self.accepted:
            self.revoke(self.token)
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return token if scheme.lower() == "apitoken" and token else None

    def failure(self, status: int, code: str = "") -> Answer:
        answer = error_answer(status, code=code)
        seconds = self.knobs.retry_after_seconds
        return answer.adding(("Retry-After", str(seconds))) if status == 429 and seconds is not None else answer

    def buckets(self, call: Call) -> Sequence[RateBucket]:
        return self._rates.buckets(self.credential(call) or "", call)

    def decorate(self, call: Call, answer: Answer) -> Answer:
        answer = answer.adding(("X-RQID", f"{self.counters['requests']:08x}-5e11"))
        return super().decorate(call, answer)

    @property
    def _expires_at(self) -> float:
        return self._born + self.knobs.token_lifetime_seconds

    # ------------------------------------------------------------------------------------------------ handlers

    async def _list(self, stream: str, call: Call) -> Answer:
        for reason in (*self._rates.complaints(call, self.in_flight), *complaints(call.query)):
            self.violation(call, reason)
        try:
            self._check_access(stream, call)
            if self._prerendered is not None and self._prerendered.stream == stream:
                return self._prerendered_page(call, self._prerendered)
            query = read_query(stream, call.query)
            rows = self.tables[stream].found(query, self._now_micros())
            answer = self._page(stream, call, query, rows)
        except Refused as refused:
            return refused.answer
        self._stir(stream, query)
        return answer

    def _check_access(self, stream: str, call: Call) -> None:
        if stream in self.knobs.denied:
            raise Refused(self.knobs.denied_status)
        unknown = unknown_parameters(stream, call.query)
        if unknown:
            self.violation(call, f"unknown parameters: {', '.join(unknown)}")
            if self.knobs.refuse_unknown_parameters:
                raise Refused(400, f"{unknown[0]}: Unknown field.")

    def _page(self, stream: str, call: Call, query: Query, rows: list[Row]) -> Answer:
        total = 0 if query.skip_count else len(rows)
        if query.count_only:
            return _listing([], None, len(rows))
        if "cursor" in call.query:
            if complaint := self._cursors.complaint(call.query):
                self.violation(call, complaint)
            rows = behind(rows, query, self._cursors.read(stream, query, call.query, self.now()))
        rows = rows[query.skip :]
        page = rows[: query.limit]
        for row in page:
            if not row.is_served:
                row.is_served = True
                if not row.is_required:
                    row.is_required = True
                    self.record_issued(stream, row.key, row.body)
        is_followed = len(rows) > len(page) or (self.knobs.last_page == "extra_empty" and len(page) > 0)
        following = None
        if page and is_followed:
            following = self._cursors.mint(stream, query, page[-1], call.query, self.now())
        return _listing([row.body for row in page], following, total)

    def _stir(self, stream: str, query: Query) -> None:
        """Let things change between two pages."""
        if stream == ACTIVITIES or query.limit == 1:
            return
        if self.knobs.touch_after_page:
            rows = sorted(self.tables[stream].rows.values(), key=lambda row: row.updated)
            half = self.knobs.touch_after_page - self.knobs.touch_after_page // 2
            chosen = [*rows[:half], *rows[len(rows) - self.knobs.touch_after_page // 2 :]]
            self.touch(stream, ids=list(dict.fromkeys(row.id for row in chosen)))
        if stream == AGENTS and self.knobs.insert_after_page:
            self.issue(self.knobs.insert_after_page, stream=AGENTS)

    def _prerendered_page(self, call: Call, rendered: PrerenderedList) -> Answer:
        query = read_query(rendered.stream, call.query)
        if query.limit not in {1, rendered.rendering.page_size}:
            self.violation(call, f"the list was rendered in pages of {rendered.rendering.page_size}")
        number: int | None = 0
        if "cursor" in call.query:
            number = rendered.number(call.query["cursor"])
        elif any(operator in {"gt", "gte"} and bound > rendered.end_micros for _, operator, bound in query.bounds):
            return _listing([], None, 0)
        if number is None:
            raise Refused(400, "cursor: Invalid cursor.")
        plain, packed = rendered.body(number)
        return replace(Answer(200, plain), gzipped=packed)

    async def _activity_types(self, call: Call) -> Answer:
        del call
        return Answer.json({"data": [{"id": 27, "action": "User Logged In", "descriptionTemplate": ""}]})

    async def _agent_count(self, call: Call) -> Answer:
        del call
        if AGENTS in self.knobs.denied:
            return self.failure(self.knobs.denied_status)
        return Answer.json({"data": {"total": len(self.tables[AGENTS].rows)}})

    async def _system_status(self, call: Call) -> Answer:
        del call
        return Answer.json({"data": {"health": "ok"}})

    async def _system_info(self, call: Call) -> Answer:
        del call
        return Answer.json({"data": {"version": "S-25.1.2", "build": "7", "patch": "1", "release": "GA"}})

    async def _token_details(self, call: Call) -> Answer:
        try:
            asked = orjson.loads(call.body)["data"]["apiToken"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self.violation(call, "no token to tell of")
            return self.failure(400)
        if asked != self.credential(call):
            self.violation(call, "asks for another's token")
            return self.failure(403)
        born, end = (iso(int(at * 1_000_000)) for at in (self._born, self._expires_at))
        return Answer.json({"data": {"createdAt": born, "expiresAt": end}})


def _listing(bodies: list[bytes], cursor: str | None, total: int) -> Answer:
    pagination = orjson.dumps({"totalItems": total, "nextCursor": cursor})
    return Answer(200, b'{"data":[' + b",".join(bodies) + b'],"pagination":' + pagination + b"}")
