"""What the conformance suite runs over: each stream of each source type, and the demonstration's tenant to run against.

    async with Bench(subject) as bench:
        bench.issue(23)
        await bench.catch_up()

A `Bench` polls one stream as the daemon's loop does, over real sockets and without an outbox. The vendor is as strict
as its simulator can be, rate limits included: let the clock be a fake one, or be patient.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self

import anyio

from collectord.client import Client, open_session
from collectord.collecting import SeenIds, _to_remember
from collectord.demo.exchange import Call
from collectord.demo.faults import Fault
from collectord.demo.oracle import StreamVerdict, expect, judge
from collectord.demo.sink import Delivered
from collectord.demo.tenants import TENANTS, Tenant
from collectord.errors import RateLimited
from collectord.limits import Budgets
from collectord.records import Cursor, Page, Record
from collectord.settings import SourceOptions, SourceSettings
from collectord.source import SourceType, Stream
from collectord.sources import SOURCE_TYPES

PAGE_RECORDS = 5
POLL_SECONDS = 60.0
_MOST_POLLS = 30
_MOST_PAGES = 500

MakeTenant = Callable[[float], Tenant]


@dataclass(frozen=True)
class Subject:
    """One stream of one source type."""

    row: SourceType
    make: MakeTenant
    stream: str

    def __str__(self) -> str:
        return f"{self.row.name} {self.stream}"


def subjects_of(types: Mapping[str, SourceType], tenants: Iterable[MakeTenant]) -> list[Subject]:
    """Every stream of every type that has a tenant."""
    makers = {make(POLL_SECONDS).schema: make for make in tenants}
    return [
        Subject(row, makers[name], stream) for name, row in types.items() if name in makers for stream in row.streams
    ]


SUBJECTS = subjects_of(SOURCE_TYPES, TENANTS)


def settings_of(subject: Subject, tenant: Tenant, base_url: str, **options: Any) -> SourceSettings:
    """The tenant's source as it is when its file was read, with pages of five records."""
    text = json.dumps(tenant.document(base_url)["source"]["config"])
    for name, secret in tenant.secrets.items():
        text = text.replace(f"${{file:{name}}}", secret)
    if subject.row.config.max_page_size is not None:
        options = {"page_size": PAGE_RECORDS, **options}
    return SourceSettings(
        type=subject.row.name,
        config=subject.row.config.model_validate(json.loads(text)),
        options=SourceOptions.model_validate({**tenant.options, "base_url": base_url, **options}),
    )


def strict_tenant(subject: Subject) -> Tenant:
    """A tenant that makes nothing easier for its client, with pages of five records."""
    tenant = subject.make(POLL_SECONDS)
    knobs = tenant.simulator.knobs
    strictest = type(knobs)()
    for field in fields(knobs):
        setattr(knobs, field.name, getattr(strictest, field.name))
    if subject.row.config.max_page_size is None:  # then the vendor decides alone
        knobs.page_size = PAGE_RECORDS  # type: ignore[attr-defined]  # such a vendor's simulator has it
    return tenant


class Bench:
    """One stream, polled by hand."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.tenant = strict_tenant(subject)
        self.simulator = self.tenant.simulator
        self.secrets = {*self.tenant.secrets.values(), *self.simulator.accepted}
        self.cursor: Cursor | None = None
        """What the outbox would hold: it went through JSON."""
        self.pages: list[Page] = []
        self.records: list[Record] = []
        self._stack = AsyncExitStack()
        self._keys: list[str] = []
        self._seen = SeenIds([])

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self.session = await self._stack.enter_async_context(open_session())
        await self._stack.enter_async_context(self.simulator.serve())
        self.stream = self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # --------------------------------------------------------------------------------------------------- the vendor

    def issue(self, count: int, **options: Any) -> list[str]:
        keys = self.simulator.issue(count, stream=self.subject.stream, **options)
        self._keys += keys
        return keys

    def fail(self, fault: Fault, *, after: int = 0, times: int | None = None, **options: Any) -> None:
        """Let every request fail from now on, whatever it asks for."""
        self.simulator.fail(fault, after=after, times=times, **options)

    def recover(self) -> None:
        self.simulator.faults.clear()

    @property
    def requests(self) -> int:
        return self.simulator.counters["requests"]

    def on_request(self, number: int, act: Callable[[], None]) -> None:
        """Act when the nth request from now on arrives, and let it be answered as ever."""
        left = [number]

        def look(_call: Call) -> bool:
            left[0] -= 1
            if left[0] == 0:
                act()
            return False

        self.simulator.fail(Fault(), when=look)

    # --------------------------------------------------------------------------------------------------- our side

    def open(self) -> Stream:
        """The stream as a new process has it: nothing is known but the configuration."""
        settings = settings_of(self.subject, self.tenant, self.simulator.base_url)
        return self.subject.row.open(settings, partial(Client, self.session, Budgets()))[self.subject.stream]

    async def restart(self, after_seconds: float = 0.0) -> None:
        """As after a crash; a process takes a moment to start."""
        await anyio.sleep(after_seconds + 2)
        self.stream = self.open()

    async def begin_anew(self) -> None:
        """As with an empty state directory: everything is to be collected again."""
        self.cursor = None
        self.pages, self.records, self._seen = [], [], SeenIds([])
        await self.restart(POLL_SECONDS)

    async def fetch(self) -> Page:
        """One page as the loop fetches it: a rate limit is waited for; nothing is kept."""
        while True:
            try:
                return await self.stream.fetch(self.cursor)
            except RateLimited as limited:
                await anyio.sleep(limited.retry_after or 1.0)

    def keep(self, page: Page) -> None:
        """As the loop and the outbox do: without records that were seen before, and with the cursor as JSON."""
        self.pages.append(page)
        fresh = self._seen.leave_out(page.records) if page.overlaps else page.records
        self.records += fresh
        if page.remember_from_ms is not None:
            now_ms = int(time.time() * 1000)
            seen = _to_remember(fresh, page.remember_from_ms, now_ms) if fresh else None
            self._seen.remember(seen, page.remember_from_ms)
        self.cursor = json.loads(json.dumps(page.cursor))

    async def turn(self) -> Page:
        """One page, fetched and kept; waits as long as the vendor wants to be left alone."""
        page = await self.fetch()
        self.keep(page)
        await anyio.sleep(page.not_before_seconds)
        return page

    async def poll(self) -> list[Page]:
        """Turn until the vendor has no more now."""
        pages = []
        for _ in range(_MOST_PAGES):
            pages.append(await self.turn())
            if not pages[-1].more:
                return pages
        raise AssertionError(f"{self.subject}: endless")

    async def to_records(self) -> None:
        """Go on until some records came, and more are to come."""
        for _ in range(_MOST_PAGES):
            await self.turn()
            if self.records and self.pages[-1].more:
                return
        raise AssertionError(f"{self.subject}: nothing came")

    async def catch_up(self) -> None:
        """Poll until everything issued has come."""
        for _ in range(_MOST_POLLS):
            await self.poll()
            if self.is_complete():
                return
            await anyio.sleep(POLL_SECONDS)
        raise AssertionError(str(self.verdict()))

    def is_complete(self) -> bool:
        """Whether everything issued came, and nothing else."""
        return self.has(self._keys) and self.verdict().ok

    def verdict(self) -> StreamVerdict:
        """What the oracle says of what was kept."""
        feed = (self.tenant.source, self.subject.stream)
        expected = [each for each in expect(feed[0], self.simulator, every_version=False) if each.stream == feed[1]]
        delivered = [Delivered(record.id, bytes(record.raw), str(number)) for number, record in enumerate(self.records)]
        verdicts = judge(expected, {feed: delivered}).streams
        return verdicts[0] if verdicts else StreamVerdict(source=feed[0], stream=feed[1])

    def has(self, keys: Iterable[str]) -> bool:
        """Whether these issued objects came, in whatever version."""
        names = {record.id.partition("@")[0] for record in self.records}
        digests = sum(key.startswith("digest:") for key in keys)
        named = {key.partition("@")[0] for key in keys if not key.startswith("digest:")}
        return named <= names and len(names - named) >= digests
