"""What is true of every stream of every vendor: it runs over the table of source types, so a new one joins by existing.

The clock is the loop's: waits and time-outs take no time, the vendors' rate limits are on.
"""

import json
import re
import traceback
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import pytest

from collectord.client import MAX_BODY_BYTES
from collectord.demo.canary import Canary
from collectord.demo.exchange import Answer
from collectord.demo.faults import (
    BadGzip,
    Cut,
    EmptyBody,
    Fault,
    GiantPage,
    GzipBomb,
    HtmlPage,
    Redirect,
    Reset,
    Rewrite,
    Slow,
    Status,
    VendorError,
)
from collectord.demo.tenants import TENANTS
from collectord.errors import RateLimited, SourceError, SourceRefused, SourceUnavailable
from collectord.records import Page
from collectord.sources import SOURCE_TYPES
from tests.sources.subjects import PAGE_RECORDS, POLL_SECONDS, SUBJECTS, Bench

T = TypeVar("T")

pytestmark = pytest.mark.looptime

RECORDS = 4 * PAGE_RECORDS + 3
REQUEST_AT_MOST_SECONDS = 300.0
MEBIBYTE = 2**20


@pytest.fixture(params=SUBJECTS, ids=str)
def subject(request):
    return request.param


def test_every_type_has_a_tenant_and_every_stream_of_it_is_collected():
    tenants = {tenant.schema: tenant for tenant in (make(POLL_SECONDS) for make in TENANTS)}
    assert set(tenants) == set(SOURCE_TYPES)
    for name, row in SOURCE_TYPES.items():
        config = row.config.model_validate({"name": "x", **tenants[name].config})
        assert set(row.selected(config)) == set(row.streams), name


# ------------------------------------------------------------------------------------------------ cursors and pages


async def test_nothing_yet_is_an_empty_page_and_what_comes_later_comes(subject):
    async with Bench(subject) as bench:
        pages = await bench.poll()
        assert [page.records for page in pages] == [[] for _ in pages]
        bench.issue(RECORDS)
        await bench.catch_up()
        assert not bench.simulator.violations


async def test_everything_comes_in_pages_and_the_last_page_ends_the_poll(subject):
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        await bench.catch_up()
        assert len([page for page in bench.pages if page.records]) >= 4
        assert not bench.pages[-1].more
        bench.issue(2)
        await bench.catch_up()
        assert not bench.simulator.violations


async def test_a_restart_at_any_page_goes_on_with_the_saved_cursor(subject):
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        for _ in range(100):
            await bench.turn()
            await bench.restart()
            if bench.is_complete():
                break
        await bench.catch_up()
        assert not bench.simulator.violations


async def test_a_page_that_was_never_kept_is_fetched_again(subject):
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        while not bench.is_complete():
            page = await bench.fetch()  # and the process dies, and with it what it was told to wait
            await bench.restart(POLL_SECONDS)
            await bench.turn()
            assert {record.id for record in page.records} <= {record.id for record in bench.records}
        assert len(bench.pages) >= 4
        await bench.catch_up()
        assert not bench.simulator.violations


async def test_the_same_cursor_gives_the_same_page_again(subject):
    """The cursor alone says where to go on, and not what this object did last."""
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        while not bench.is_complete():
            page = await bench.fetch()
            await anyio.sleep(POLL_SECONDS)
            bench.keep(await bench.fetch())
            await anyio.sleep(POLL_SECONDS)
            ids = {record.id for record in bench.records}
            assert {record.id for record in page.records} <= ids
        assert not bench.simulator.violations


# -------------------------------------------------------------------------------------------------------- troubles

STATUSES: dict[int, type[SourceError]] = {
    401: SourceRefused,
    403: SourceRefused,
    404: SourceRefused,
    408: SourceUnavailable,
    429: RateLimited,
    500: SourceUnavailable,
    502: SourceUnavailable,
    503: SourceUnavailable,
    504: SourceUnavailable,
}


def truncated(answer: Answer) -> Answer:
    """Whole by HTTP's rules, and no JSON."""
    return replace(answer, body=answer.body[:-3])


def instead(body: bytes) -> Fault:
    """The true answer with another body: its status and headers are as they should be."""
    return Rewrite(lambda answer: replace(answer, body=body, gzipped=None))


STRANGE: dict[str, Fault] = {
    "html": HtmlPage(),
    "object": instead(b"{}"),
    "list-of-a-number": instead(b"[1]"),
    "list-in-a-list": instead(b"[[]]"),
    "null": instead(b"null"),
    "text": instead(b'"a page"'),
    "gzip-double": BadGzip("double"),
}
BROKEN: dict[str, Fault] = {
    "nothing": EmptyBody(),
    "truncated": Rewrite(truncated),
    "cut-length": Cut("length"),
    "cut-chunked": Cut("chunked"),
    "cut-close": Cut("close"),
    "reset-before-status": Reset("before_status"),
    "reset-after-status": Reset("after_status"),
    "reset-in-body": Reset("in_body"),
    "gzip-checksum": BadGzip("checksum"),
    "gzip-garbage": BadGzip("garbage"),
    "gzip-cut": BadGzip("cut"),
    "gzip-unknown": BadGzip("unknown"),
}
NO_PAGE = {**STRANGE, **BROKEN}


async def meets(bench: Bench, fault: Fault) -> SourceError:
    """What the stream makes of a vendor where every request fails so; the cursor stays where it was."""
    bench.fail(fault)
    with pytest.raises(SourceError) as caught:
        await bench.stream.fetch(bench.cursor)
    bench.recover()
    return caught.value


async def survives(bench: Bench, fault: Fault) -> list[SourceError]:
    """Meet a fault at the first request, between two pages, and after a restart; then lose nothing."""
    bench.issue(RECORDS)
    errors = [await meets(bench, fault)]
    await bench.to_records()
    errors.append(await meets(bench, fault))
    await bench.restart()
    errors.append(await meets(bench, fault))
    await bench.catch_up()
    return errors


@pytest.mark.parametrize("status", STATUSES)
async def test_each_status_is_of_its_class_and_costs_no_record(subject, status):
    async with Bench(subject) as bench:
        errors = await survives(bench, VendorError(status))
        assert [type(error) for error in errors] == [STATUSES[status]] * 3
        assert all(error.code == status for error in errors)
        if status == 401:
            assert all(isinstance(error, SourceRefused) and error.whole_source for error in errors)
        if status == 429:
            assert all(error.retry_after for error in errors)


@pytest.mark.parametrize("name", NO_PAGE)
async def test_what_is_no_page_is_of_class_generic_and_costs_no_record(subject, name):
    async with Bench(subject) as bench:
        first, *others = await survives(bench, NO_PAGE[name])
        assert all(isinstance(error, SourceUnavailable) for error in others)
        # The first answer of all may show that this host was never the vendor's, if it came whole.
        assert isinstance(first, SourceUnavailable) or name in STRANGE


@pytest.mark.parametrize("name", [*STATUSES, *NO_PAGE])
async def test_a_probe_says_nothing_good_of_a_vendor_that_does_not_answer_well(subject, name):
    async with Bench(subject) as bench:
        assert await bench.stream.probe()
        bench.fail(NO_PAGE[name] if name in NO_PAGE else VendorError(name))
        with pytest.raises(SourceError) as caught:
            await bench.stream.probe()
        expected = STATUSES.get(name, SourceUnavailable) if name not in STRANGE else SourceError
        assert isinstance(caught.value, expected)


async def test_a_page_in_a_thousand_gzip_members_is_read(subject):
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        bench.fail(BadGzip("members"))
        await bench.catch_up()


@pytest.mark.parametrize("fault", [GzipBomb(), GiantPage()], ids=["bomb", "200MB"])
async def test_a_page_beyond_all_bounds_is_refused_within_bounds(subject, fault):
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        await bench.to_records()
        fault.alter(Answer())  # makes the bomb
        before = peak_bytes(reset=True)
        error = await meets(bench, fault)
        assert peak_bytes() - before < 3 * MAX_BODY_BYTES
        assert isinstance(error, SourceUnavailable)
        await bench.catch_up()


def peak_bytes(*, reset: bool = False) -> int:
    """The most memory that this process had since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


# ------------------------------------------------------------------------------------------------------ credentials


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(subject, status):
    async with Bench(subject) as bench:
        canary = Canary(bench.secrets)
        async with canary.serve() as elsewhere:
            errors = await survives(bench, Redirect(f"{elsewhere}/elsewhere?a=b", status))
        assert all(isinstance(error, SourceUnavailable | SourceRefused) for error in errors)
        assert canary.requests == []


async def test_no_link_leads_to_another_host(subject):
    async with Bench(subject) as bench:
        canary = Canary(bench.secrets)
        async with canary.serve() as elsewhere:

            def lead_away(answer):
                own, other = bench.simulator.base_url, elsewhere
                lines = [(name, value.replace(own, other)) for name, value in answer.headers]
                link = ("Link", f'<{other}/api/elsewhere?after=1>; rel="other"')
                return replace(answer, body=answer.body.replace(own.encode(), other.encode()), headers=(*lines, link))

            bench.issue(RECORDS)
            bench.fail(Rewrite(lead_away))
            with suppress(SourceError):
                await bench.poll()
            bench.recover()
            await bench.catch_up()
        assert canary.requests == []


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409, 418, 429, 500, 503])
async def test_the_secret_is_in_no_message_no_cursor_and_no_repr(subject, status):
    """The vendor repeats it in each answer, wherever its words may stand."""
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        said = await words_of(bench, status)
        await bench.to_records()
        said += await words_of(bench, status)
        await bench.catch_up()
        said += [repr(bench.stream), repr(vars(bench.stream)), repr(bench.pages), await bench.stream.probe()]
        assert [text for text in said if any(secret in text for secret in bench.secrets)] == []


async def words_of(bench: Bench, status: int) -> list[str]:
    said = []
    for fault in echoes(status, bench.secrets):
        bench.fail(fault)
        for attempt in (bench.stream.probe, lambda: bench.stream.fetch(bench.cursor)):
            try:
                said.append(repr(await attempt()))
            except SourceError as error:
                said.append(telling(error))
        bench.recover()
    return said


def echoes(status: int, secrets: set[str]) -> list[Fault]:
    faults: list[Fault] = []
    for secret in secrets:
        words = f"no such credential: {secret}"
        inside = {"code": words, "detail": words, "title": words, "text": words, "message": words}
        body = {
            "ok": 0,
            **inside,
            "status": {"message": words},
            "error": words,
            "error_description": words,
            "errorCode": words,
            "errorSummary": words,
            "detailCode": words,
            "messages": [inside],
            "errors": [inside],
        }
        headers = tuple(
            (name, words) for name in ("Location", "X-Okta-Request-Id", "X-RQID", "x-request-id", "SLPT-Request-ID")
        )
        faults.append(Status(status, json.dumps(body).encode(), headers))
        faults.append(Status(status, f"<html>{words}</html>".encode(), headers, "text/html"))
    return faults


def telling(error: SourceError) -> str:
    """Everything that an error could ever say."""
    trace = "".join(traceback.format_exception(error))
    return f"{error} {error!r} {vars(error)} {trace}"


# --------------------------------------------------------------------------------------------------- calm and patient


@pytest.mark.parametrize(
    "hanging",
    [Slow(before=1e7), Slow(header_pause=20.0), Slow(body_pause=20.0)],
    ids=["silent", "head-in-drops", "body-in-drops"],
)
async def test_no_request_is_without_a_time_out(subject, hanging):
    """The nth request hangs, whichever that is, until no poll has so many."""
    async with Bench(subject) as bench:
        bench.issue(2 * PAGE_RECORDS)
        number = 0
        while True:
            await bench.begin_anew()
            before = bench.requests
            bench.fail(hanging, after=number, times=1)
            await poll_through_troubles(bench)
            if bench.simulator.faults.pending:
                break
            number += 1
        bench.recover()
        assert 2 <= number >= bench.requests - before
        await bench.catch_up()


async def poll_through_troubles(bench: Bench) -> None:
    while True:
        with anyio.fail_after(REQUEST_AT_MOST_SECONDS):
            try:
                page = await bench.stream.fetch(bench.cursor)
            except SourceUnavailable:
                continue
        bench.keep(page)
        await anyio.sleep(page.not_before_seconds)
        if not page.more:
            return


async def test_a_fetch_may_be_cancelled_wherever_it_waits(subject):
    """At its first await, its second, and so on; the same stream then fetches the same page again."""
    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        cuts = 0
        while not bench.is_complete():
            cuts += await cut_short(bench, lambda number, scope: cut_at(number, scope, bench.fetch()))
        assert cuts > len(bench.pages)
        assert not bench.simulator.violations


async def test_a_fetch_may_be_cancelled_at_any_of_its_requests(subject):
    """When the first request has arrived, the second, and so on; the vendor's answer comes to nobody."""

    async def fetch(number, scope):
        bench.on_request(number, scope.cancel)
        return await bench.fetch()

    async with Bench(subject) as bench:
        bench.issue(RECORDS)
        cuts = 0
        while not bench.is_complete():
            cuts += await cut_short(bench, fetch)
            bench.recover()
        assert cuts >= 3
        assert not bench.simulator.violations


async def cut_short(bench: Bench, fetch: Callable[[int, anyio.CancelScope], Awaitable[Page]]) -> int:
    """Cancel a fetch earlier and later until it is not reached any more; returns how often it was.

    A page is then fetched undisturbed: after a fetch that broke off, the next may serve only to find out where we are.
    """
    number = 0
    page = None
    while page is None:
        number += 1
        with anyio.CancelScope() as scope:
            page = await fetch(number, scope)
        await anyio.sleep(POLL_SECONDS)  # whatever it was told to wait meanwhile, it did not hear of it
    bench.keep(page)
    await bench.turn()
    return number - 1


@types.coroutine
def cut_at(number: int, scope: anyio.CancelScope, action: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `action`; the scope is cancelled when it waits for the nth time."""
    resume: Callable[[Any], Any] = action.send
    value = None
    try:
        while True:
            waiting = resume(value)
            number -= 1
            if number == 0:
                scope.cancel()
            try:
                resume, value = action.send, (yield waiting)
            except BaseException as error:  # noqa: BLE001  thrown on to whom it is for
                resume, value = action.throw, error
    except StopIteration as end:
        return cast("T", end.value)


async def test_the_rate_limit_is_never_exceeded(subject):
    async with Bench(subject) as bench:
        for _ in range(3):
            bench.issue(60 * PAGE_RECORDS)
            await bench.catch_up()
        assert bench.requests > 180
        assert bench.simulator.counters["rate_limited"] == 0
        assert not bench.simulator.violations


# --------------------------------------------------------------------------------------------------------- odd records


async def test_odd_records_pass_byte_for_byte(subject):
    async with Bench(subject) as bench:
        odd = bench.simulator.odd.get(subject.stream)
        if odd is None:
            pytest.skip("the simulator has no odd ones of this kind")
        bench.issue(2 * len(odd), odd=odd)
        bench.issue(RECORDS, pretty=True)
        await bench.catch_up()
        for record in bench.records:
            assert b"\n" not in bytes(record.raw)
            assert not record.repaired
        assert not bench.simulator.violations
