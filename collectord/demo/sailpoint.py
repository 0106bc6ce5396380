"""A SailPoint tenant: tokens, search for events, public identities, limits, errors (sailpoint-sentinelone.md part A).

`tenant.issue(2500)` creates events, `tenant.add_users(600)` people; `async with tenant.serve() as base_url` serves
them; `tenant.violations` says what the client did wrong, `tenant.knobs` and `tenant.fail` make life harder for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, ClassVar

import orjson

from collectord.demo.exchange import Answer, Call
from collectord.demo.limits import RateBucket
from collectord.demo.prerendered import Rendering
from collectord.demo.sailpoint_directory import KNOWN, Directory, Listing
from collectord.demo.sailpoint_errors import Refused, error_answer
from collectord.demo.sailpoint_index import RETENTION_MS, Index
from collectord.demo.sailpoint_knobs import (
    COUNT,
    LEGACY_VERSIONS,
    SEARCH,
    SERVICE_VERSION,
    USERS,
    Flavour,
    SailPointKnobs,
)
from collectord.demo.sailpoint_objects import SailPointObjects, iso
from collectord.demo.sailpoint_odd import NAMELESS, ODD, UNREADABLE, WHOLE_SECONDS
from collectord.demo.sailpoint_prerendered import PrerenderedEvents
from collectord.demo.sailpoint_query import Row, complaints, milliseconds, read_search
from collectord.demo.sailpoint_rates import SailPointRates
from collectord.demo.sailpoint_tokens import Tokens
from collectord.demo.simulator import Routes, Simulator, digest_key

DEMO_CLIENT = "4f1c2d3e4f5061728394a5b6c7d8e9f0"
DEMO_SECRET = "9b0eDEMOdemoDEMOdemoDEMO"  # noqa: S105  a simulator's, good for nothing else
TOKEN = "POST /oauth/token"  # noqa: S105  a route
INFO = "GET /oauth/info"
_HALF_A_DAY_MS = int(11.5 * 3_600_000)
_ODD_KINDS = {**ODD, **UNREADABLE}


class SailPointSimulator(Simulator):
    """One tenant, with one client that may come for tokens; `add_client` makes more."""

    vendor = "sailpoint"
    inventory: ClassVar[frozenset[str]] = frozenset({"users"})
    odd: ClassVar[Mapping[str, Sequence[str]]] = {"events": tuple(ODD)}
    open_routes: ClassVar[frozenset[str]] = frozenset({TOKEN, INFO})
    longest_wait_seconds = 120.0
    commands = Simulator.commands | {
        *("issue", "resync", "add_client", "add_users", "change_user", "remove_user", "prerender", "revoke_tokens"),
    }
    knobs: SailPointKnobs

    def __init__(
        self,
        client_id: str = DEMO_CLIENT,
        client_secret: str = DEMO_SECRET,
        knobs: SailPointKnobs | None = None,
        *,
        seed: int = 0,
        event_bytes: int = 700,
    ) -> None:
        super().__init__([], knobs or SailPointKnobs())
        self.client_id = client_id
        self.client_secret = client_secret
        self.index = Index(seed)
        self._objects = SailPointObjects(seed, event_bytes)
        self.directory = Directory(self._objects, seed)
        self.tokens = Tokens(self.knobs, seed)
        self._rates = SailPointRates(self.knobs)
        self._random = Random(seed)
        self._prerendered: PrerenderedEvents | None = None
        self._is_ordered = True
        self.add_client(client_id, client_secret)

    # ------------------------------------------------------------------------------------------------- issuing

    def issue(self, count: int = 1, **flavour: Any) -> list[str]:
        """Create events now and return their ids; options are those of Flavour: `issue(3, late_seconds=600)`."""
        wanted = Flavour(**flavour)
        if wanted.stream == "users":
            return self.add_users(count)
        moment = self.now_ms()
        return [
            self._issue_one(wanted, number, moment if wanted.same_moment else self.now_ms()) for number in range(count)
        ]

    def resync(self, ids: Sequence[str] = ()) -> None:
        """Events are put into the index again: `synced` changes, and nothing else. All of them, or those named."""
        for row in self.index.rows:
            if ids and row.key not in ids:
                continue
            row.document = {**row.document, "synced": iso(self.now_ms())}
            row.body = orjson.dumps(row.document)
            if not row.is_served and row.key in self.issued.get("events", {}):
                self.issued["events"][row.key] = row.body

    def add_client(self, client_id: str, client_secret: str) -> None:
        """Another client of this tenant, or a new secret of one."""
        self.tokens.clients[client_id] = client_secret
        self.other_secrets.add(client_secret)

    def revoke_tokens(self) -> None:
        """Every token that was given out is refused from now on."""
        for token in list(self.accepted):
            self.revoke(token)

    def add_users(self, count: int, **members: Any) -> list[str]:
        """New people; `members` replace what they have."""
        return self.directory.add(count, **members)

    def change_user(self, user_id: str, **members: Any) -> None:
        """A new version of somebody."""
        self.directory.change(user_id, **members)

    def remove_user(self, user_id: str) -> None:
        """Somebody vanishes."""
        self.directory.remove(user_id)

    def prerender(self, total: int, page_size: int = 2500, *, distinct_pages: int | None = None) -> None:
        """Serve events that are rendered now; nothing of them is kept for the oracle, and rate limits stay as they are.

        All of them are from the half day before rendering starts, and none from its last hours.
        """
        rendering = Rendering(total, page_size, distinct_pages, self.knobs.gzip and distinct_pages is None)
        self._prerendered = PrerenderedEvents(rendering, self._objects, self.now_ms() - _HALF_A_DAY_MS)
        self.issued_count["events"] += total

    def meet_anew(self) -> None:
        super().meet_anew()
        self._rates.meet_anew()

    def in_order(self, stream: str) -> Sequence[str] | None:
        if stream == "events" and self._is_ordered and self.knobs.sorts_by_id:
            return [row.key for row in self.index.rows]
        return None

    def _issue_one(self, flavour: Flavour, number: int, moment: int) -> str:
        kind = flavour.odd[number % len(flavour.odd)] if flavour.odd else ""
        created = moment - int((flavour.late_seconds + flavour.age_seconds) * 1000)
        if kind in WHOLE_SECONDS:
            created -= created % 1000
        visible = created if flavour.age_seconds else moment + int(flavour.appear_after_seconds * 1000)
        visible += int(self._random.uniform(*self.knobs.index_lag_seconds) * 1000)
        event_id = self._objects.event_id()
        document = self._objects.event(event_id, created, flavour.technical_name)
        body = _ODD_KINDS[kind](document) if kind else orjson.dumps(document)
        if flavour.pretty:
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n  ")
        has_id = kind not in NAMELESS
        key = event_id if has_id else digest_key(body)
        self.index.add(Row(created, event_id if has_id else None, visible, key, document, body))
        if visible > created:
            self._is_ordered = False
        if created >= self.now_ms() - RETENTION_MS:
            self.record_issued("events", key, body)
        return key

    # -------------------------------------------------------------------------------------- what Simulator asks

    def routes(self) -> Routes:
        routes: dict[str, Any] = {TOKEN: self._token, INFO: self._info}
        for version in (*LEGACY_VERSIONS, SERVICE_VERSION):
            search, users = (
                f"/{service}/v1" if version == SERVICE_VERSION else f"/{version}/{service}"
                for service in (SEARCH, USERS)
            )
            routes[f"POST {search}"] = partial(self._search, version)
            routes[f"POST {search}/count"] = partial(self._count, version)
            routes[f"POST {search}/{{index}}"] = partial(self._search, version)
            routes[f"GET {users}"] = partial(self._users, version)
        return routes

    def credential(self, call: Call) -> str | None:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return None
        if token in self.accepted and self.tokens.is_over(token, self.now()):
            self.revoke(token)
        return token

    def failure(self, status: int, code: str = "") -> Answer:
        answer = error_answer(status, code)
        told = self._rates.retry_after(self.now()) if status == 429 else None
        return answer if told is None else answer.adding(("Retry-After", told))

    def buckets(self, call: Call) -> Sequence[RateBucket]:
        return self._rates.buckets(self._client(call), _version(call))

    def wait_key(self, call: Call) -> str:
        return f"{self._client(call)} {_version(call)}"

    def decorate(self, call: Call, answer: Answer) -> Answer:
        if _version(call) in self.knobs.deprecated:
            answer = answer.adding(("X-Deprecated", "true"))
        return super().decorate(call, answer)

    def _client(self, call: Call) -> str:
        if call.route == TOKEN:
            return self.tokens.client_of(call)
        return self.tokens.holders.get(call.headers.get("Authorization", "").partition(" ")[2], "")

    # ------------------------------------------------------------------------------------------------ handlers

    async def _token(self, call: Call) -> Answer:
        answer, token = self.tokens.answer(call, self.now())
        if token:
            self.accept_credential(token)
        return answer

    async def _info(self, call: Call) -> Answer:
        del call
        return Answer.json(
            {"tenantId": "6d9b", "tenantName": "acme", "tokenEndpoint": f"{self.base_url}/oauth/token", "pod": "prd01"}
        )

    async def _search(self, version: str, call: Call) -> Answer:
        self._complain(version, call, complaints(call.query, call.body, counts=False))
        try:
            self._check_access(version, SEARCH, call)
            if self._prerendered is not None:
                return self._prerendered_page(call, self._prerendered)
            search = read_search(call.query, call.body, call.parts.get("index", ""), self.now_ms())
            self._check_sort([column for column, _ in search.sort], search.limit)
        except Refused as refused:
            return refused.answer
        rows = self.index.found(search, self.now_ms())[search.offset : search.offset + search.limit]
        for row in rows:
            row.is_served = True
        answer = Answer(200, b"[" + b",".join(row.body for row in rows) + b"]")
        if search.count:
            answer = answer.adding(("X-Total-Count", str(self.index.count(search, self.now_ms()))))
        return answer

    async def _count(self, version: str, call: Call) -> Answer:
        self._complain(version, call, complaints(call.query, call.body, counts=True))
        try:
            self._check_access(version, SEARCH, call)
            self._check_access(version, COUNT, call)
            search = read_search(call.query, call.body, "", self.now_ms())
        except Refused as refused:
            return refused.answer
        return Answer(204).adding(("X-Total-Count", str(self.index.count(search, self.now_ms()))))

    async def _users(self, version: str, call: Call) -> Answer:
        unknown = call.query.keys() - KNOWN
        reasons = [f"unknown parameters: {', '.join(sorted(unknown))}"] if unknown else []
        if "sorters" not in call.query:
            reasons.append("no sorters: pages repeat and miss rows")
        self._complain(version, call, reasons)
        try:
            self._check_access(version, USERS, call)
            asked = Listing.read(call.query)
        except Refused as refused:
            return refused.answer
        people = self.directory.listed(asked.sort, unstable=self.knobs.unstable_names)
        page = people[asked.offset : asked.offset + asked.limit]
        for identity in page:
            self.record_issued("users", identity.key, identity.body)
        answer = Answer(200, b"[" + b",".join(identity.body for identity in page) + b"]")
        if asked.limit > 1:
            for identity in people[: self.knobs.remove_after_page]:
                self.remove_user(identity.id)
            self.add_users(self.knobs.insert_after_page, name="Aaa Aaberg")
        return answer.adding(("X-Total-Count", str(len(people)))) if asked.count else answer

    # --------------------------------------------------------------------------------------------- in handlers

    def _complain(self, version: str, call: Call, reasons: Any) -> None:
        for reason in (*reasons, self._rates.complaint(self._client(call), version, call.at)):
            if reason:
                self.violation(call, reason)
        if call.method == "POST" and not call.headers.get("Content-Type", "").startswith("application/json"):
            self.violation(call, f"Content-Type is {call.headers.get('Content-Type')!r}")

    def _check_access(self, version: str, service: str, call: Call) -> None:
        if version in self.knobs.retired:
            raise Refused(404)
        if service in self.knobs.denied:
            raise Refused(403)
        del call

    def _check_sort(self, columns: Sequence[str], limit: int) -> None:
        if "id" in columns and not self.knobs.sorts_by_id:
            raise Refused(400, "400.1.3 Illegal value", "sort")
        if limit > self.knobs.limit_ceiling:
            raise Refused(400, text=f"limit {limit}")

    def _prerendered_page(self, call: Call, events: PrerenderedEvents) -> Answer:
        asked = orjson.loads(call.body)
        lower, upper = (asked["filters"]["created"]["range"][name]["value"] for name in ("lower", "upper"))
        if "searchAfter" in asked:
            number = events.number(asked["searchAfter"][-1])
        else:
            is_first = milliseconds(lower) <= events.start_ms < milliseconds(upper)
            number = 0 if is_first else events.pages
        if number is None:
            raise Refused(400)
        if call.query.get("limit") != str(events.rendering.page_size):
            self.violation(call, f"the events were rendered in pages of {events.rendering.page_size}")
        plain, packed = events.body(number)
        return Answer(200, plain, gzipped=packed)


def _version(call: Call) -> str:
    first, _, rest = call.path.strip("/").partition("/")
    if first in LEGACY_VERSIONS:
        return first
    return SERVICE_VERSION if rest.startswith("v1") else ""
