"""Okta: the System Log, and the inventory of users with their groups."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
from pydantic import Field, SecretStr, field_validator, model_validator

from collectord.auth import FixedHeader, fingerprint
from collectord.client import PageTooLarge, failure
from collectord.errors import SourceError, SourceRefused, SourceUnavailable
from collectord.limits import Limits
from collectord.records import (
    Cursor,
    Notice,
    Page,
    Record,
    digest,
    iso_time,
    parse_time,
)
from collectord.settings import DAY, HOUR, MINUTE, Duration, SourceConfig, SourceSettings, parse_origin
from collectord.source import Connect, SourceType, Stream, StreamType, first_poll_ms
from collectord.splitting import Malformed, heads, slices

if TYPE_CHECKING:
    from multidict import MultiMapping

    from collectord.client import Client, Response

LOGS = "/api/v1/logs"
MAX_PAGE_SIZE = 1000
MAX_FILTER_BYTES = 4000
"""No limit is documented; beyond this, events are chosen here, lest a proxy refuse the URL."""
RETENTION_SECONDS = 90 * DAY
"""Okta returns nothing older [OKQ]."""

_HEADERS = {"Content-Type": "application/json"}
_LIMIT = re.compile(r"([?&]limit=)\d+")
_MARGIN_MS = 300_000
_SMALLEST_PAGE = 100
_LINK_REFUSED = Notice(
    "OktaLinkRefused",
    "Okta refused the saved link; collecting again from the last safe time, known events are left out, some may repeat",
)
_FOREIGN_LINK = Notice(
    "OktaForeignLink", "a next link named another host; only its path and query were used, on the configured host"
)

_ADMIN_CONSOLE = re.compile(r"-admin(?=\.(?:okta|okta-emea|oktapreview|okta-gov)\.com$)")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_.\-]+")


class OktaConfig(SourceConfig):
    """Okta's parameters, in Sumo's spelling."""

    domain: str
    """The host alone, e.g. `acme.okta.com`; a pasted URL or the admin console's host is brought into this form."""
    apiKey: SecretStr = Field(min_length=1)
    users: bool = False
    collectAll: bool = True
    eventTypes: str | None = None
    """Comma-separated; wanted when `collectAll` is false."""
    pollingInterval: Annotated[Duration, Field(ge=1)] = 5 * MINUTE
    """Seconds between polls of the System Log."""

    @field_validator("domain")
    @classmethod
    def _host_of(cls, value: str) -> str:
        origin = parse_origin(value)
        host = origin.removeprefix("https://")
        if host == origin or "." not in host:
            raise ValueError("must be the host of your Okta organisation, such as acme.okta.com")
        return _ADMIN_CONSOLE.sub("", host)

    @field_validator("eventTypes")
    @classmethod
    def _clean_event_types(cls, value: str | None) -> str | None:
        names = dict.fromkeys(name.strip() for name in (value or "").split(","))
        names.pop("", None)
        for number, name in enumerate(names, 1):
            if not _EVENT_TYPE.fullmatch(name):
                raise ValueError(f"item {number} is no event type: letters, digits, '_', '.' and '-' only")
        return ",".join(names) or None

    @model_validator(mode="after")
    def _some_events(self) -> OktaConfig:
        if not self.collectAll and self.eventTypes is None:
            raise ValueError("collectAll is false, so eventTypes must name at least one event type")
        return self

    @property
    def event_types(self) -> list[str]:
        """The event types to collect; empty means all."""
        return [] if self.collectAll else (self.eventTypes or "").split(",")

    def interval_seconds(self, stream: str) -> float | None:
        """`pollingInterval` is the System Log's."""
        return self.pollingInterval if stream == "events" else None


def selected(config: SourceConfig) -> Sequence[str]:
    """Events always, users on demand."""
    assert isinstance(config, OktaConfig)
    return ("events", "users") if config.users else ("events",)


def origin(config: OktaConfig) -> str:
    """Where this organisation's API answers."""
    return f"https://{config.domain}"


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    """Build the selected streams; they share one connection and the organisation's rate limits."""
    config = settings.config
    assert isinstance(config, OktaConfig)
    base = settings.options.base_url or origin(config)
    token = config.apiKey.get_secret_value()
    client = connect(
        base,
        authorization=FixedHeader("Authorization", config.apiKey, "SSWS"),
        limits=Limits(counted_by=fingerprint(base, token), rest_seconds=_rest_seconds, in_flight=5),
    )
    return {"events": Events(settings, client)}


def _rest_seconds(status: int, headers: MultiMapping[str], server_time: float) -> float:
    """Reset is epoch seconds of Okta's own clock [OKRL]; of repeated headers the lowest counts [OSDK]."""
    limit, remaining, reset = (_lowest(headers, f"X-Rate-Limit-{name}") for name in ("Limit", "Remaining", "Reset"))
    if status == 429 and limit == 0 and remaining == 0:  # too many at a time; Reset says nothing then
        return random.uniform(2.0, 10.0)  # noqa: S311  jitter
    spent = remaining is not None and limit is not None and remaining <= max(2, limit // 10)
    if status != 429 and not (spent and reset is not None and reset > server_time):
        return 0.0
    if reset is None:
        return 60.0  # the usual length of Okta's window
    return min(120.0, max(1.0, reset - server_time + 1.0 + random.uniform(0.0, 3.0)))  # noqa: S311  jitter


def _lowest(headers: MultiMapping[str], name: str) -> int | None:
    numbers = [int(text) for value in headers.getall(name, ()) for text in value.split(",") if text.strip().isdecimal()]
    return min(numbers, default=None)


class _LogEvent(msgspec.Struct, gc=False):
    # Typed as anything, since Okta's types drift between tenants; a wrong one must not cost the page.
    uuid: Any = None
    published: Any = None
    eventType: Any = None


class Events:
    """The System Log by Okta's polling contract: ordered by persistence, complete, and its `next` link never ends.

    Cursor: `next`, path and query of the saved link; `safe_since_ms`, before which everything was collected, where to
    start again should Okta refuse the link; `scope`, what gives the link its meaning; `fallback`, true from a refused
    link until a new one has led to the end of the log. `published` is no cursor: Okta commits events late, and a query
    with `until` misses them [OKQ].
    """

    def __init__(self, settings: SourceSettings, client: Client) -> None:
        assert isinstance(settings.config, OktaConfig)
        self._client = client
        self._start = settings.options.start
        self._overlap_ms = int(1000 * (HOUR if settings.options.overlap is None else settings.options.overlap))
        self._page_size = settings.options.page_size or MAX_PAGE_SIZE
        self._limit = self._page_size
        self._time_outs = 0
        wanted = settings.config.event_types
        expression = quote(" or ".join(f'eventType eq "{name}"' for name in wanted), safe="")
        filtered_there = len(expression) <= MAX_FILTER_BYTES
        self._filter = f"&filter={expression}" if wanted and filtered_there else ""
        self._wanted_here = frozenset(wanted) if wanted and not filtered_there else None
        self._scope = fingerprint(str(client.origin), expression)

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of the log; see `Stream.fetch`."""
        place = self._place(cursor)
        try:
            response = await self._client.get(self._target(place), bucket=LOGS, headers=_HEADERS)
        except PageTooLarge:
            self._ask_for_less()
            raise
        if response.status == 400 and "next" in place and not place.get("fallback"):
            return Page([], self._fallback(place), more=True, notices=(_LINK_REFUSED,))
        if response.status != 200:
            raise self._failure(response)
        return self._page(response, place)

    async def probe(self) -> str:
        """Ask for one event."""
        response = await self._client.get(f"{LOGS}?limit=1", bucket=LOGS, headers=_HEADERS)
        if response.status != 200:
            raise self._failure(response)
        return "the token may read the System Log"

    def _place(self, cursor: Cursor | None) -> Cursor:
        if cursor is None:
            since = first_poll_ms(self._start, default_seconds=DAY, oldest_seconds=RETENTION_SECONDS)
            return {"safe_since_ms": since + self._overlap_ms, "scope": self._scope}
        if cursor["scope"] != self._scope:  # another host or filter: the link would go on asking the old question
            return self._fallback(cursor)
        return cursor

    def _fallback(self, place: Cursor) -> Cursor:
        return {"safe_since_ms": place["safe_since_ms"], "scope": self._scope, "fallback": True}

    def _target(self, place: Cursor) -> str:
        if "next" in place:
            return _LIMIT.sub(rf"\g<1>{self._limit}", place["next"])
        since = quote(iso_time(place["safe_since_ms"] - self._overlap_ms), safe="")
        return f"{LOGS}?since={since}&sortOrder=ASCENDING&limit={self._limit}{self._filter}"

    def _page(self, response: Response, place: Cursor) -> Page:
        try:
            elements = slices(response.body)
        except Malformed as error:
            raise SourceUnavailable(f"the System Log answered no JSON list: {error}; is the domain right?") from None
        records = self._records(elements, heads(response.body, elements, _LogEvent))
        more = len(elements) >= self._limit
        if not more:
            self._limit, self._time_outs = self._page_size, 0
        safe_since = self._safe_since(records, more, place, response)
        following, notices = self._next_link(response)
        cursor: Cursor = {
            "next": following,
            "safe_since_ms": safe_since,
            "scope": self._scope,
        }
        if place.get("fallback"):
            notices += (_LINK_REFUSED,)
            if more or "next" not in place:
                cursor["fallback"] = True
        return Page(
            records,
            cursor,
            more=more,
            overlaps=bool(place.get("fallback")),
            remember_from_ms=safe_since - self._overlap_ms,
            notices=notices,
        )

    def _records(self, elements: list[bytes | msgspec.Raw], described: list[_LogEvent]) -> list[Record]:
        return [
            Record(
                raw,
                event.uuid if isinstance(event.uuid, str) and event.uuid else digest(raw),
                parse_time(event.published),
                event.eventType if isinstance(event.eventType, str) else None,
            )
            for raw, event in zip(elements, described, strict=True)
            if self._wanted_here is None or event.eventType in self._wanted_here
        ]

    def _next_link(self, response: Response) -> tuple[str, tuple[Notice, ...]]:
        link = response.links.get("next")
        if link is None:
            raise SourceUnavailable("the System Log answered without a next link; is a proxy taking Link headers out?")
        target, is_ours = self._client.target_of(link, LOGS)
        return target, () if is_ours else (_FOREIGN_LINK,)

    def _safe_since(self, records: list[Record], more: bool, place: Cursor, response: Response) -> int:  # noqa: FBT001
        before: int = place["safe_since_ms"]
        if (
            more
        ):  # a backlog: what comes next may be as old as the last event, but an event is not logged before it happens
            newest = records[-1].time_ms if records else None
            return before if newest is None else max(before, newest - _MARGIN_MS)
        now = int(response.server_time * 1000) - _MARGIN_MS
        # An idle log moves it once an hour only, so that a poll without news writes nothing.
        return max(before, now) if records or now - before >= 1000 * HOUR else before

    def _failure(self, response: Response) -> SourceError:
        code, summary = _error_of(response)
        if response.status == 500:  # Okta's word for a query of more than 30 s [OKQ]
            self._time_outs += 1
            if self._time_outs >= 2:
                self._ask_for_less()
        said = f"{code} {summary}".strip()
        if response.status == 401:
            return SourceRefused(
                f"Okta rejected the API token (401 {code}). Create a new one: tokens expire after 30 idle days, or when"
                " their owner is deactivated",
                code=401,
                info=said,
                whole_source=True,
            )
        if response.status == 403:
            return SourceRefused(f"the Okta token may not read the System Log (403 {code})", code=403, info=said)
        if response.status == 400:
            return SourceRefused(
                f"Okta refuses the query (400 {code}); check eventTypes and start", code=400, info=said
            )
        if response.status == 404:
            return SourceRefused("there is no System Log at this address (404); check domain", code=404, info=said)
        return failure(response, said)

    def _ask_for_less(self) -> None:
        self._limit = max(min(_SMALLEST_PAGE, self._page_size), self._limit // 2)


def _error_of(response: Response) -> tuple[str, str]:
    try:
        error = msgspec.json.decode(response.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return "", response.excerpt
    return str(error.get("errorCode", "")), str(error.get("errorSummary", ""))


SOURCE_TYPE = SourceType(
    name="Okta",
    config=OktaConfig,
    streams={"events": StreamType(5 * MINUTE), "users": StreamType(DAY, inventory=True)},
    selected=selected,
    open=open_streams,
    siem={"_siemVendor": "Okta", "_siemProduct": "SSO", "_siemFormat": "JSON"},
    after_window=60 * MINUTE,
)
