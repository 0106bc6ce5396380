"""Netskope's streams against the simulator: the contract's rules, its error table, and other collectors' mistakes.

The clock is the loop's: waits for the vendor's rate limit take no time.
"""

import json
import re
import socket
import ssl
import time
from urllib.parse import parse_qs, urlsplit

import aiohttp
import anyio
import orjson
import pytest
from aiohttp.client_reqrep import ConnectionKey

from collectord.demo.canary import Canary
from collectord.demo.faults import (
    BadGzip,
    Cut,
    EmptyBody,
    GiantPage,
    GzipBomb,
    HtmlPage,
    JsonObject,
    Redirect,
    Reset,
    Rewrite,
    Slow,
    Status,
    VendorError,
    too_many,
)
from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import EXPORT, STREAMS, NetskopeKnobs
from collectord.demo.netskope_odd import ODD, UNREADABLE
from collectord.errors import RateLimited, SourceRefused, SourceUnavailable
from collectord.settings import DAY, HOUR, MINUTE
from collectord.sources.netskope.pages import audit_event_id

pytestmark = pytest.mark.looptime

TOKEN = "0123456789abcdefTEST"
BASE = "https://acme.goskope.com"
UNCLEAR = {
    "cut-length": Cut("length"),
    "cut-chunked": Cut("chunked"),
    "cut-close": Cut("close"),
    "reset-before-status": Reset("before_status"),
    "reset-after-status": Reset("after_status"),
    "reset-in-body": Reset("in_body"),
    "gzip-cut": BadGzip("cut"),
    "gzip-checksum": BadGzip("checksum"),
    "gzip-unknown": BadGzip("unknown"),
    "empty-but-moved": EmptyBody(vendor_acts=True),
    "html-but-moved": HtmlPage(vendor_acts=True),
    "gateway-but-moved": Status(504, vendor_acts=True),
    "not-ok-but-moved": JsonObject(b'{"ok":0}', vendor_acts=True),
}
"""Troubles after which nobody knows whether the vendor's iterator moved; here it did."""


class Netskope(NetskopeSimulator):
    """Looks at its clock first when the test runs: in fixtures the loop's clock is not yet the fake one."""

    anchor = None

    def now(self):
        if self.anchor is None:
            self.anchor = time.time() - anyio.current_time()
        return self.anchor + anyio.current_time()


@pytest.fixture
async def netskope():
    simulator = Netskope(TOKEN, NetskopeKnobs(page_size=5, requests_per_second=None, wait_some=0, wait_idle=0))
    async with simulator.serve():
        yield simulator
    assert simulator.violations == []
    assert simulator.counters["overlaps"] == 0


@pytest.fixture
def streams(netskope, open_streams):
    """`streams(eventTypes=["audit"])` opens the source; another call opens it anew, as a restart does."""

    def opened(options=None, **config):
        given = {"tenantID": "acme", "apiToken": TOKEN, **config}
        return open_streams("Netskope", netskope.base_url, given, **{"start": "2h", **(options or {})})

    return opened


@pytest.fixture
def canned(responses, open_streams):
    """`canned(body, stream="audit")`: the page that a seed with this body becomes."""

    async def fetched(body, stream="audit", status=200, headers=None):
        responses.get(re.compile(f"{BASE}.*collectord-validation.*"), body=b'{"ok":1,"result":[]}')
        opened = open_streams("Netskope", BASE, {"tenantID": "acme", "apiToken": TOKEN})[stream]
        cursor = (await opened.fetch(None)).cursor
        body = body if isinstance(body, bytes) else orjson.dumps(body)
        responses.get(re.compile(f"{BASE}.*"), body=body, status=status, headers=headers)
        return await opened.fetch(cursor)

    return fetched


async def drain(stream, cursor=None):
    """Fetch until caught up; returns the records and the last cursor, which survived JSON after each page."""
    records = []
    for _ in range(500):
        page = await stream.fetch(cursor)
        records += page.records
        cursor = json.loads(json.dumps(page.cursor))
        if not page.more:
            return records, cursor
    raise AssertionError("endless")


def raws(records):
    return [bytes(record.raw) for record in records]


def issued(netskope, stream="alert"):
    return list(netskope.issued[stream].values())


def questions(netskope):
    """Index and operation of every request but the validation's, in order."""
    asked = [parse_qs(urlsplit(each.target).query) for each in netskope.requests]
    pairs = [(query["index"][0], query["operation"][0]) for query in asked]
    return [pair for pair in pairs if pair[0] != "collectord-validation"]


def operations(netskope):
    return ["epoch" if operation.isdecimal() else operation for _, operation in questions(netskope)]


async def seeded(netskope, stream):
    """A stream that is caught up, and its cursor; the requests so far are forgotten."""
    _, cursor = await drain(stream)
    netskope.requests.clear()
    return cursor


def page_of(*records, **envelope):
    return orjson.dumps({"ok": 1, "result": list(records), "wait_time": 0, **envelope})


# -------------------------------------------------------------------------------------------------- the iterator


async def test_every_stream_is_read_whole_and_byte_for_byte(netskope, streams):
    netskope.issue(9 * 23)
    for name, stream in streams().items():
        records, _ = await drain(stream)
        assert raws(records) == issued(netskope, name)
    assert set(netskope.issued) == set(STREAMS)


async def test_the_index_is_saved_before_it_is_used(netskope, streams):
    netskope.issue(3, stream="alert")
    stream = streams()["alert"]
    page = await stream.fetch(None)
    assert (page.records, page.more) == ([], True)
    assert questions(netskope) == []
    await stream.fetch(page.cursor)
    assert questions(netskope) == [(page.cursor["index"], str(page.cursor["epoch"]))]


async def test_the_first_question_is_an_epoch_and_then_comes_next(netskope, streams):
    netskope.knobs.hour_batches = False
    netskope.issue(12, stream="alert")
    await drain(streams()["alert"])
    assert operations(netskope) == ["epoch", "next", "next", "next"]


@pytest.mark.parametrize(
    ("start", "seconds"), [(None, DAY), ("6h", 6 * HOUR), ("365d", 90 * DAY), ("2026-11-01T00:00:00Z", None)]
)
async def test_the_first_reach_is_a_day_or_as_start_says_but_never_beyond_90_days(streams, start, seconds):
    page = await streams({"start": start})["alert"].fetch(None)
    wanted = 1793491200 if seconds is None else time.time() - seconds
    assert abs(page.cursor["epoch"] - max(wanted, time.time() - 90 * DAY)) < 5


async def test_an_hour_without_records_is_not_the_end(netskope, streams):
    netskope.issue(4, stream="alert", age_seconds=30 * HOUR)
    netskope.issue(4, stream="alert", age_seconds=3 * HOUR)
    records, _ = await drain(streams({"start": "40h"})["alert"])
    assert raws(records) == issued(netskope)


async def test_a_short_page_is_not_the_end(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(2, stream="alert")
    assert (await stream.fetch(cursor)).more


async def test_an_empty_page_is_the_end_and_changes_nothing(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    page = await stream.fetch(cursor)
    assert (page.records, page.more, page.cursor) == ([], False, cursor)


async def test_a_mark_that_goes_with_the_clock_is_no_reason_to_go_on(netskope, streams):
    netskope.knobs.hwm = "moving"
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    await anyio.sleep(5)
    page = await stream.fetch(cursor)
    assert not page.more
    assert page.cursor["hwm"] > cursor["hwm"]


async def test_late_records_come_with_the_next_page(netskope, streams):
    stream = streams()["alert"]
    netskope.issue(3, stream="alert")
    _, cursor = await drain(stream)
    (late,) = netskope.issue(1, stream="alert", late_seconds=5400)
    records, _ = await drain(stream, cursor)
    assert [record.id for record in records] == [late]


async def test_records_in_any_order_are_all_there(netskope, streams):
    netskope.knobs.shuffle = True
    netskope.issue(23, stream="page")
    records, _ = await drain(streams()["page"])
    assert sorted(raws(records)) == sorted(issued(netskope, "page"))


async def test_lag_is_told_by_the_mark_while_there_is_more(netskope, streams):
    netskope.issue(7, stream="alert", age_seconds=HOUR)
    stream = streams({"start": "3h"})["alert"]
    cursor = (await stream.fetch(None)).cursor
    page = await stream.fetch(cursor)
    assert page.complete_to_ms == page.cursor["hwm"] * 1000
    _, cursor = await drain(stream, page.cursor)
    assert (await stream.fetch(cursor)).complete_to_ms is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (0, 0),
        (1, 1),
        (45, 45),
        (2.5, 2.5),
        ("7", 7),
        (None, 30),
        ("soon", 30),
        (True, 30),
        ([], 30),
        (-5, 0),
        (10**12, HOUR),
    ],
)
async def test_wait_time_is_honoured_whatever_it_is(canned, told, seconds):
    assert (await canned(page_of({"_id": "a"}, wait_time=told))).not_before_seconds == seconds


async def test_without_wait_time_thirty_seconds_are_waited(canned):
    assert (await canned({"ok": 1, "result": []})).not_before_seconds == 30


async def test_unknown_keys_are_ignored(canned):
    page = await canned(page_of({"_id": "a"}, analyze_result={"took": [1]}, pagination=None))
    assert [record.id for record in page.records] == ["a"]


# ---------------------------------------------------------------------------------------- unclean ends, and resend


@pytest.mark.parametrize("trouble", UNCLEAR.values(), ids=UNCLEAR)
async def test_a_page_that_was_lost_on_the_way_is_sent_again(netskope, streams, trouble):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(12, stream="alert")
    netskope.fail(trouble)
    with pytest.raises(SourceUnavailable):
        await stream.fetch(cursor)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert operations(netskope)[:3] == ["next", "resend", "next"]


@pytest.mark.parametrize(
    "trouble",
    [Reset("before_status", vendor_acts=False), HtmlPage(), EmptyBody(), Status(502), JsonObject(b'{"ok":0}')],
    ids=repr,
)
async def test_a_next_that_never_happened_is_found_out_and_nothing_is_repeated(netskope, streams, trouble):
    stream = streams()["alert"]
    netskope.issue(4, stream="alert")
    cursor = await seeded(netskope, stream)
    netskope.issue(6, stream="alert")
    netskope.fail(trouble)
    with pytest.raises(SourceUnavailable):
        await stream.fetch(cursor)
    # The empty page that ended the last poll is the one that is sent again, or the four records before it.
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)[4:]
    assert operations(netskope)[:3] == ["next", "resend", "next"]


async def test_the_page_that_was_accepted_last_is_dropped_when_it_is_sent_again(netskope, streams):
    netskope.issue(5, stream="alert")
    netskope.knobs.hour_batches = False
    first = streams()["alert"]
    cursor = (await first.fetch(None)).cursor
    page = await first.fetch(cursor)
    again = await streams()["alert"].fetch(page.cursor)
    assert (again.records, again.more, again.cursor) == ([], True, page.cursor)
    assert operations(netskope) == ["epoch", "resend"]


async def test_a_page_that_is_sent_again_with_another_wait_time_is_the_same_page(netskope, streams):
    netskope.issue(5, stream="alert")
    netskope.knobs.hour_batches = False
    first = streams()["alert"]
    page = await first.fetch((await first.fetch(None)).cursor)
    netskope.knobs.wait_full, netskope.knobs.hwm, netskope.knobs.extra_keys = 9, "absent", False
    again = await streams()["alert"].fetch(page.cursor)
    assert (again.records, again.not_before_seconds) == ([], 9)


async def test_every_start_begins_with_resend(netskope, streams):
    netskope.issue(3, stream="alert")
    cursor = await seeded(netskope, streams()["alert"])
    netskope.issue(2, stream="alert")
    records, _ = await drain(streams()["alert"], cursor)
    assert raws(records) == issued(netskope)[3:]
    assert operations(netskope) == ["resend", "next", "next"]


@pytest.mark.parametrize("pages", range(1, 7))
async def test_a_restart_after_any_page_loses_and_repeats_nothing(netskope, streams, pages):
    netskope.issue(23, stream="alert")
    stream, cursor, records = streams()["alert"], None, []
    for _ in range(pages):
        page = await stream.fetch(cursor)
        records += page.records
        cursor = page.cursor
    rest, _ = await drain(streams()["alert"], cursor)
    assert raws(records + rest) == issued(netskope)


@pytest.mark.parametrize("pages", range(1, 7))
async def test_a_page_that_was_not_accepted_is_sent_again_to_the_same_process(netskope, streams, pages):
    """The store failed: `fetch` is called again with the same cursor."""
    netskope.issue(23, stream="alert")
    stream, cursor, records = streams()["alert"], None, []
    for _ in range(pages):
        page = await stream.fetch(cursor)
        records += page.records
        cursor = page.cursor
    await stream.fetch(cursor)
    rest, _ = await drain(stream, cursor)
    assert raws(records + rest) == issued(netskope)


@pytest.mark.parametrize("pages", range(1, 6))
async def test_a_crash_between_page_and_outbox_loses_nothing(netskope, streams, pages):
    netskope.issue(23, stream="alert")
    stream, cursor, records = streams()["alert"], None, []
    for _ in range(pages):
        page = await stream.fetch(cursor)
        records += page.records
        cursor = page.cursor
    await stream.fetch(cursor)  # its page dies with the process
    rest, _ = await drain(streams()["alert"], cursor)
    assert raws(records + rest) == issued(netskope)


@pytest.mark.parametrize("trouble", [*UNCLEAR.values(), VendorError(503)], ids=[*UNCLEAR, "503"])
async def test_a_seed_is_repeated_with_the_same_epoch(netskope, streams, trouble):
    netskope.issue(8, stream="alert")
    stream = streams()["alert"]
    cursor = (await stream.fetch(None)).cursor
    netskope.fail(trouble, times=2)
    for _ in range(2):
        await anyio.sleep(100)
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)
    records, _ = await drain(streams()["alert"], cursor)
    assert raws(records) == issued(netskope)
    assert len(set(questions(netskope)[:3])) == 1


async def test_a_request_that_is_cancelled_is_followed_by_resend(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(12, stream="alert")
    netskope.fail(Slow(before=60))
    with anyio.move_on_after(5):
        await stream.fetch(cursor)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert operations(netskope)[:2] == ["next", "resend"]


@pytest.mark.parametrize("status", [500, 503, 403, 404, 400, 409, 429])
async def test_an_error_status_has_not_moved_the_iterator_so_the_question_is_repeated(netskope, streams, status):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(6, stream="alert")
    netskope.fail(VendorError(status))
    with pytest.raises((SourceUnavailable, SourceRefused)):
        await stream.fetch(cursor)
    await anyio.sleep(60)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert operations(netskope)[:3] == ["next", "next", "next"]


async def test_a_vendor_that_cannot_be_reached_was_asked_nothing(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    await netskope.go_down()
    with pytest.raises(SourceUnavailable):
        await stream.fetch(cursor)
    await netskope.come_back()
    await stream.fetch(cursor)
    # The kept connection died first: that was a request which nobody knows the end of.
    assert operations(netskope)[-1] in {"next", "resend"}


async def test_a_request_is_never_repeated_below_us(netskope, streams):
    """Aiohttp repeats a GET when a kept connection dies; here that would lose a page."""
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(6, stream="alert")
    netskope.fail(Reset("before_status"))
    with pytest.raises(SourceUnavailable):
        await stream.fetch(cursor)
    assert operations(netskope) == ["next"]
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)


async def test_a_page_without_an_end_is_resent_until_it_comes_whole(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(6, stream="alert")
    netskope.fail(Cut("length"), times=4)
    for _ in range(4):
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert operations(netskope)[:5] == ["next", "resend", "resend", "resend", "resend"]


async def test_the_same_page_again_and_again_is_an_error(responses, open_streams):
    responses.get(re.compile(f"{BASE}.*"), body=page_of({"_id": "a"}), repeat=True)
    stream = open_streams("Netskope", BASE, {"tenantID": "acme", "apiToken": TOKEN})["alert"]
    cursor = None
    for _ in range(4):  # the index, the seed, and two that might have been meant
        cursor = (await stream.fetch(cursor)).cursor
    with pytest.raises(SourceUnavailable, match="same page") as raised:
        await stream.fetch(cursor)
    assert raised.value.retry_after == 60


# --------------------------------------------------------------------------------------------------- a new start


async def test_a_page_that_fails_for_an_hour_is_given_up_for_a_new_index_from_the_last_mark(netskope, streams):
    netskope.issue(8, stream="alert", age_seconds=120)
    stream = streams()["alert"]
    known, cursor = await drain(stream)
    assert len(known) == 8
    netskope.issue(12, stream="alert")
    is_resend = lambda call: call.query["operation"] == "resend"
    netskope.fail(Cut("length"))
    netskope.fail(Cut("length"), times=None, when=is_resend)
    with pytest.raises(SourceUnavailable):
        await stream.fetch(cursor)
    for _ in range(6):
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)
        await anyio.sleep(600)
    page = await stream.fetch(cursor)
    (notice,) = page.notices
    assert "possible duplicates" in notice.text
    assert page.cursor["index"] != cursor["index"]
    assert page.cursor["epoch"] == cursor["hwm"] - 600
    first = await stream.fetch(page.cursor)
    assert first.overlaps
    assert first.notices
    rest, cursor = await drain(stream, first.cursor)
    assert set(issued(netskope)) == set(raws(first.records + rest))
    netskope.issue(1, stream="alert")
    page = await stream.fetch(cursor)
    assert not page.overlaps
    assert not page.notices


async def test_ids_are_remembered_as_far_back_as_a_new_start_reaches(netskope, streams):
    netskope.issue(4, stream="alert")
    stream = streams({"overlap": "20m"})["alert"]
    page = await stream.fetch((await stream.fetch(None)).cursor)
    while not page.records:
        page = await stream.fetch(page.cursor)
    assert page.remember_from_ms == (page.cursor["hwm"] - 1200) * 1000


@pytest.mark.parametrize("trouble", [VendorError(500), HtmlPage()], ids=["500", "html"])
async def test_a_vendor_that_is_down_for_hours_is_waited_for(netskope, streams, trouble):
    """Nothing is wrong with the page: a new start would lose what arrives late."""
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(6, stream="alert")
    netskope.fail(Cut("length"))
    netskope.fail(trouble, times=None)
    for _ in range(12):
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)
        await anyio.sleep(900)
    assert [operation for operation in operations(netskope) if operation != "resend"] == ["next"]
    netskope.faults.clear()
    records, after = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert after["index"] == cursor["index"]


async def test_an_index_that_the_vendor_forgot_is_replaced(netskope, streams):
    netskope.knobs.fresh_index = "refused"
    netskope.issue(4, stream="alert", age_seconds=120)
    cursor = await seeded(netskope, streams()["alert"])
    netskope.drop_index("alert")
    netskope.issue(3, stream="alert")
    stream = streams()["alert"]
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)
    records, after = await drain(stream, cursor)
    assert set(raws(records)) == set(issued(netskope))
    assert after["index"] != cursor["index"]


async def test_an_older_place_of_a_damaged_store_is_collected_again_from_its_time(netskope, streams):
    """The iterator is further on than such a place says; what lies between is asked for by its time."""
    netskope.issue(4, stream="alert", age_seconds=60)
    old = await seeded(netskope, streams()["alert"])
    netskope.issue(3, stream="alert")
    await drain(streams()["alert"], old)
    page = await streams()["alert"].fetch({**old, "restored": True})
    assert page.cursor["index"] != old["index"]
    assert "backup" in page.notices[0].text
    records, _ = await drain(streams()["alert"], page.cursor)
    assert {bytes(record.raw) for record in records} >= set(list(netskope.issued["alert"].values())[4:])


async def test_another_tenant_has_an_index_of_its_own(netskope, streams, open_streams):
    netskope.issue(4, stream="alert", age_seconds=60)
    cursor = await seeded(netskope, streams()["alert"])
    other = NetskopeSimulator(TOKEN, netskope.knobs)
    async with other.serve():
        stream = open_streams("Netskope", other.base_url, {"tenantID": "acme", "apiToken": TOKEN})["alert"]
        page = await stream.fetch(cursor)
        assert page.cursor["index"] != cursor["index"]
        assert "another tenant" in page.notices[0].text
        await drain(stream, page.cursor)
    assert other.violations == []


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"next": "old"},
        {"index": "Not Legal!", "scope": "x", "epoch": 1, "hwm": 1795000000},
        {"index": "i", "scope": "x", "epoch": "1"},
        {"at_rest": True},
        {"index": "collectord-1-alert", "scope": "x", "epoch": 5, "hwm": -3},
        {"hwm": 10**30},
    ],
    ids=json.dumps,
)
async def test_a_cursor_that_cannot_be_read_is_replaced_and_somebody_is_told(netskope, streams, cursor):
    netskope.issue(3, stream="alert")
    stream = streams()["alert"]
    page = await stream.fetch(cursor)
    assert page.notices
    records, _ = await drain(stream, page.cursor)
    assert raws(records) == issued(netskope) or cursor.get("hwm", 0) > 10**20


async def test_a_cursor_of_a_later_version_is_understood(netskope, streams):
    netskope.issue(3, stream="alert")
    cursor = await seeded(netskope, streams()["alert"])
    page = await streams()["alert"].fetch({**cursor, "invented_later": [1]})
    assert page.cursor["index"] == cursor["index"]


# ------------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("stream", ["alert", "audit", "incident", "endpoint"])
async def test_odd_records_are_delivered_as_they_came(netskope, streams, stream):
    netskope.issue(len(ODD), stream=stream, odd=list(ODD))
    netskope.issue(2, stream=stream, pretty=True)
    records, _ = await drain(streams()[stream])
    assert raws(records)[: len(ODD)] == issued(netskope, stream)[: len(ODD)]
    assert len(records) == len(ODD) + 2
    assert all(b"\n" not in raw for raw in raws(records))
    assert len({record.id for record in records}) == len(records)


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_a_record_that_no_parser_takes_costs_no_other_its_delivery(netskope, streams, kind):
    netskope.issue(5, stream="alert", odd=["unicode", kind, "unicode"])
    records, _ = await drain(streams()["alert"])
    assert len(records) == 5
    good = [place for place in range(5) if place % 3 != 1]
    assert [raws(records)[place] for place in good] == [issued(netskope)[place] for place in good]
    if kind != "not_utf8":
        assert raws(records) == issued(netskope)


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        (1788220800, 1788220800000),
        (1788220800.25, 1788220800250),
        ("1788220800", 1788220800000),
        ("1788220800.5", 1788220800500),
        (1788220800123, 1788220800123),
        ("2026-09-01T00:00:00Z", 1788220800000),
        (0, 0),
        (None, None),
        (True, None),
        ("yesterday", None),
        ([], None),
        (10**18, None),
        ("inf", None),
        ("nan", None),
    ],
    ids=repr,
)
async def test_message_time_is_the_timestamp_in_any_form(canned, timestamp, milliseconds):
    page = await canned(page_of({"_id": "a", "timestamp": timestamp}))
    assert page.records[0].time_ms == milliseconds


async def test_a_record_without_a_timestamp_has_no_time(canned):
    assert (await canned(page_of({"_id": "a"}))).records[0].time_ms is None


@pytest.mark.parametrize("given", [None, "", 1.5, [], {}, False], ids=repr)
async def test_without_an_id_the_content_is_the_identity(canned, given):
    page = await canned(page_of({"_id": given, "a": 1}, {"_id": given, "a": 2}, {"_id": given, "a": 1}))
    first, second, third = (record.id for record in page.records)
    assert first == third != second


@pytest.mark.parametrize("given", ["5182a0", "7", "f" * 64, "b" * 23])
async def test_the_id_is_taken_as_it_is(canned, given):
    assert (await canned(page_of({"_id": given}))).records[0].id == given


async def test_an_id_that_is_a_number_is_an_id(canned):
    assert (await canned(page_of({"_id": 42}))).records[0].id == "42"


async def test_an_incident_is_another_record_whenever_it_changes(netskope, streams):
    netskope.issue(2, stream="incident", object_id="f" * 64)
    records, _ = await drain(streams()["incident"])
    first, second = (record.id for record in records)
    assert first != second
    assert first.partition("@")[0] == second.partition("@")[0] == "f" * 64


@pytest.mark.parametrize(
    ("members", "event_id"),
    [
        ({"audit_log_event": "Login Successful"}, "audit-logon"),
        ({"audit_log_event": "Login Failed"}, "audit-logon"),
        ({"audit_log_event": "LOGON by SSO"}, "audit-logon"),
        ({"audit_log_event": "Logout Successful"}, "audit-logoff"),
        ({"audit_log_event": "user logoff"}, "audit-logoff"),
        ({"audit_log_event": "Logout after login timed out"}, "audit-logoff"),
        ({"audit_log_event": "Edited private app segment"}, "audit"),
        ({"audit_log_event": "Login Successful", "description": "Admin logout"}, "audit-logoff"),
        ({"audit_log_event": "Login Successful", "description": "nothing of it"}, "audit"),
        ({"audit_log_event": "Login Successful", "description": ""}, "audit-logon"),
        ({"audit_log_event": "Login Successful", "description": None}, "audit-logon"),
        ({"audit_log_event": ["login"]}, "audit"),
        ({}, "audit"),
    ],
)
async def test_audit_events_of_logon_and_logoff_are_told_apart(canned, members, event_id):
    assert (await canned(page_of(members))).records[0].event_id == event_id


async def test_the_event_id_of_all_else_is_the_stream_whatever_the_record_says(canned):
    page = await canned(page_of({"type": "nspolicy", "audit_log_event": "Login"}), stream="application")
    assert page.records[0].event_id == "application"


@pytest.mark.parametrize("text", ["Login Successful", "Logout Successful", "Rest API V2 Call"])
def test_event_ids_have_one_suffix_at_most(text):
    assert audit_event_id(text).count("-") <= 1


# --------------------------------------------------------------------------- bad pages: error, and the cursor stays


BAD_PAGES = {
    "html": b"<!doctype html><html></html>",
    "empty": b"",
    "list": b"[]",
    "string": b'"ok"',
    "result-object": b'{"ok":1,"result":{}}',
    "result-text": b'{"ok":1,"result":"none"}',
    "truncated": b'{"ok":1,"result":[{"_id":"a"},{"_id"',
    "truncated-behind-result": b'{"ok":1,"result":[{"_id":"a"}],"wait_time":',
    "two-pages": b'{"ok":1,"result":[]}{"ok":1,"result":[]}',
    "csv": b"_id,timestamp\na,1\n",
    "not-ok": b'{"ok":0,"result":[{"_id":"a"}]}',
    "ok-missing": b'{"result":[{"_id":"a"}]}',
    "ok-text": b'{"ok":"yes","result":[]}',
    "ok-list": b'{"ok":[1],"result":[]}',
    "ok-null": b'{"ok":null}',
    "status-error": b'{"status":"error","message":"token service down"}',
}


@pytest.mark.parametrize("body", BAD_PAGES.values(), ids=BAD_PAGES)
async def test_a_bad_page_is_an_error_and_no_page(canned, body):
    with pytest.raises(SourceUnavailable) as raised:
        await canned(body)
    assert "/dataexport/events/audit" in raised.value.message


async def test_the_vendors_own_words_are_told(canned):
    with pytest.raises(SourceUnavailable) as raised:
        await canned({"status": "error", "message": "token service down"})
    assert raised.value.info == "token service down"


@pytest.mark.parametrize("ok", [1, 1.0, "1", True], ids=repr)
async def test_ok_is_1_however_it_is_written(canned, ok):
    assert len((await canned({"ok": ok, "result": [{"_id": "a"}]})).records) == 1


@pytest.mark.parametrize("result", [None, []])
async def test_no_result_is_nothing_new(canned, result):
    assert (await canned({"ok": 1, "result": result})).records == []


@pytest.mark.parametrize("trouble", [GzipBomb(2**28), GiantPage(200 * 10**6)], ids=["bomb", "200MB"])
async def test_a_giant_page_is_refused_and_asked_for_again(netskope, streams, trouble):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(3, stream="alert")
    netskope.fail(trouble)
    with pytest.raises(SourceUnavailable, match="larger than collectord takes"):
        await stream.fetch(cursor)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert operations(netskope)[:2] == ["next", "resend"]


@pytest.mark.parametrize("mark", [None, "x", -1, 0, 10**15, True, [], 2**80, {}])
async def test_a_mark_that_makes_no_sense_is_as_good_as_none(canned, mark):
    assert "hwm" not in (await canned(b'{"ok":1,"result":[],"timestamp_hwm":%s}' % json.dumps(mark).encode())).cursor


async def test_a_mark_in_the_future_is_the_vendors_now(canned):
    page = await canned(page_of({"_id": "a"}, timestamp_hwm=int(time.time()) + 9999))
    assert page.cursor["hwm"] <= time.time() + 1


# ------------------------------------------------------------------------------------------------- the error table


async def failure(netskope, stream, trouble):
    """What fetching raises on meeting a trouble once, at a stream that was well until then."""
    cursor = await seeded(netskope, stream)
    netskope.fail(trouble)
    with pytest.raises((SourceRefused, SourceUnavailable)) as raised:
        await stream.fetch(cursor)
    return raised.value


async def test_row_200_ok(netskope, streams):
    netskope.issue(1, stream="alert")
    assert len((await drain(streams()["alert"]))[0]) == 1


@pytest.mark.parametrize("trouble", [JsonObject(b'{"ok":0}'), EmptyBody(), HtmlPage()], ids=["ok0", "empty", "html"])
async def test_row_200_not_ok_or_not_json_is_retried(netskope, streams, trouble):
    error = await failure(netskope, streams()["alert"], trouble)
    assert isinstance(error, SourceUnavailable)


async def test_row_204_is_idle_for_thirty_seconds(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.fail(Status(204))
    page = await stream.fetch(cursor)
    assert (page.records, page.more, page.not_before_seconds) == ([], False, 30)
    netskope.issue(2, stream="alert")
    records, _ = await drain(stream, page.cursor)
    assert raws(records) == issued(netskope)


async def test_row_302_is_never_followed_and_retried(netskope, streams):
    canary = Canary([TOKEN])
    async with canary.serve() as elsewhere:
        error = await failure(netskope, streams()["alert"], Redirect(f"{elsewhere}/login"))
    assert isinstance(error, SourceUnavailable)
    assert "redirects to 127.0.0.1" in error.message
    assert canary.requests == []


async def test_row_400_is_our_mistake_after_three_of_the_same(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.fail(VendorError(400), times=3)
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)
    with pytest.raises(SourceRefused, match=r"400.*3 times") as raised:
        await stream.fetch(cursor)
    assert not raised.value.whole_source


async def test_row_400_counts_the_same_answer_only(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    for number in range(5):
        netskope.fail(VendorError(400, f"something else {number % 2}"))
        with pytest.raises(SourceUnavailable):
            await stream.fetch(cursor)


async def test_row_401_stops_the_whole_source(netskope, streams):
    error = await failure(netskope, streams()["alert"], VendorError(401))
    assert isinstance(error, SourceRefused)
    assert error.whole_source
    assert error.code == 401
    assert "Create a new one" in error.message


async def test_row_403_of_a_scope_stops_its_stream_and_names_the_scope(netskope, streams):
    netskope.knobs.denied = {"page"}
    opened = streams(eventTypes=["page", "audit"])
    with pytest.raises(SourceRefused) as raised:
        await opened["page"].fetch(None)
    assert not raised.value.whole_source
    assert f"no Read scope for {EXPORT}/page (403)" in raised.value.message
    assert "give the token this scope" in raised.value.message
    await opened["audit"].fetch(None)


async def test_row_403_of_a_type_that_nobody_named_is_skipped_in_so_many_words(netskope, streams):
    netskope.knobs.denied = {"endpoint"}
    with pytest.raises(SourceRefused, match="endpoint events are skipped; name the eventTypes"):
        await streams()["endpoint"].fetch(None)


async def test_row_403_with_another_text_may_be_the_address(netskope, streams):
    error = await failure(netskope, streams()["alert"], VendorError(403, "Your IP is not allowed"))
    assert isinstance(error, SourceRefused)
    assert not error.whole_source
    assert "address" in error.message
    assert error.info == "Your IP is not allowed"


async def test_row_403_on_every_stream_is_about_the_token(netskope, streams):
    netskope.knobs.denied = {"alert", "audit", "page"}
    opened = streams(eventTypes=["page", "audit"])
    errors = []
    for stream in opened.values():
        with pytest.raises(SourceRefused) as raised:
            await stream.fetch(None)
        errors.append(raised.value)
    assert [error.whole_source for error in errors] == [False, False, True]
    assert "token is wrong or expired" in errors[-1].message


async def test_row_403_on_every_stream_after_days_of_success_is_about_the_token_too(netskope, streams):
    opened = streams(eventTypes=["audit"])
    cursors = {name: await seeded(netskope, stream) for name, stream in opened.items()}
    netskope.knobs.denied = {"alert", "audit"}
    whole = []
    for name, stream in opened.items():
        with pytest.raises(SourceRefused) as raised:
            await stream.fetch(cursors[name])
        whole.append(raised.value.whole_source)
    assert whole == [False, True]


async def test_row_404_stops_the_stream(netskope, streams):
    netskope.knobs.absent = {"connection"}
    with pytest.raises(SourceRefused, match="tenantID") as raised:
        await streams()["connection"].fetch(None)
    assert not raised.value.whole_source


async def test_row_409_waits_between_ten_and_sixty_seconds(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.fail(VendorError(409), times=30)
    waits = []
    for _ in range(30):
        with pytest.raises(SourceUnavailable) as raised:
            await stream.fetch(cursor)
        waits.append(raised.value.retry_after or 0.0)
        await anyio.sleep(MINUTE * 5)
    assert 10 <= min(waits) < 25
    assert 45 < max(waits) <= 60


async def test_row_409_eleven_times_in_ten_minutes_is_another_collector(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.fail(VendorError(409), times=11)
    messages = []
    for _ in range(11):
        with pytest.raises(SourceUnavailable) as raised:
            await stream.fetch(cursor)
        messages.append(raised.value.message)
        await anyio.sleep(50)
    assert ["another collector uses this index or token" in message for message in messages] == [False] * 10 + [True]


async def test_row_409_for_ten_minutes_on_end_is_another_collector_though_waits_grow(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.fail(VendorError(409), times=3)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="in progress"):
            await stream.fetch(cursor)
        await anyio.sleep(300)
    with pytest.raises(SourceUnavailable, match="another collector"):
        await stream.fetch(cursor)


async def test_row_409_now_and_then_is_no_reason_for_alarm(netskope, streams):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    for _ in range(20):
        netskope.fail(VendorError(409))
        with pytest.raises(SourceUnavailable, match="in progress"):
            await stream.fetch(cursor)
        await anyio.sleep(300)
        await stream.fetch(cursor)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ((("Retry-After", "7"),), 7, 7),
        ((("Retry-After", "1"), ("RateLimit-Reset", "9")), 9, 9),
        ((("RateLimit-Reset", "3"),), 3, 3),
        ((("RateLimit-Reset", "1788220800"),), 300, 300),
        ((("Retry-After", "999999999"),), HOUR, HOUR),
        ((("Retry-After", "-5"),), 1, 1),
        ((("Retry-After", "soon"),), 30, 40),
        ((), 30, 40),
    ],
    ids=repr,
)
async def test_row_429_rests_as_told_in_seconds_and_never_for_ever(netskope, streams, headers, least, most):
    error = await failure(netskope, streams()["alert"], too_many(headers=headers))
    assert isinstance(error, RateLimited)
    assert error.retry_after is not None
    assert least <= error.retry_after <= most


async def test_row_429_as_the_vendor_words_it(netskope, streams):
    netskope.knobs.requests_per_second = 1
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.fail(VendorError(429))
    with pytest.raises(RateLimited):
        await stream.fetch(cursor)


async def test_row_429_at_first_contact_does_not_count_as_authenticated(netskope, streams):
    netskope.knobs.bad_token_status = 429
    netskope.revoke(TOKEN)
    with pytest.raises(RateLimited):
        await streams()["alert"].fetch(None)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_row_5xx_is_retried(netskope, streams, status):
    error = await failure(netskope, streams()["alert"], VendorError(status, headers=(("Retry-After", "5"),)))
    assert isinstance(error, SourceUnavailable)
    assert error.retry_after == 5


def _unreachable(error):
    key = ConnectionKey("acme.goskope.com", 443, True, True, None, None, None, None)
    if isinstance(error, ssl.SSLCertVerificationError):
        return aiohttp.ClientConnectorCertificateError(key, error)
    return aiohttp.ClientConnectorDNSError(key, error)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no host acme.goskope.com"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "acme.goskope.com cannot be reached"),
        (ssl.SSLCertVerificationError("hostname mismatch"), "acme.goskope.com: its TLS certificate is not trusted"),
    ],
    ids=["no such host", "no resolver", "another's certificate"],
)
async def test_row_dns_and_tls_name_the_host_and_are_tried_again(open_streams, responses, trouble, says):
    responses.get(re.compile(f"{BASE}.*"), exception=_unreachable(trouble), repeat=True)
    stream = open_streams("Netskope", BASE, {"tenantID": "acme", "apiToken": TOKEN})["alert"]
    for _ in range(5):
        with pytest.raises(SourceUnavailable, match=says):
            await stream.fetch(None)


async def test_row_a_closed_port_names_the_host(open_streams):
    stream = open_streams("Netskope", "http://127.0.0.1:9", {"tenantID": "acme", "apiToken": TOKEN})["alert"]
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1"):
        await stream.fetch(None)


async def test_row_broken_body_is_resent(netskope, streams):
    stream = streams()["alert"]
    error = await failure(netskope, stream, Cut("chunked"))
    assert isinstance(error, SourceUnavailable)


@pytest.mark.parametrize("status", [405, 413, 414, 422])
async def test_any_other_refusal_is_for_a_human(netskope, streams, status):
    error = await failure(netskope, streams()["alert"], Status(status))
    assert isinstance(error, SourceRefused)
    assert not error.whole_source


@pytest.mark.parametrize(
    "body",
    [{"message": "why"}, {"error": "why"}, {"status": {"message": "why"}}, {"message": None, "error": "why"}],
    ids=json.dumps,
)
async def test_the_reason_is_found_wherever_it_stands(netskope, streams, body):
    error = await failure(netskope, streams()["alert"], Status(500, orjson.dumps(body)))
    assert error.info == "why"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500])
async def test_the_request_id_is_told(netskope, streams, status):
    error = await failure(netskope, streams()["alert"], VendorError(status))
    assert re.search(r"request req-\d{8}", error.message)


async def test_a_request_id_cannot_forge_a_message(netskope, streams):
    error = await failure(netskope, streams()["alert"], Status(500, headers=(("x-request-id", "a b " + "x" * 900),)))
    assert "a b" not in error.message


@pytest.mark.parametrize(
    "trouble", [*(VendorError(status) for status in (400, 401, 403, 404, 409, 429, 500)), Cut(), HtmlPage()], ids=repr
)
async def test_no_message_holds_the_token(netskope, streams, trouble):
    error = await failure(netskope, streams()["alert"], trouble)
    assert TOKEN not in f"{error!r} {error} {error.message} {error.info}"


# ------------------------------------------------------------------------------------------------- the rate limit


async def test_the_limit_of_an_endpoint_is_kept_and_never_met(netskope, streams):
    netskope.knobs.requests_per_second = 4
    netskope.issue(60, stream="alert")
    records, _ = await drain(streams()["alert"])
    assert raws(records) == issued(netskope)
    assert netskope.counters["rate_limited"] == 0


async def test_one_request_at_a_time_is_made_on_an_endpoint(netskope, streams):
    netskope.knobs.answer_seconds, netskope.knobs.conflict_by = 2, "path"
    stream, other = streams()["alert"], streams()["alert"]
    async with anyio.create_task_group() as group:
        for each in (stream, other, stream):
            group.start_soon(each.probe)
    assert netskope.counters["peak_in_flight"] == 1
    assert netskope.counters["status 409"] == 0


async def test_endpoints_do_not_wait_for_each_other(netskope, streams):
    netskope.knobs.answer_seconds = 2
    async with anyio.create_task_group() as group:
        for stream in streams().values():
            group.start_soon(stream.probe)
    assert netskope.counters["peak_in_flight"] == 9


@pytest.mark.parametrize(("reset", "seconds"), [("3", 3), ("0", 1), ("9999999999", 300)])
async def test_an_allowance_that_is_spent_is_rested_for(netskope, streams, looptime, reset, seconds):
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    spent = (("RateLimit-Remaining", "0"), ("RateLimit-Reset", reset))
    netskope.fail(Rewrite(lambda answer: answer.adding(*spent)))
    await stream.fetch(cursor)
    began = float(looptime)
    await stream.fetch(cursor)
    assert float(looptime) - began == pytest.approx(seconds, abs=0.5)


@pytest.mark.looptime(False)  # the fake clock runs on while 13 MB are on their way
async def test_big_pages_are_held_one_at_a_time(netskope, streams):
    netskope.knobs.page_size, netskope.knobs.hour_batches = 5000, False
    opened = {name: stream for name, stream in streams().items() if name in {"alert", "page", "network"}}
    cursors = {name: (await stream.fetch(None)).cursor for name, stream in opened.items()}
    for name in opened:
        netskope.issue(3000, stream=name)
    arrived = []

    async def collect(name):
        arrived.append(await opened[name].fetch(cursors[name]))

    async with anyio.create_task_group() as group:
        for name in opened:
            group.start_soon(collect, name)
        for held in (1, 2, 3):
            await anyio.sleep(1)
            assert len(arrived) == held
            arrived[-1] = None  # the page is in the outbox now


async def test_a_page_that_nobody_takes_away_does_not_stop_the_other_streams(netskope, streams):
    netskope.knobs.page_size, netskope.knobs.hour_batches = 5000, False
    opened = streams()
    for name in ("alert", "page", "network"):
        netskope.issue(3000, stream=name)
        page = await opened[name].fetch((await opened[name].fetch(None)).cursor)
        assert len(page.records) == 3000


# ---------------------------------------------------------------------------------------------------------- probe


@pytest.mark.parametrize("trouble", [None, VendorError(409), Status(204)], ids=["200", "409", "204"])
async def test_a_probe_is_content_with_an_answer_and_moves_nothing(netskope, streams, trouble):
    netskope.issue(3, stream="page")
    stream = streams()["page"]
    cursor = await seeded(netskope, stream)
    netskope.issue(3, stream="page")
    if trouble:
        netskope.fail(trouble)
    assert await stream.probe() == f"the token may read {EXPORT}/page"
    (request,) = netskope.requests
    query = parse_qs(urlsplit(request.target).query)
    assert query["index"] == ["collectord-validation"]
    assert int(query["operation"][0]) > netskope.now()
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope, "page")[3:]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_probe_says_what_is_missing(netskope, streams, status):
    netskope.knobs.bad_token_status = status
    netskope.revoke(TOKEN)
    with pytest.raises(SourceRefused):
        await streams()["page"].probe()


async def test_a_probe_is_not_content_with_a_login_page(netskope, streams):
    netskope.fail(HtmlPage())
    with pytest.raises(SourceUnavailable):
        await streams()["page"].probe()


# ----------------------------------------------------------------------- known defects of other collectors, row by row


async def test_defect_cloud_exchange_before_1_6_2_next_after_a_broken_stream(netskope, streams):
    """Netskope CE < 1.6.2: a broken stream, then `next`: the page was lost."""
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(5, stream="alert")
    netskope.fail(Cut("chunked"))
    with pytest.raises(SourceUnavailable):
        await stream.fetch(cursor)
    restarted = streams()["alert"]
    records, _ = await drain(restarted, cursor)
    assert raws(records) == issued(netskope)


async def test_defect_cloud_exchange_1_6_2_same_operation_after_a_time_out(netskope, streams):
    """Netskope CE 1.6.2 repeats `next` after a time-out: the page may be skipped."""
    stream = streams()["alert"]
    cursor = await seeded(netskope, stream)
    netskope.issue(12, stream="alert")
    netskope.fail(Slow(before=1000))
    with pytest.raises(SourceUnavailable, match="did not answer in time"):
        await stream.fetch(cursor)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope)
    assert operations(netskope)[:2] == ["next", "resend"]


async def test_defect_sdk_blocks_itself_for_a_day_after_401(netskope, streams, looptime):
    """The netskopesdk sleeps 30 s inside the call and blocks itself for 24 h, and its errors hold the token."""
    netskope.revoke(TOKEN)
    stream = streams()["alert"]
    for _ in range(12):
        with pytest.raises(SourceRefused) as raised:
            await stream.fetch(None)
        assert TOKEN not in str(vars(raised.value))
    assert looptime < 10
    netskope.accept_credential(TOKEN)
    await streams()["alert"].fetch(None)


async def test_defect_elastic_one_refused_type_starves_the_others(netskope, streams):
    """Elastic's CEL input keeps the failing type at the head of its list, ignores wait_time and `ok`."""
    netskope.knobs.denied = {"alert"}
    netskope.issue(9)
    opened = streams()
    with pytest.raises(SourceRefused):
        await opened["alert"].fetch(None)
    for name, stream in opened.items():
        if name != "alert":
            assert raws((await drain(stream))[0]) == issued(netskope, name)


async def test_defect_azure_poller_bare_next_and_damaged_ids(netskope, streams):
    """Azure's CCF poller starts with a bare `next`, asks ten times a second, and zeroes digits of 64-bit ids."""
    netskope.knobs.requests_per_second = 4
    netskope.issue(10, stream="alert", odd=["large_ids"])
    records, _ = await drain(streams()["alert"])
    assert all(
        b'"dlp_incident_id":9223372036854775807,"incident_id":18446744073709551615' in raw for raw in raws(records)
    )
    assert raws(records) == issued(netskope)
    assert operations(netskope)[0] == "epoch"
    assert netskope.counters["rate_limited"] == 0


async def test_defect_azure_function_type_dependent_json(netskope, streams):
    """Azure #9945, #6461: JSON whose types differ broke the function, and only some alert types were collected."""
    netskope.issue(30, stream="alert", odd=["nested", "unicode", "float_timestamp", "text_timestamp"])
    records, _ = await drain(streams()["alert"])
    assert raws(records) == issued(netskope)
    assert {path for path in netskope.counters if "alert" in path and "GET" in path} == {f"GET {EXPORT}/alert"}


async def test_defect_azure_function_depends_on_the_mark(netskope, streams):
    """Azure's function has four iterators a type, starts with all there is, and dies without `timestamp_hwm`."""
    netskope.knobs.hwm, netskope.knobs.hour_batches = "absent", False
    netskope.issue(3, stream="alert", age_seconds=5 * HOUR)
    fresh = netskope.issue(8, stream="alert")
    records, cursor = await drain(streams()["alert"])
    assert [record.id for record in records] == fresh
    assert "hwm" not in cursor
    assert len({index for index, _ in questions(netskope)}) == 1


async def test_defect_demisto_v2_counts_a_429_as_an_empty_page(netskope, streams):
    """After three 429 demisto's collector returns nothing and goes on behind it."""
    stream = streams()["incident"]
    cursor = await seeded(netskope, stream)
    netskope.issue(12, stream="incident")
    netskope.fail(VendorError(429), times=5)
    for _ in range(5):
        with pytest.raises(RateLimited):
            await stream.fetch(cursor)
    records, _ = await drain(stream, cursor)
    assert raws(records) == issued(netskope, "incident")


async def test_defect_demisto_duplicates_without_id(netskope, streams):
    """Demisto #25737, #26713: duplicates where `_id` is not set, a wrong first timestamp, no paging."""
    netskope.issue(12, stream="endpoint", late_seconds=300)
    stream = streams()["endpoint"]
    records, _ = await drain(stream)
    again, _ = await drain(streams()["endpoint"])
    assert len(records) == 12
    assert [record.id for record in records] == [record.id for record in again]
    assert all(record.time_ms for record in records)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
async def test_defect_sekoia_takes_an_error_for_an_empty_page(netskope, streams, status):
    """Sekoia's collector logs what is not 200 and goes on; a type without scope stops until it is restarted."""
    error = await failure(netskope, streams()["alert"], VendorError(status))
    assert error.code == status


async def test_defect_two_collectors_with_one_index(netskope, streams):
    """Two sources never share an index, whatever they are called, and one keeps its own when it is renamed."""
    first, second = streams(name="same"), streams(name="same")
    cursors = [(await stream["alert"].fetch(None)).cursor for stream in (first, second)]
    assert cursors[0]["index"] != cursors[1]["index"]
    page = await streams(name="renamed")["alert"].fetch(cursors[0])
    assert page.cursor["index"] == cursors[0]["index"]
    assert re.fullmatch(r"collectord-[0-9a-f]{12}-alert", page.cursor["index"])
