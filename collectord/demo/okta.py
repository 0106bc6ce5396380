"""An Okta tenant: System Log, users and groups, rate limits, errors (okta-netskope.md 1.7).

`okta.issue(2500)` commits events; `async with okta.serve() as base_url` serves them; `okta.violations` says what the
client did wrong, `okta.knobs` and `okta.fail` make life harder for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, ClassVar

import orjson

from collectord.demo.exchange import Answer, Call, Headers
from collectord.demo.limits import Allowance, RateBucket
from collectord.demo.okta_errors import OktaError, error_answer
from collectord.demo.okta_events import OktaEvents
from collectord.demo.okta_knobs import GROUPS, LOGS, USERS, Flavour, OktaKnobs
from collectord.demo.okta_links import Cursors
from collectord.demo.okta_log import DAY_MS, RETENTION_MS, Position, StoredEvent, SystemLog
from collectord.demo.okta_odd import ODD, UNREADABLE
from collectord.demo.okta_prerendered import PrerenderedLog
from collectord.demo.okta_query import KNOWN, LogQuery, read_limit, read_query
from collectord.demo.okta_rates import OktaRates, seconds_to_wait
from collectord.demo.okta_users import KNOWN as KNOWN_OF_USERS
from collectord.demo.okta_users import Directory, check_parameters, omits_credentials
from collectord.demo.prerendered import Rendering
from collectord.demo.simulator import Routes, Simulator, digest_key

DEMO_TOKEN = "00DEMOdemoDEMOdemo"  # noqa: S105  # a simulator's, good for nothing else
_MAX_USERS = 200
_ODD_KINDS = {**ODD, **UNREADABLE}


class OktaSimulator(Simulator):
    """One tenant; `token` is the API key that it takes."""

    vendor = "okta"
    inventory: ClassVar[frozenset[str]] = frozenset({"users"})
    odd: ClassVar[Mapping[str, Sequence[str]]] = {"events": tuple(ODD)}
    joined: ClassVar[Mapping[str, str]] = {"users": "groups"}
    longest_wait_seconds = 120.0
    commands = Simulator.commands | {"issue", "add_users", "change_user", "delete_user", "prerender", "burn"}
    knobs: OktaKnobs

    def __init__(
        self, token: str = DEMO_TOKEN, knobs: OktaKnobs | None = None, *, seed: int = 0, event_bytes: int = 2_700
    ) -> None:
        super().__init__([token], knobs or OktaKnobs())
        self.token = token
        self.log = SystemLog()
        self.directory = Directory(seed)
        self._events = OktaEvents(seed, event_bytes)
        self._cursors = Cursors(self.knobs.links, Random(seed))
        self._rates = OktaRates(self.knobs)
        self._prerendered: PrerenderedLog | None = None
        self._last_persist_ms = 0
        self._violation_logged_at = 0.0

    # ------------------------------------------------------------------------------------------------- issuing

    def issue(self, count: int = 1, **flavour: Any) -> list[str]:
        """Commit events now and return their ids; options are those of Flavour: `issue(3, late_seconds=600)`."""
        wanted = Flavour(**flavour)
        if wanted.stream == "users":
            return self.add_users(count)
        return [self._issue_one(wanted, number) for number in range(count)]

    def add_users(self, count: int, status: str = "") -> list[str]:
        """New users of a status, or of mixed ones."""
        return self.directory.add(count, self.now_ms(), status)

    def change_user(self, user_id: str, **members: Any) -> None:
        """A new version of a user, e.g. `status="DEPROVISIONED"`."""
        self.directory.change(user_id, self.now_ms(), **members)

    def delete_user(self, user_id: str, *, still_listed: bool = False) -> None:
        """The user is gone; `still_listed` = the list still has it, its groups are 404 already."""
        if still_listed:
            self.directory.users[user_id].vanished = True
        else:
            self.directory.delete(user_id)

    def prerender(self, total: int, page_size: int = 1000, *, distinct_pages: int | None = None) -> None:
        """Serve a log that is rendered now; nothing of it is kept for the oracle, and rate limits stay as they are.

        All its events have been committed within the last twelve hours when rendering starts.
        """
        rendering = Rendering(total, page_size, distinct_pages, self.knobs.gzip and distinct_pages is None)
        self._prerendered = PrerenderedLog(rendering, self._events, self.now_ms() - DAY_MS // 2)
        self.issued_count["events"] += total

    def burn(self, path: str, count: int) -> None:
        """Other users of the tenant make `count` requests on a path (`LOGS`, `USERS`, `GROUPS`) now."""
        self._rates.burn(path, count, self.now())

    def in_order(self, stream: str) -> Sequence[str] | None:
        return [event.key for event in self.log.events] if stream == "events" else None

    def _issue_one(self, flavour: Flavour, number: int) -> str:
        now_ms = self.now_ms()
        persist_ms = now_ms + int((flavour.commit_after_seconds - flavour.age_seconds) * 1000)
        if not flavour.commit_after_seconds and not flavour.age_seconds:
            # A clock that is set back must not commit behind what was already read.
            persist_ms = self._last_persist_ms = max(persist_ms, self._last_persist_ms)
        published_ms = persist_ms - int(flavour.late_seconds * 1000)
        event = self._events.event(published_ms, flavour.event_type)
        kind = flavour.odd[number % len(flavour.odd)] if flavour.odd else ""
        body = _ODD_KINDS[kind](event) if kind else orjson.dumps(event)
        if flavour.pretty:
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n  ")
        key = digest_key(body) if kind == "missing_id" else str(event["uuid"])
        self.log.add(StoredEvent(persist_ms, self.log.next_seq(), published_ms, key, event["eventType"], body))
        if persist_ms >= now_ms - RETENTION_MS:
            self.record_issued("events", key, body)
        return key

    # -------------------------------------------------------------------------------------- what Simulator asks

    def routes(self) -> Routes:
        return {f"GET {LOGS}": self._logs, f"GET {USERS}": self._users, f"GET {GROUPS}": self._groups}

    def credential(self, call: Call) -> str | None:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return token if scheme == "SSWS" and token else None

    def failure(self, status: int, code: str = "") -> Answer:
        return error_answer(status, code)

    def buckets(self, call: Call) -> Sequence[RateBucket]:
        return self._rates.buckets(self.credential(call) or "", call.route.partition(" ")[2])

    def rate_headers(self, allowance: Allowance) -> Headers:
        return self._rates.headers(allowance)

    def decorate(self, call: Call, answer: Answer) -> Answer:
        answer = answer.adding(("X-Okta-Request-Id", f"req{self.counters['requests']:08d}"))
        return super().decorate(call, answer)

    def told_to_wait(self, answer: Answer) -> float | None:
        told = seconds_to_wait(answer, self.now())
        return super().told_to_wait(answer) if told is None else min(told, self.longest_wait_seconds)

    def on_rate_limited(self) -> None:
        if self.knobs.log_rate_violations and self.now() >= self._violation_logged_at + self.knobs.window_seconds:
            self._violation_logged_at = self.now()
            self.issue(event_type="system.org.rate_limit.violation")

    # ------------------------------------------------------------------------------------------------ handlers

    async def _logs(self, call: Call) -> Answer:
        try:
            self._check_access(call, KNOWN)
            if self._prerendered is not None:
                return self._prerendered_page(call, self._prerendered)
            query = read_query(call.query, self.now_ms())
            self._check_ceiling(query.limit)
            return self._polling_page(call, query) if query.is_polling else self._bounded_page(call, query)
        except OktaError as error:
            return error.answer

    def _polling_page(self, call: Call, query: LogQuery) -> Answer:
        position = self._position(call) or (query.since_ms, 0)
        events = self.log.polled(position, self.now_ms(), query.limit, query.matches)
        last = events[-1].persisted if events else position
        return self._page(call, [event.body for event in events], self._cursors.mint(last, self.now()))

    def _bounded_page(self, call: Call, query: LogQuery) -> Answer:
        now_ms = self.now_ms()
        committed_by_ms = now_ms - int(self.knobs.bounded_delay_seconds * 1000)
        events = self.log.bounded((query.since_ms, query.until_ms), now_ms, committed_by_ms, query.matches)
        if not query.ascending:
            events.reverse()
        position = self._position(call)
        if position is not None:
            events = [event for event in events if (event.published > position) == query.ascending]
            events = [event for event in events if event.published != position]
        page = events[: query.limit]
        after = self._cursors.mint(page[-1].published, self.now()) if page and len(events) > len(page) else None
        return self._page(call, [event.body for event in page], after)

    def _prerendered_page(self, call: Call, log: PrerenderedLog) -> Answer:
        number = log.number(call.query.get("after", ""))
        if number is None:
            raise OktaError(400, "E0000001", "Api validation failed: after")
        if call.query.get("limit") != str(log.rendering.page_size):
            self.violation(call, f"the log was rendered in pages of {log.rendering.page_size}")
        plain, packed = log.body(number)
        links = self._cursors.links(call, self.base_url, log.cursor(min(number + 1, log.pages)))
        return Answer(200, plain, links, gzipped=packed)

    async def _users(self, call: Call) -> Answer:
        try:
            self._check_access(call, KNOWN_OF_USERS)
            check_parameters(call.query)
            limit = self._user_limit(call.query.get("limit", str(_MAX_USERS)))
            self._check_ceiling(limit)
        except OktaError as error:
            return error.answer
        users, more = self.directory.page(call.query, call.query.get("after", ""), limit)
        omit = omits_credentials(call.headers.get("Content-Type", ""))
        bodies = [user.render(omit_credentials=omit) for user in users]
        for user, body in zip(users, bodies, strict=True):
            self.record_issued("users", user.version, body)
        # `q` has no pages at all.
        after = users[-1].id if more and "q" not in call.query else None
        return self._page(call, bodies, after)

    async def _groups(self, call: Call) -> Answer:
        try:
            self._check_access(call, frozenset())
        except OktaError as error:
            return error.answer
        user = self.directory.users.get(call.parts["id"])
        if user is None or user.vanished:
            self.issued_joins.setdefault("users", {}).pop(call.parts["id"], None)
            return error_answer(404, "E0000007", f"Not found: Resource not found: {call.parts['id']} (User)")
        body = orjson.dumps(user.groups)
        if self.knobs.keep_issued:
            self.issued_joins.setdefault("users", {})[user.id] = body
        return Answer(200, body)

    # --------------------------------------------------------------------------------------------- in handlers

    def _check_access(self, call: Call, known: frozenset[str]) -> None:
        """Concurrency, privilege, parameters and links: what goes before any page."""
        limit = self.knobs.concurrency_limit
        if limit is not None and len(self.in_flight) > limit:
            call.allowance = Allowance(0, 0, self.now() + 1, allowed=False)
            self.counters["concurrency_limited"] += 1
            raise OktaError(429)
        if {call.path, call.route.partition(" ")[2]} & self.knobs.denied:
            raise OktaError(403)
        unknown = call.query.keys() - known
        if unknown:
            self.violation(call, f"unknown parameters: {', '.join(sorted(unknown))}")
        if "after" in call.query and not self._cursors.is_verbatim(call):
            self.violation(call, f"the next link was not followed as it was given: {call.raw_query}")

    def _position(self, call: Call) -> Position | None:
        after = call.query.get("after")
        if after is None:
            return None
        found = self._cursors.read(after)
        if found is None:
            raise OktaError(400, "E0000001", "Api validation failed: after")
        position, minted_at = found
        lifetime = self.knobs.cursor_lifetime_seconds
        if lifetime is not None and self.now() - minted_at > lifetime:
            raise OktaError(400, "E0000001", "Api validation failed: after has expired")
        return position

    def _page(self, call: Call, bodies: list[bytes], after: str | None) -> Answer:
        body = b"[" + b",".join(bodies) + b"]"
        return Answer(200, body, self._cursors.links(call, self.base_url, after))

    def _check_ceiling(self, limit: int) -> None:
        if self.knobs.limit_ceiling is not None and limit > self.knobs.limit_ceiling:
            raise OktaError(500, "E0000009")

    def _user_limit(self, text: str) -> int:
        if self.knobs.refuse_large_user_limit:
            return read_limit(text, _MAX_USERS)
        return min(_MAX_USERS, read_limit(text, 10**9))
