"""SailPoint's module on a tenant that is as strict as the vendor, over real sockets."""

import json
import re
import socket
import ssl
import time
from contextlib import suppress
from datetime import datetime

import aiohttp
import anyio
import orjson
import pytest
from aiohttp.client_reqrep import ConnectionKey

from collectord.client import PageTooLarge
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
    Replay,
    Reset,
    Rewrite,
    Slow,
    Status,
    VendorError,
    too_many,
)
from collectord.demo.sailpoint import TOKEN
from collectord.demo.sailpoint_odd import NAMELESS, ODD
from collectord.errors import RateLimited, SourceRefused, SourceUnavailable
from collectord.records import Repaired, parse_time
from collectord.settings import RetryPolicy
from collectord.source import AT_REST
from collectord.sources.sailpoint import SOURCE_TYPE
from collectord.sources.sailpoint.place import Place
from collectord.sources.sailpoint.rows import Event
from collectord.sources.sailpoint.tenant import Listing
from tests.sources.rig import connecting, ids, walk
from tests.sources.sailpoint_rig import (
    CLIENT,
    NAME,
    SECRET,
    bounds,
    heard,
    names,
    one,
    raws,
    rig,
    searches,
    settings,
    streams,
    tenant,
)

SEARCH, COUNT, USERS = "/v3/search", "/v3/search/count", "/v3/public-identities"
HOUR = 3600
OLD = 30
"""Seconds: old enough to lie before the end of the next window."""


def issued(simulator, stream="events"):
    return list(simulator.issued[stream].values())


def span(search):
    """Seconds that a search covers."""
    lower, upper = bounds(search)
    return (ms(upper) - ms(lower)) / 1000


def ms(text):
    found = parse_time(text)
    assert found is not None
    return found


def about(error):
    return f"{error.value} {error.value.info} {error.value!r}"


# ------------------------------------------------------------------------------------------------ pages and windows


async def test_everything_is_read_in_order_of_time_and_id_and_byte_for_byte():
    async with tenant() as isc, one(isc, page_size=5) as events:
        isc.issue(23, age_seconds=OLD)
        pages = await walk(events)
        assert ids(pages) == isc.in_order("events")
        assert sorted(raws(pages)) == sorted(issued(isc))


async def test_first_search_is_as_the_contract_words_it():
    async with tenant() as isc, one(isc) as events:
        calls = heard(isc, SEARCH)
        await events.fetch(None)
        (search,) = searches(calls)
        assert calls[0].target == f"{SEARCH}?limit=2500&count=false"
        assert search.keys() == {"indices", "queryType", "query", "filters", "sort"}
        assert (search["indices"], search["query"], search["sort"]) == (["events"], {"query": "*"}, ["created", "id"])
        assert bounds(search)


async def test_record_has_its_id_its_time_and_its_technical_name_verbatim():
    async with tenant() as isc, one(isc) as events:
        isc.issue(1, age_seconds=OLD, technical_name="MACHINE IDENTITY_CREATE_PASSED")
        ((record,), *_) = [page.records for page in await walk(events) if page.records]
        event = json.loads(bytes(record.raw))
        assert (record.id, record.event_id) == (event["id"], "MACHINE IDENTITY_CREATE_PASSED")
        assert record.time_ms == datetime.fromisoformat(event["created"]).timestamp() * 1000


async def test_missing_technical_name_is_not_invented():
    async with tenant() as isc, one(isc) as events:
        isc.issue(2, age_seconds=OLD, odd=["missing_technical_name", "type_drift"])
        assert [record.event_id for page in await walk(events) for record in page.records] == [None, None]


async def test_new_stream_goes_on_from_the_cursor_of_any_page():
    async with tenant() as isc:
        isc.issue(17, age_seconds=OLD)
        seen, cursor, more = [], None, True
        while more:
            async with one(isc, page_size=4) as events:
                page = await events.fetch(cursor)
            seen += ids([page])
            cursor, more = json.loads(json.dumps(page.cursor)), page.more
        assert seen == isc.in_order("events")


async def test_end_of_a_window_is_frozen_at_the_tenants_clock_for_all_its_pages():
    async with tenant(clock_skew_seconds=-5000.0) as isc, one(isc, page_size=3, start="1h") as events:
        isc.issue(10, age_seconds=OLD)
        calls = heard(isc, SEARCH)
        await walk(events)
        ends = {bounds(search)[1] for search in searches(calls)}
        assert len(ends) == 1
        assert abs(ms(ends.pop()) / 1000 - (time.time() - 5000)) < 5


async def test_event_that_comes_while_pages_are_read_waits_for_the_next_window():
    async with tenant() as isc, one(isc, page_size=3) as events:
        isc.issue(8, age_seconds=OLD)
        first = await events.fetch(None)
        while not first.records:
            first = await events.fetch(first.cursor)
        (new,) = isc.issue(1)
        rest = await walk(events, first.cursor)
        assert new not in ids(rest)
        isc.knobs.clock_skew_seconds += 60
        await walk(events, rest[-1].cursor)
        assert new in ids(await walk(events, rest[-1].cursor))


async def test_full_last_page_is_followed_by_another_request_and_a_short_one_is_not():
    async with tenant() as isc, one(isc, page_size=5, start="1h") as events:
        isc.issue(10, age_seconds=OLD)
        assert [len(page.records) for page in await walk(events)] == [5, 5, 0]
    async with tenant() as isc, one(isc, page_size=5, start="1h") as events:
        isc.issue(9, age_seconds=OLD)
        assert [len(page.records) for page in await walk(events)] == [5, 4]


@pytest.mark.parametrize(("start", "hours"), [(None, 24), ("2h", 2), ("900d", 395 * 24)])
async def test_first_poll_reaches_back_as_far_as_asked_and_as_sailpoint_keeps(start, hours):
    async with tenant() as isc, one(isc, **({"start": start} if start else {})) as events:
        calls = heard(isc, SEARCH)
        await events.fetch(None)
        begin = ms(bounds(searches(calls)[0])[0]) / 1000
        assert abs(time.time() - hours * HOUR - begin) < 10


async def test_long_time_is_read_in_slices_of_six_hours_that_touch():
    async with tenant() as isc, one(isc, start="20h") as events:
        for hours in range(20):
            isc.issue(2, age_seconds=OLD + hours * HOUR)
        calls = heard(isc, SEARCH)
        pages = await walk(events)
        slices = [bounds(search) for search in searches(calls)]
        assert [round(span(search) / HOUR) for search in searches(calls)] == [6, 6, 6, 2]
        assert [begin for begin, _ in slices[1:]] == [end for _, end in slices[:-1]]
        assert ids(pages) == isc.in_order("events")


async def test_more_than_ten_thousand_events_in_a_window():
    async with tenant() as isc, one(isc, start="1h") as events:
        isc.issue(10_400, age_seconds=OLD)
        assert len(set(ids(await walk(events)))) == 10_400


async def test_next_window_reaches_back_an_hour_behind_the_newest_event():
    async with tenant() as isc, one(isc, start="3h") as events:
        isc.issue(1, age_seconds=600)
        cursor = (await walk(events))[-1].cursor
        calls = heard(isc, SEARCH)
        await walk(events, cursor)
        begin = time.time() - ms(bounds(searches(calls)[0])[0]) / 1000
        assert 600 + HOUR - 5 <= begin <= 600 + HOUR + 305  # begins where a span of five minutes begins


async def test_overlap_option_wins_and_zero_reads_little_again():
    async with tenant() as isc, one(isc, start="3h", overlap="0s") as events:
        isc.issue(1, age_seconds=600)
        cursor = (await walk(events))[-1].cursor
        calls = heard(isc, SEARCH)
        await walk(events, cursor)
        assert 595 <= time.time() - ms(bounds(searches(calls)[0])[0]) / 1000 <= 905


async def test_overlap_does_not_reach_behind_the_start():
    async with tenant() as isc, one(isc, start="10m") as events:
        isc.issue(1, age_seconds=1200)
        isc.issue(1, age_seconds=60)
        pages = await walk(events)
        assert len(ids(pages)) == 1
        assert len(ids(await walk(events, pages[-1].cursor))) == 1


async def test_index_that_stands_still_for_hours_loses_nothing():
    """The next window reaches back behind the newest event, not behind the last poll."""
    async with tenant() as isc, one(isc, start="8h") as events:
        isc.issue(3, age_seconds=4 * HOUR - 600)
        cursor = (await walk(events))[-1].cursor
        late = isc.issue(3, late_seconds=4 * HOUR - 1200)
        assert set(late) <= set(ids(await walk(events, cursor)))


async def test_quiet_tenant_is_not_searched_further_back_with_every_poll():
    async with tenant() as isc, one(isc, start="30m") as events:
        cursor = (await walk(events))[-1].cursor
        calls = heard(isc, SEARCH)
        for _ in range(60):
            isc.knobs.clock_skew_seconds += 600
            cursor = (await walk(events, cursor))[-1].cursor
        assert max(span(search) for search in searches(calls)) <= 6 * HOUR
        assert len(searches(calls)) == 60


async def test_quiet_tenant_writes_a_new_place_now_and_then_and_not_with_every_poll():
    async with tenant() as isc, one(isc, start="30m") as events:
        cursor = (await walk(events))[-1].cursor
        places = set()
        for _ in range(12 * 6):
            isc.knobs.clock_skew_seconds += 300
            cursor = (await walk(events, cursor))[-1].cursor
            places.add(cursor["newest_ms"])
        assert 1 < len(places) <= 12


async def test_idle_poll_leaves_the_cursor_as_it_is_so_that_nothing_is_written():
    async with tenant() as isc, one(isc, start="1h") as events:
        isc.issue(5, age_seconds=OLD)
        cursor = (await walk(events))[-1].cursor
        for _ in range(3):
            isc.knobs.clock_skew_seconds += 20
            (page,) = await walk(events, cursor)
            assert page.cursor == cursor
            assert page.overlaps


async def test_clock_that_is_set_back_asks_for_no_window_that_ends_before_it_begins():
    async with tenant() as isc, one(isc, start="2h") as events:
        isc.issue(3, age_seconds=OLD)
        cursor = (await walk(events))[-1].cursor
        isc.knobs.clock_skew_seconds -= 4 * HOUR
        await walk(events, cursor)
        calls = heard(isc, SEARCH)
        cursor = (await walk(events, cursor))[-1].cursor
        assert all(span(search) >= 0 for search in searches(calls))
        isc.knobs.clock_skew_seconds += 4 * HOUR
        await walk(events, cursor)
        (new,) = isc.issue(1, age_seconds=3)
        assert new in ids(await walk(events, cursor))


def test_clock_that_is_set_back_still_reaches_back_over_the_overlap():
    now, overlap = 100 * HOUR * 1000, HOUR * 1000
    place = Place(newest_ms=now + 4 * HOUR * 1000).opened(now, overlap)
    assert (place.lo_ms, place.hi_ms) == (now - overlap, now)


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"version": 9},
        {"newest_ms": "soon", "after": 3},
        {"counts": {"x": 1}},
        {"scope": "another", "hi_ms": 5, "after": ["a", "b"]},
        AT_REST,
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["events", "users"])
async def test_cursor_of_another_age_shape_or_tenant_is_no_trouble(name, cursor):
    async with tenant() as isc, one(isc, name) as stream:
        wanted = {"events": lambda: isc.issue(3, age_seconds=OLD), "users": lambda: isc.add_users(3)}[name]()
        assert {each.partition("@")[0] for each in ids(await walk(stream, cursor))} == set(wanted)


async def test_cursor_of_an_older_shape_keeps_its_time():
    async with tenant() as isc, one(isc) as events:
        isc.issue(1, age_seconds=5 * HOUR)
        (young,) = isc.issue(1, age_seconds=OLD)
        newest = int((time.time() - 2 * HOUR) * 1000)
        assert ids(await walk(events, {"newest_ms": newest, "after": 7})) == [young]


async def test_cursor_stays_small():
    async with tenant() as isc, one(isc, start="7h", page_size=100) as events:
        for minutes in range(0, 420, 2):
            isc.issue(3, age_seconds=OLD + 60 * minutes)
        sizes = [len(json.dumps(page.cursor)) for page in await walk(events)]
        assert max(sizes) < 2500


async def test_ids_are_remembered_for_no_longer_than_they_can_be_read_again():
    """A history of months is not to be held in memory."""
    async with tenant() as isc, one(isc, start="20d", page_size=50) as events:
        for hours in range(0, 480, 4):
            isc.issue(5, age_seconds=OLD + hours * HOUR)
        for page in await walk(events):
            times = [record.time_ms for record in page.records]
            if times and page.more and times[-1] < (time.time() - 12 * HOUR) * 1000:
                assert page.remember_from_ms >= times[-1] - 2 * HOUR * 1000
    assert page.remember_from_ms <= (time.time() - HOUR) * 1000


# ------------------------------------------------------------------------------------- when the sort is refused


@pytest.mark.parametrize("refused_from_the_start", [True, False])
async def test_refused_sort_by_id_degrades_once_says_so_and_loses_nothing(refused_from_the_start):
    """PAN-SP: events sorted by id failed against the API."""
    async with tenant(sorts_by_id=not refused_from_the_start) as isc, one(isc, page_size=7, start="1h") as events:
        for age in range(20, 120, 5):
            isc.issue(3, age_seconds=age, same_moment=True)
        first = await events.fetch(None)
        isc.knobs.sorts_by_id = False
        calls = heard(isc, SEARCH)
        pages = [first, *await walk(events, first.cursor)]
        assert set(ids(pages)) == set(isc.issued["events"])
        assert names(pages) == ["SailPointSortRefused"]
        assert len([search for search in searches(calls) if "id" in search["sort"]]) <= 1
        assert not [search for search in searches(calls) if search["sort"] == ["created"] and "searchAfter" in search]
    async with tenant(sorts_by_id=False) as isc, one(isc) as events:
        calls = heard(isc, SEARCH)
        await walk(events, _of_tenant(pages[-1].cursor, events))
        assert [search["sort"] for search in searches(calls)] == [["created"]]


def _of_tenant(cursor, events):
    return {**cursor, "scope": events._tenant.scope}


async def test_page_that_ends_inside_a_tie_reads_the_tie_again():
    async with tenant(sorts_by_id=False) as isc, one(isc, page_size=10, start="1h") as events:
        isc.issue(7, age_seconds=90, same_moment=True)
        isc.issue(9, age_seconds=60, same_moment=True)
        isc.issue(7, age_seconds=OLD, same_moment=True)
        assert set(ids(await walk(events))) == set(isc.issued["events"])


async def test_millisecond_with_more_events_than_a_page_is_read_with_a_larger_one():
    async with tenant(sorts_by_id=False) as isc, one(isc, page_size=10, start="1h") as events:
        isc.issue(300, age_seconds=60, same_moment=True)
        isc.issue(12, age_seconds=OLD)
        calls = heard(isc, SEARCH)
        pages = await walk(events)
        assert set(ids(pages)) == set(isc.issued["events"])
        limits = [call.query["limit"] for call in calls]
        assert limits.count("10000") == 1
        await events.fetch(pages[-1].cursor)
        assert calls[-1].query["limit"] == "10"


async def test_larger_page_for_a_tie_is_for_that_tie_alone():
    """Else every page of the window is of ten thousand rows."""
    place = Place(by_time_alone=True, hi_ms=10**9, end_ms=10**9, lo_ms=7, limit=10_000)
    listing = Listing([], [Event("a", "1970-01-01T00:00:00.009Z")], None, ())
    async with tenant() as isc, one(isc) as events:
        assert events._further(place, listing, [7, 9], 9).limit == 0


async def test_row_of_the_future_behind_a_tie_is_not_counted_before_it_is_read_again():
    place = Place(by_time_alone=True, hi_ms=10**9, end_ms=10**9)
    listing = Listing([], [Event("a", "2099-01-01T00:00:00.000Z")], None, ())
    async with tenant() as isc, one(isc) as events:
        assert events._further(place, listing, [5, 7, 10**12], 7).counts == {"0": 1}


async def test_millisecond_that_passes_every_page_is_told_and_not_passed_over():
    async with tenant(sorts_by_id=False, limit_ceiling=400) as isc, one(isc, page_size=300, start="1h") as events:
        isc.issue(350, age_seconds=60, same_moment=True)
        with pytest.raises(SourceUnavailable, match="same millisecond") as error:
            await walk(events)
        assert "none behind them can be read" in str(error.value)


async def test_full_page_that_ends_with_rows_without_id_goes_on():
    async with tenant() as isc, one(isc, page_size=4, start="1h") as events:
        for age in (90, 80, 70, 60):
            isc.issue(5, age_seconds=age, odd=["missing_id"])
        assert len(set(ids(await walk(events)))) == 20


async def test_thousands_of_the_same_moment_are_all_there():
    """EL-SP: every tie that a page's end cuts is lost."""
    async with tenant() as isc, one(isc, page_size=500, start="1h") as events:
        isc.issue(3001, age_seconds=OLD, same_moment=True)
        pages = await walk(events)
        assert ids(pages) == isc.in_order("events")
        assert len(pages) == 7


@pytest.mark.parametrize("sorts_by_id", [True, False])
async def test_event_that_says_it_is_of_the_future_hides_no_other(sorts_by_id):
    async with tenant(sorts_by_id=sorts_by_id) as isc, one(isc, page_size=4, start="1h") as events:
        for age in range(90, 30, -3):
            isc.issue(1, age_seconds=age)
        row = isc.index.rows[6]
        row.body = row.body.replace(json.dumps(row.document["created"]).encode(), b'"2099-01-01T00:00:00.000Z"')
        pages = await walk(events)
        assert set(ids(pages)) == set(isc.issued["events"])
        isc.issue(1, age_seconds=3)
        isc.knobs.clock_skew_seconds += 5
        assert set(isc.issued["events"]) <= set(ids(await walk(events, pages[-1].cursor))) | set(ids(pages))


# ------------------------------------------------------------------------------------------- the hourly audit


async def settled(isc, events, hours=3.0, cursor=None):
    """Poll every ten minutes for so long, with events all the time; returns the last cursor and what came."""
    seen = []
    for _ in range(int(hours * 6)):
        isc.issue(4, age_seconds=3)
        isc.knobs.clock_skew_seconds += 600
        pages = await walk(events, cursor)
        seen += pages
        cursor = pages[-1].cursor
    return cursor, seen


async def test_hour_that_came_whole_is_counted_once_and_not_read_again():
    async with tenant() as isc, one(isc, start="10m") as events:
        calls = heard(isc, COUNT)
        _, pages = await settled(isc, events, 7)
        spans = [bounds(json.loads(call.body)) for call in calls]
        assert 4 <= len(spans) <= 6
        assert len(set(spans)) == len(spans)
        assert all(ms(end) - ms(begin) == HOUR * 1000 for begin, end in spans)
        assert all(begin.endswith(":00:00.000Z") for begin, _ in spans)
        assert [begin for begin, _ in spans[1:]] == [end for _, end in spans[:-1]]
        assert names(pages) == []


async def test_event_that_is_later_than_the_overlap_is_found_by_the_count_of_its_hour():
    """No peer does this."""
    async with tenant() as isc, one(isc, start="10m", overlap="5m") as events:
        cursor, pages = await settled(isc, events, 3)
        late = isc.issue(3, late_seconds=55 * 60)
        assert not set(late) & set(ids(pages))
        _, pages = await settled(isc, events, 3, cursor)
        assert set(late) <= set(ids(pages))
        assert names(pages) == ["SailPointCountDiffers"]


async def test_hour_that_is_read_again_repeats_nothing(tmp_path):
    async with tenant() as isc, rig(isc, tmp_path) as collected:
        for _ in range(20):
            isc.issue(5, age_seconds=3)
            collected.later(900)
            await collected.collect(apis=("Events",), overlap="5m", start="1h", seconds=0.05)
        isc.issue(4, late_seconds=55 * 60)
        for _ in range(12):
            collected.later(900)
            isc.issue(1, age_seconds=3)
            await collected.collect(lambda: True, ("Events",), overlap="5m", start="1h", seconds=0.1)
        assert collected.verdict().ok, collected.verdict()


def moved(times, *, page, **place):
    """The counts after one inclusive restart, and the place: rows at the newest time are to be read again."""
    begun = Place(hi_ms=10**9, end_ms=10**9, **place).counting(times[:page])
    newest = max(times[page:])
    return begun.counting(times[page:][: times[page:].index(newest)]).again_from(newest)


def test_rows_of_a_tie_that_is_read_again_are_not_counted_before():
    assert moved([5, 6, 7, 7], page=2).counts == {"0": 2}
    assert moved([5, 7, 7, 7], page=2).counts == {"0": 1}
    assert moved([7, 7, 7, 7], page=2).counts == {"0": 0}


def test_tie_over_many_pages_is_taken_back_as_a_whole():
    place = Place(hi_ms=10**9, end_ms=10**9).counting([5, 7, 7])
    for _ in range(3):
        place = place.changed(reached_ms=7).counting([7, 7, 7])
    assert place.counts == {"0": 12}
    assert place.again_from(7).counts == {"0": 1}


@pytest.mark.parametrize("sorts_by_id", [True, False])
async def test_count_is_right_whatever_is_read_again(sorts_by_id):
    async with tenant(sorts_by_id=sorts_by_id) as isc, one(isc, start="10m", page_size=5) as events:
        cursor = None
        for _ in range(30):
            isc.issue(7, age_seconds=3, same_moment=True)
            isc.issue(3, age_seconds=3, odd=["missing_id", "no_fraction"])
            isc.knobs.clock_skew_seconds += 600
            pages = await walk(events, cursor)
            cursor = pages[-1].cursor
            assert "SailPointCountDiffers" not in names(pages)
        assert isc.counters[f"POST {COUNT}"] >= 2


async def test_events_are_not_held_up_when_the_count_fails():
    async with tenant() as isc, one(isc, start="10m") as events:
        isc.fail(VendorError(503), path=COUNT, times=None)
        _, pages = await settled(isc, events, 4)
        assert set(ids(pages)) == set(isc.issued["events"])
        assert names(pages) == []
        isc.faults.clear()
        isc.knobs.denied = {"search/count"}
        _, pages = await settled(isc, events, 1, pages[-1].cursor)
        assert set(names(pages)) == {"SailPointAuditRefused"}


async def test_credential_that_is_refused_by_the_count_stops_the_whole_source():
    async with tenant() as isc, one(isc, start="10m") as events:
        isc.fail(Status(401), path=COUNT, times=None)
        with pytest.raises(SourceRefused) as error:
            await settled(isc, events, 4)
        assert error.value.whole_source


async def test_audit_that_a_pause_of_days_cut_off_does_not_count_hours_that_were_never_read():
    async with tenant() as isc, one(isc, start="10m") as events:
        cursor = None
        while cursor is None or not cursor.get("audit_to_ms") or cursor.get("hi_ms"):
            isc.issue(1, age_seconds=3)
            isc.knobs.clock_skew_seconds += 600
            page = await events.fetch(cursor)
            while page.more and not page.cursor.get("audit_to_ms"):
                page = await events.fetch(page.cursor)
            cursor = page.cursor
        isc.knobs.clock_skew_seconds += 5 * 24 * HOUR
        async with one(isc) as another:
            another._tenant.scope = cursor["scope"]
            calls = heard(isc, COUNT)
            await walk(another, cursor)
            assert len(calls) == 1


async def test_after_a_pause_of_days_only_the_latest_hours_are_audited():
    async with tenant() as isc, one(isc, start="10m") as events:
        cursor, _ = await settled(isc, events, 3)
        isc.knobs.clock_skew_seconds += 5 * 24 * HOUR
        calls = heard(isc, COUNT)
        cursor, _ = await settled(isc, events, 1, cursor)
        assert len(calls) <= 3


# --------------------------------------------------------------------------------------------------- odd records


@pytest.mark.parametrize("kind", ODD)
async def test_odd_event_passes_byte_for_byte_among_others(kind):
    async with tenant() as isc, one(isc, start="1h") as events:
        isc.issue(1, age_seconds=90)
        isc.issue(1, age_seconds=60, odd=[kind])
        isc.issue(1, age_seconds=OLD)
        assert raws(await walk(events)) == [isc.issued["events"][key] for key in isc.in_order("events")]


@pytest.mark.parametrize(
    ("kind", "repaired"), [("not_utf8", b'"note":"caf\xef\xbf\xbd"'), ("raw_line_break", b'"note":"two\\u000alines"')]
)
async def test_event_that_is_no_json_is_repaired_and_marked_and_its_neighbours_untouched(kind, repaired):
    async with tenant() as isc, one(isc, start="1h") as events:
        isc.issue(1, age_seconds=90)
        isc.issue(1, age_seconds=60, odd=[kind])
        isc.issue(1, age_seconds=OLD)
        before, odd, after = [record for page in await walk(events) for record in page.records]
        assert isinstance(odd.raw, Repaired)
        assert bytes(odd.raw).endswith(repaired + b"}")
        assert {bytes(before.raw), bytes(after.raw)} < set(issued(isc))


async def test_event_without_id_has_the_digest_of_its_content():
    async with tenant() as isc, one(isc) as events:
        isc.issue(1, age_seconds=OLD, odd=list(NAMELESS))
        first, second = ids(await walk(events)), ids(await walk(events))
        assert first == second
        assert len(first[0]) == 32


async def test_pretty_printed_page_loses_only_its_line_breaks():
    async with tenant() as isc, one(isc) as events:
        isc.issue(3, age_seconds=OLD, pretty=True)
        got = raws(await walk(events))
        assert all(b"\n" not in raw and b"\r" not in raw for raw in got)
        assert sorted(map(orjson.dumps, map(orjson.loads, got))) == sorted(
            map(orjson.dumps, map(orjson.loads, issued(isc)))
        )


async def test_resynced_event_is_the_same_event():
    async with tenant() as isc, one(isc) as events:
        isc.issue(3, age_seconds=OLD)
        pages = await walk(events)
        isc.resync()
        again = await walk(events, pages[-1].cursor)
        assert ids(again) == ids(pages)
        assert raws(again) != raws(pages)


# ------------------------------------------------------------------------------------------------------- tokens


async def test_credentials_go_by_form_without_scope_and_never_by_the_url():
    """AZ-SP sends them in the query string."""
    async with tenant() as isc, one(isc) as events:
        calls = heard(isc, "/oauth/token")
        await events.fetch(None)
        (call,) = calls
        assert (call.method, call.target) == ("POST", "/oauth/token")
        assert call.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert call.body.decode() == f"grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}"
        assert "Authorization" not in call.headers


async def test_secret_of_any_characters_arrives_whole():
    async with tenant() as isc:
        isc.add_client("äö & co", "p+s=1&x %41/€")
        async with one(isc, client="äö & co", secret="p+s=1&x %41/€") as events:
            await events.fetch(None)


async def test_one_token_serves_both_streams_and_all_who_wait_get_the_same():
    async with tenant(max_in_flight=12) as isc, streams(isc.base_url) as opened:
        isc.add_users(3)
        isc.fail(Slow(before=0.05), path="/oauth/token")
        async with anyio.create_task_group() as group:
            for _ in range(5):
                for stream in opened.values():
                    group.start_soon(stream.fetch, None)
        assert isc.counters[TOKEN] == 1


async def test_token_that_is_revoked_is_replaced_once_for_all_who_hold_it():
    async with tenant(max_in_flight=12) as isc, streams(isc.base_url) as opened:
        isc.add_users(3)
        for stream in opened.values():
            await stream.fetch(None)
        isc.revoke_tokens()
        isc.fail(Slow(before=0.1), path=USERS)
        async with anyio.create_task_group() as group:
            for _ in range(4):
                for stream in opened.values():
                    group.start_soon(stream.fetch, None)
        assert isc.counters[TOKEN] == 2


async def test_cancelled_wait_for_a_token_leaves_the_next_one_free():
    async with tenant() as isc, one(isc) as events:
        isc.fail(Slow(before=5), path="/oauth/token")
        with anyio.move_on_after(0.05):
            await events.fetch(None)
        assert (await events.fetch(None)).records == []


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("expires_in", "waits", "is_renewed"),
    [
        (43_199, 43_199 - 70, False),
        (43_199, 43_199 - 50, True),
        (749, 749 - 70, False),
        (749, 749 - 50, True),
        (15, 12, False),
        (15, 14, True),
        ("20", 17, False),
        ("20", 19, True),
        (None, 40_000, False),
    ],
)
async def test_token_is_renewed_a_minute_or_a_tenth_before_its_end(expires_in, waits, is_renewed):
    async with tenant(expires_in=expires_in, token_seconds=50_000) as isc, one(isc, start="10m") as events:
        cursor = (await events.fetch(None)).cursor
        assert isc.counters[TOKEN] == 1
        await anyio.sleep(waits)
        await events.fetch(cursor)
        assert isc.counters[TOKEN] == (2 if is_renewed else 1)
        assert isc.counters["unauthorized"] == 0


@pytest.mark.parametrize("expires_in", [0, -5, "0.0"])
async def test_token_that_is_over_at_once_is_used_once(expires_in):
    async with tenant(expires_in=expires_in, token_seconds=50) as isc, one(isc, start="10m") as events:
        cursor = (await events.fetch(None)).cursor
        asked = isc.counters[TOKEN]
        await events.fetch(cursor)
        assert isc.counters[TOKEN] == asked + 1


@pytest.mark.looptime
async def test_token_that_ends_sooner_than_told_is_replaced_and_the_request_made_again():
    async with tenant(token_seconds=100) as isc, one(isc, start="10m") as events:
        isc.issue(2, age_seconds=OLD)
        cursor = (await walk(events))[-1].cursor
        await anyio.sleep(200)
        assert len(ids(await walk(events, cursor))) == 2
        assert (isc.counters["unauthorized"], isc.counters[TOKEN]) == (1, 2)


async def test_token_of_two_seconds_is_enough_for_many_pages():
    async with tenant(expires_in=2, token_seconds=0.3) as isc, one(isc, page_size=5, start="1h") as events:
        isc.issue(60, age_seconds=OLD)
        isc.fail(Slow(before=0.1), path=SEARCH, times=None)
        assert len(ids(await walk(events))) == 60
        assert isc.counters[TOKEN] >= 3


# -------------------------------------------------------------------------------------- the error table: tokens


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("name", ["events", "users"])
async def test_row_invalid_client_stops_the_whole_source(name, status):
    async with tenant(bad_client_status=status) as isc, one(isc, name, secret="wrongSECRETwrong") as stream:
        with pytest.raises(SourceRefused, match="check client_id and client_secret") as error:
            await stream.fetch(None)
        assert error.value.whole_source
        assert error.value.code == status
        assert "invalid_client Bad client credentials" in error.value.info


async def test_row_full_authentication_required_stops_the_whole_source():
    """VS Code extension #46: a wrong secret gives a baffling message; ours names the client and the host."""
    async with tenant() as isc, one(isc) as events:
        words = (
            b'{"error":"unauthorized","error_description":"Full authentication is required to access this resource"}'
        )
        isc.fail(Status(401, words), path="/oauth/token")
        with pytest.raises(SourceRefused, match=rf"refuses client id {CLIENT[:4]}… at 127\.0\.0\.1 \(401\)") as error:
            await events.fetch(None)
        assert error.value.whole_source
        assert "Full authentication is required" in error.value.info


@pytest.mark.parametrize("code", ["invalid_grant", "unsupported_grant_type", "invalid_scope"])
async def test_row_oauth_errors_stop_the_whole_source(code):
    async with tenant() as isc, one(isc) as events:
        isc.fail(Status(400, json.dumps({"error": code, "error_description": "no"}).encode()), path="/oauth/token")
        with pytest.raises(SourceRefused) as error:
            await events.fetch(None)
        assert error.value.whole_source
        assert code in error.value.info


@pytest.mark.parametrize("status", [404, 405])
async def test_row_no_token_endpoint_is_a_wrong_host(status):
    async with tenant() as isc, one(isc) as events:
        isc.fail(Status(status, b"<html>Not Found</html>"), path="/oauth/token")
        with pytest.raises(SourceRefused, match="check org_name") as error:
            await events.fetch(None)
        assert error.value.whole_source


@pytest.mark.parametrize(
    "fault",
    [
        *(VendorError(status) for status in (500, 502, 503, 504)),
        Reset(),
        Cut(),
        HtmlPage(),
        EmptyBody(),
        JsonObject(),
        JsonObject(b'{"access_token":7}'),
        JsonObject(b'{"access_token":"a\\r\\nX-Evil: 1"}'),
        JsonObject(b'["eyJ"]'),
    ],
    ids=repr,
)
async def test_trouble_of_the_token_endpoint_passes(fault):
    async with tenant() as isc, one(isc, start="1h") as events:
        isc.issue(1, age_seconds=OLD)
        isc.fail(fault, path="/oauth/token")
        with pytest.raises(SourceUnavailable) as error:
            await events.fetch(None)
        assert not isinstance(error.value, RateLimited)
        assert len(ids(await walk(events))) == 1


async def test_429_of_the_token_endpoint_waits_as_any_other():
    async with tenant() as isc, one(isc) as events:
        isc.fail(too_many("7"), path="/oauth/token")
        with pytest.raises(RateLimited) as error:
            await events.fetch(None)
        assert 7 <= (error.value.retry_after or 0) <= 8


def _key():
    return ConnectionKey("acme.api.identitynow.com", 443, True, True, None, None, None, None)


def _no_such_host(number):
    return aiohttp.ClientConnectorDNSError(_key(), socket.gaierror(number, "Name or service not known"))


def _wrong_certificate():
    return aiohttp.ClientConnectorCertificateError(_key(), ssl.SSLCertVerificationError("hostname mismatch"))


BASE = "https://acme.api.identitynow.com"


@pytest.mark.parametrize("trouble", [_no_such_host(socket.EAI_NONAME), _wrong_certificate()], ids=["dns", "tls"])
async def test_row_unknown_host_or_wrong_certificate_is_a_mistake_before_the_first_success_and_passes_later(
    responses, trouble
):
    async with streams(BASE, ("Events",)) as opened:
        responses.post(f"{BASE}/oauth/token", exception=trouble, repeat=True)
        with pytest.raises(SourceRefused, match="org_name") as error:
            await opened["events"].fetch(None)
        assert error.value.whole_source
    async with streams(BASE, ("Events",)) as opened:
        with pytest.raises(SourceUnavailable):
            await opened["events"].fetch({"scope": "x"})


async def test_row_unknown_host_passes_at_the_api_when_the_token_came(responses):
    responses.post(f"{BASE}/oauth/token", body=b'{"access_token":"x","expires_in":100}')
    trouble = _no_such_host(socket.EAI_NONAME)
    responses.post(re.compile(re.escape(BASE) + r"/v3/search.*"), exception=trouble, repeat=True)
    async with streams(BASE, ("Events",)) as opened:
        for _ in range(3):
            with pytest.raises(SourceUnavailable, match=r"no host acme\.api\.identitynow\.com"):
                await opened["events"].fetch(None)


async def test_resolver_that_is_away_is_no_mistake(responses):
    async with streams(BASE, ("Events",)) as opened:
        responses.post(f"{BASE}/oauth/token", exception=_no_such_host(socket.EAI_AGAIN))
        with pytest.raises(SourceUnavailable, match="cannot be reached"):
            await opened["events"].fetch(None)


# ----------------------------------------------------------------------------------------- the error table: APIs

PATHS = [("events", SEARCH), ("users", USERS)]


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize("body", [b'{"error":"JWT validation failed: JWT is expired"}', b"", b"<html>no</html>"])
async def test_row_401_mints_once_replays_once_and_then_stops_the_whole_source(name, path, body):
    async with tenant() as isc, one(isc, name) as stream:
        isc.fail(Status(401, body), path=path)
        await stream.fetch(None)
        assert isc.counters[TOKEN] == 2
        isc.fail(Status(401, body), path=path, times=None)
        with pytest.raises(SourceRefused, match="refuses a token that it gave out this moment") as error:
            await stream.fetch(None)
        assert error.value.whole_source
        assert isc.counters[TOKEN] == 3


@pytest.mark.parametrize(
    ("name", "path", "scope", "level"),
    [("events", SEARCH, "sp:search:read", "REPORT_ADMIN"), ("users", USERS, "sp:scopes:default", "API client")],
)
async def test_row_403_parks_only_its_stream_and_names_scope_and_level(name, path, scope, level):
    async with tenant() as isc, streams(isc.base_url) as opened:
        isc.add_users(2)
        isc.knobs.denied = {path.removeprefix("/v3/")}
        with pytest.raises(SourceRefused) as error:
            await opened[name].fetch(None)
        assert not error.value.whole_source
        assert scope in error.value.message
        assert level in error.value.message
        assert re.search(r"403 Forbidden .*tracking id [0-9a-f]{32}", error.value.info)
        await opened["users" if name == "events" else "events"].fetch(None)


@pytest.mark.parametrize("code", ["400.1 Bad request content", "400.1.3 Illegal value"])
async def test_row_400_of_a_search_degrades_shrinks_and_then_stops_with_the_tracking_id(code):
    async with tenant() as isc, one(isc) as events:
        isc.fail(VendorError(400, code), path=SEARCH, times=None)
        calls = heard(isc, SEARCH)
        isc.faults._planned.reverse()
        with pytest.raises(SourceRefused, match=r"\(400\)") as error:
            await walk(events)
        assert [(call.query["limit"], json.loads(call.body)["sort"]) for call in calls] == [
            ("2500", ["created", "id"]),
            ("2500", ["created"]),
            ("250", ["created"]),
        ]
        assert not error.value.whole_source
        assert re.search(rf"{re.escape(code)}.*tracking id [0-9a-f]{{32}}", error.value.info)


async def test_limit_that_is_too_large_for_a_tenant_is_made_smaller():
    async with tenant(limit_ceiling=1000) as isc, one(isc, start="1h") as events:
        isc.issue(600, age_seconds=OLD)
        assert set(ids(await walk(events))) == set(isc.issued["events"])


async def test_400_for_users_is_not_tried_again():
    async with tenant() as isc, one(isc, "users") as users:
        isc.fail(VendorError(400), path=USERS)
        with pytest.raises(SourceRefused, match="refuses the query of users") as error:
            await users.fetch(None)
        assert "tracking id" in error.value.info


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize("fault", [VendorError(404), Status(404, b"404 page not found", content_type="text/plain")])
async def test_row_404_says_that_the_version_has_ended(name, path, fault):
    async with tenant() as isc, one(isc, name) as stream:
        isc.fail(fault, path=path)
        with pytest.raises(SourceRefused, match=f"has no {path}.*api_version") as error:
            await stream.fetch(None)
        assert error.value.code == 404


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("7", 7, 8),
        (None, 10, 11),
        ("soon", 10, 11),
        ("1.5", 10, 11),
        ("0", 1, 2),
        ("-3", 1, 2),
        ("999999999", 120, 120),
        ("9" * 400, 120, 120),
    ],
)
async def test_row_429_rests_as_told_or_ten_seconds_and_two_minutes_at_most(name, path, told, least, most):
    """AZ-SP indexes the header directly, and otherwise sleeps 5000 s."""
    async with tenant() as isc, one(isc, name) as stream:
        isc.fail(too_many(told, body=b'{"message":" Rate Limit Exceeded "}'), path=path)
        with pytest.raises(RateLimited) as error:
            await stream.fetch(None)
        assert least <= (error.value.retry_after or 0) <= most


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize(
    "fault",
    [
        *(VendorError(status) for status in (500, 502, 503, 504)),
        *(Reset(at) for at in ("before_status", "after_status", "in_body")),
        *(Cut(framing) for framing in ("length", "chunked", "close")),
        BadGzip(),
    ],
    ids=repr,
)
async def test_row_server_errors_resets_and_cut_pages_pass_and_the_cursor_stays(name, path, fault):
    async with tenant() as isc, one(isc, name, start="1h") as stream:
        isc.issue(3, age_seconds=OLD)
        isc.add_users(3)
        isc.fail(fault, path=path)
        with pytest.raises(SourceUnavailable) as error:
            await stream.fetch(None)
        assert not isinstance(error.value, RateLimited)
        assert len(ids(await walk(stream))) == 3


@pytest.mark.looptime
async def test_row_tenant_that_does_not_answer_in_time_passes():
    async with tenant() as isc, one(isc) as events:
        isc.fail(Slow(before=10_000), path=SEARCH)
        with pytest.raises(SourceUnavailable, match="in time"):
            await events.fetch(None)


NO_PAGES = [
    HtmlPage(),
    EmptyBody(),
    JsonObject(),
    JsonObject(b'{"items":[]}'),
    Status(200, b"null"),
    Status(200, b'"[]"'),
    Status(200, b"[1,2]"),
    Status(200, b"[null]"),
    Status(200, b'[["a"]]'),
    Status(200, b"[] x"),
    Status(200, b'[{"id":"a"}'),
    Status(202, b"[]"),
    Status(204),
]


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize("fault", NO_PAGES, ids=repr)
async def test_row_200_that_is_no_list_passes_and_is_never_taken_for_no_data(name, path, fault):
    """EL-SP decodes any body unchecked."""
    async with tenant() as isc, one(isc, name, page_size=3, start="1h") as stream:
        isc.issue(7, age_seconds=OLD)
        isc.add_users(7)
        first = await stream.fetch(None)
        isc.fail(fault, path=path)
        with pytest.raises(SourceUnavailable) as error:
            await stream.fetch(first.cursor)
        assert "127.0.0.1" in error.value.message
        assert len(set(ids([first, *await walk(stream, first.cursor)]))) == 7


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize("fault", [GzipBomb(), GiantPage()], ids=["bomb", "giant"])
async def test_bombed_or_giant_page_is_too_large_and_the_next_is_asked_for_in_halves(name, path, fault):
    async with tenant() as isc, one(isc, name, page_size=200, start="1h") as stream:
        isc.issue(150, age_seconds=OLD)
        isc.add_users(150)
        isc.fail(fault, path=path)
        with pytest.raises(PageTooLarge):
            await stream.fetch(None)
        pages = await walk(stream)
        assert len(set(ids(pages))) == 150
        asked = [int(each.target.split("limit=")[1].split("&")[0]) for each in isc.requests if path in each.target]
        assert asked[:2] == [200, 100]


async def test_size_of_pages_is_as_configured_again_when_the_window_is_over():
    async with tenant() as isc, one(isc, page_size=200, start="1h") as events:
        isc.fail(GzipBomb(), path=SEARCH)
        with pytest.raises(PageTooLarge):
            await events.fetch(None)
        cursor = (await walk(events))[-1].cursor
        await walk(events, cursor)
        assert "limit=200" in isc.requests[-1].target


async def test_redirect_is_not_followed():
    canary = Canary([SECRET, CLIENT])
    async with canary.serve() as elsewhere, tenant() as isc, one(isc) as events:
        isc.fail(Redirect(f"{elsewhere}/oauth/token", 307), path="/oauth/token")
        isc.fail(Redirect(f"{elsewhere}{SEARCH}", 308), path=SEARCH)
        for _ in range(2):
            with pytest.raises(SourceUnavailable, match="redirects to 127"):
                await events.fetch(None)
    assert canary.requests == []


@pytest.mark.parametrize(("name", "path"), PATHS)
async def test_page_that_comes_twice_costs_nothing(name, path):
    async with tenant() as isc, one(isc, name, page_size=3, start="1h") as stream:
        isc.issue(9, age_seconds=OLD)
        isc.add_users(9)
        first = await stream.fetch(None)
        isc.fail(Replay(), path=path)
        if name == "users":
            with pytest.raises(SourceUnavailable, match="again and again"):
                await stream.fetch(first.cursor)
        assert len(set(ids([first, *await walk(stream, first.cursor)]))) == 9


async def test_same_page_for_ever_is_no_endless_loop_and_no_loss():
    async with tenant() as isc, streams(isc.base_url, page_size=3, start="1h") as opened:
        isc.issue(9, age_seconds=OLD)
        isc.add_users(9)
        for name, path in PATHS:
            first = await opened[name].fetch(None)
            cursor = first.cursor
            isc.fail(Replay(), path=path, times=None)
            with suppress(SourceUnavailable):
                cursor = (await walk(opened[name], cursor, most=10))[-1].cursor
            isc.faults.clear()
            assert len(set(ids([first, *await walk(opened[name], cursor)]))) == 9


async def test_times_that_are_less_exact_than_the_index_do_not_go_round_in_circles():
    async with tenant() as isc, one(isc, page_size=4, start="1h") as events:
        isc.issue(30, age_seconds=OLD, same_moment=True)
        for row in isc.index.rows:
            row.body = row.body.replace(json.dumps(row.document["created"])[-6:].encode(), b'Z"')
        assert {json.loads(raw)["created"][-5] for raw in raws(await walk(events))} != {"."}
        assert len(set(ids(await walk(events)))) == 30


@pytest.mark.parametrize("status", [400, 401, 403, 500])
async def test_secret_that_the_tenant_repeats_is_in_no_message(status):
    words = json.dumps({"error": f"client {CLIENT} with {SECRET}", "trackingId": "0f3a77d2"}).encode()
    for path in ("/oauth/token", SEARCH):
        async with tenant() as isc, one(isc, page_size=10) as events:
            isc.fail(Status(status, words), path=path, times=None)
            with pytest.raises((SourceRefused, SourceUnavailable)) as error:
                await walk(events)
            assert "********" in error.value.info
            assert "tracking id 0f3a77d2" in error.value.info
            assert SECRET not in about(error)
            assert CLIENT not in about(error)
            assert not any(token in about(error) for token in isc.tokens.holders)


# ------------------------------------------------------------------------- what other collectors got wrong (A13)


async def test_known_lower_bound_is_a_range_and_no_search_after():
    """EL-SP abuses searchAfter as a lower bound, and leaves the upper one open."""
    async with tenant() as isc, one(isc) as events:
        calls = heard(isc, SEARCH)
        await events.fetch(None)
        assert "searchAfter" not in searches(calls)[0]
        assert bounds(searches(calls)[0])


async def test_known_event_that_is_indexed_late_is_read():
    """EL-SP: late-indexed rows are lost for good."""
    async with tenant() as isc, one(isc) as events:
        isc.issue(5, age_seconds=OLD)
        cursor = (await walk(events))[-1].cursor
        late = isc.issue(2, late_seconds=50 * 60)
        assert set(late) <= set(ids(await walk(events, cursor)))


async def test_known_tie_with_the_last_event_is_read_with_the_next_poll():
    """AZ-SP: `created:>checkpoint` drops ties."""
    async with tenant() as isc, one(isc) as events:
        isc.issue(2, age_seconds=OLD, same_moment=True)
        created = isc.index.rows[-1].created
        cursor = (await walk(events))[-1].cursor
        isc.issue(3, age_seconds=OLD)
        for row in isc.index.rows:
            row.created = created
        isc.index.rows.sort(key=lambda row: row.place)
        assert len(ids(await walk(events, cursor))) == 5


async def test_known_outage_of_days_leaves_no_gap():
    """AZ-SP: a checkpoint older than a day is discarded."""
    async with tenant() as isc, one(isc) as events:
        isc.issue(3, age_seconds=OLD)
        cursor = (await walk(events))[-1].cursor
        isc.knobs.clock_skew_seconds += 40 * 24 * HOUR
        for days in range(39, 0, -3):
            isc.issue(2, age_seconds=days * 24 * HOUR)
        await events.fetch(cursor)
        assert set(ids(await walk(events, cursor))) == set(isc.issued["events"])


async def test_known_boundary_of_two_windows_is_read_once(tmp_path):
    """AZ-SP CCF: windows that include both ends repeat what lies between them."""
    async with tenant() as isc, rig(isc, tmp_path) as collected:
        for _ in range(5):
            isc.issue(20)
            collected.later(2)
            await collected.collect(apis=("Events",), overlap="0s", seconds=0.05)
        verdict = collected.verdict()
        assert verdict.ok, verdict


async def test_known_page_of_nothing_but_repeats_does_not_end_the_search(tmp_path):
    """PAN-SP stops there, and with a dense look-back never gets on."""
    async with tenant() as isc, rig(isc, tmp_path) as collected:
        isc.issue(40, age_seconds=60)
        await collected.collect(apis=("Events",), page_size=5)
        isc.issue(12, age_seconds=OLD)
        await collected.collect(apis=("Events",), page_size=5, interval=3600)  # in one poll, that is
        assert collected.verdict().ok, collected.verdict()
        assert collected.suppressed("events") >= 40


async def test_known_times_are_utc_and_read_with_and_without_fraction():
    """PAN-SP stamped local time as Z; AZ-SP had to try two formats; PR #4461 imported nothing."""
    async with tenant() as isc, one(isc) as events:
        isc.issue(2, age_seconds=OLD, odd=["no_fraction", "spaces"])
        calls = heard(isc, SEARCH)
        records = [record for page in await walk(events) for record in page.records]
        assert all(abs(time.time() - OLD - record.time_ms / 1000) < 10 for record in records)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", end) for end in bounds(searches(calls)[0]))


async def test_known_offset_wall_is_never_met_and_a_sort_always_sent():
    """SP-FORUM 614, 99527."""
    async with tenant() as isc, one(isc, start="1h", page_size=1000) as events:
        isc.issue(10_500, age_seconds=OLD)
        calls = heard(isc, SEARCH)
        assert len(set(ids(await walk(events)))) == 10_500
        assert all("offset" not in call.query for call in calls)
        assert all(search["sort"] for search in searches(calls))


@pytest.mark.parametrize(
    ("version", "search", "users"),
    [
        ("v3", "/v3/search", "/v3/public-identities"),
        ("v2025", "/v2025/search", "/v2025/public-identities"),
        ("service-v1", "/search/v1", "/public-identities/v1"),
    ],
)
async def test_known_version_of_the_api_is_an_option(version, search, users):
    async with tenant() as isc, streams(isc.base_url, version=version, start="10m") as opened:
        isc.issue(2, age_seconds=OLD)
        isc.add_users(2)
        for stream in opened.values():
            assert len(ids(await walk(stream))) == 2
        cursor, _ = await settled(isc, opened["events"], 4)
        paths = {request.target.partition("?")[0] for request in isc.requests}
        assert paths == {"/oauth/token", search, f"{search}/count", users}
        assert cursor


async def test_known_end_of_a_version_is_warned_of():
    async with tenant(deprecated={"v3"}) as isc:
        isc.add_users(1)
        async with streams(isc.base_url) as opened:
            for stream in opened.values():
                (notice,) = (await stream.fetch(None)).notices
                assert notice.name == "SailPointApiDeprecated"
                assert "api_version" in notice.text
        async with streams(isc.base_url, version="service-v1") as opened:
            assert names([await stream.fetch(None) for stream in opened.values()]) == []


@pytest.mark.looptime
async def test_known_limit_is_kept_by_all_who_share_a_client_id_tokens_included():
    """The vendor's key changed from token to client id in 2026."""
    async with tenant(rate_limit=100, agreed_per_window=100) as isc, connecting(calm=True) as connect:
        isc.issue(100, age_seconds=OLD)
        isc.add_users(2000)
        sources = [SOURCE_TYPE.open(settings(isc.base_url, page_size=2), connect) for _ in range(2)]

        async def poll(stream):
            cursor = None
            with anyio.move_on_after(60):
                while True:
                    cursor = (await stream.fetch(cursor)).cursor

        async with anyio.create_task_group() as group:
            for streams_of_one in sources:
                for stream in streams_of_one.values():
                    group.start_soon(poll, stream)
        assert isc.counters["rate_limited"] == 0
        assert 450 <= isc.counters["requests"] <= 520


@pytest.mark.looptime
async def test_known_versions_and_clients_are_counted_apart():
    async with tenant(rate_limit=100, max_in_flight=20) as isc, connecting(calm=True) as connect:
        isc.add_client("another-client-id", "another-secret")
        sources = [
            SOURCE_TYPE.open(settings(isc.base_url, ("Events",), page_size=2), connect),
            SOURCE_TYPE.open(settings(isc.base_url, ("Events",), page_size=2, version="v2025"), connect),
            SOURCE_TYPE.open(
                settings(isc.base_url, ("Events",), page_size=2, client="another-client-id", secret="another-secret"),
                connect,
            ),
        ]

        async def poll(stream):
            cursor = None
            with anyio.move_on_after(20):
                while True:
                    cursor = (await stream.fetch(cursor)).cursor

        async with anyio.create_task_group() as group:
            for source in sources:
                group.start_soon(poll, source["events"])
        assert isc.counters["rate_limited"] == 0
        assert isc.counters["requests"] > 3 * 20 * 8


async def test_no_more_than_three_requests_of_a_client_are_in_flight():
    async with tenant() as isc, connecting() as connect:
        isc.add_users(3)
        isc.fail(Slow(before=0.05), times=None)
        opened = [stream for _ in range(3) for stream in SOURCE_TYPE.open(settings(isc.base_url), connect).values()]
        async with anyio.create_task_group() as group:
            for stream in opened:
                group.start_soon(stream.fetch, None)
        assert isc.counters["peak_in_flight"] == 3


@pytest.mark.looptime
async def test_429_freezes_the_bucket_of_both_streams():
    async with tenant() as isc, streams(isc.base_url) as opened:
        isc.add_users(3)
        await opened["users"].fetch(None)
        isc.fail(too_many("30"), path=SEARCH)
        with pytest.raises(RateLimited):
            await opened["events"].fetch(None)
        before = anyio.current_time()
        await opened["users"].fetch(None)
        assert anyio.current_time() - before >= 30


# -------------------------------------------------------------------------------------------------------- users


async def test_users_are_all_listed_with_an_identity_of_id_and_content():
    async with tenant() as isc, one(isc, "users") as users:
        people = isc.add_users(600)
        pages = await walk(users)
        assert [len(page.records) for page in pages] == [250, 250, 102]
        assert {each.partition("@")[0] for each in ids(pages)} == set(people)
        assert pages[-1].cursor == AT_REST
        before = next(record for page in pages for record in page.records if record.id.startswith(people[0]))
        isc.change_user(people[0], status="Inactive")
        again = ids(await walk(users, AT_REST))
        assert before.id not in again
        assert len(set(again) & set(ids(pages))) == 599
        assert before.event_id is before.time_ms is None


async def test_users_are_asked_for_by_250_sorted_by_name_and_counted_once():
    async with tenant() as isc, one(isc, "users", page_size=5000) as users:
        isc.add_users(501)
        await walk(users)
        asked = [each.target for each in isc.requests if USERS in each.target]
        assert asked[0] == f"{USERS}?limit=250&offset=0&count=true&sorters=name"
        assert all("limit=250" in each and "count=false" in each and "sorters=name" in each for each in asked[1:])
        assert len(asked) == 3


async def test_list_that_did_not_move_has_one_pass():
    async with tenant() as isc, one(isc, "users", page_size=10) as users:
        isc.add_users(91)
        pages = await walk(users)
        assert len(ids(pages)) <= 91 + len(pages)
        assert isc.counters[f"GET {USERS}"] == 11


@pytest.mark.parametrize("size", [1, 2, 3, 7, 250])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 14])
async def test_any_number_of_users_in_pages_of_any_size(size, count):
    async with tenant() as isc, one(isc, "users", page_size=size) as users:
        people = isc.add_users(count)
        assert {each.partition("@")[0] for each in ids(await walk(users))} == set(people)


@pytest.mark.parametrize(("remove", "insert"), [(1, 0), (0, 1), (1, 1), (3, 1)])
async def test_nobody_is_passed_over_when_people_come_and_go_between_pages(remove, insert):
    async with (
        tenant(remove_after_page=remove, insert_after_page=insert) as isc,
        one(isc, "users", page_size=20) as users,
    ):
        everybody = set(isc.add_users(300))
        pages = [await users.fetch(None)]
        for _ in range(8):
            pages.append(await users.fetch(pages[-1].cursor))
        isc.knobs.remove_after_page = isc.knobs.insert_after_page = 0
        pages += await walk(users, pages[-1].cursor)
        found = {each.partition("@")[0] for each in ids(pages)}
        assert everybody & isc.directory.identities.keys() <= found
        assert isc.counters[f"GET {USERS}"] > 15


async def test_nobody_is_passed_over_though_people_of_one_name_stand_in_any_order():
    async with tenant(unstable_names=True) as isc, one(isc, "users", page_size=20) as users:
        isc.add_users(60, name="Ann Lee")
        isc.add_users(60, name="Bo Diaz")
        pages = await walk(users)
        assert isc.counters[f"GET {USERS}"] >= 12  # two passes
        found = {each.partition("@")[0] for each in ids(pages)}
        if len(found) < 120:
            assert names(pages) == ["SailPointUsersIncomplete"]
        assert len(found) > 100


async def test_count_that_was_not_reached_makes_one_more_pass_and_is_told():
    async with tenant() as isc, one(isc, "users") as users:
        isc.add_users(10)
        more = Rewrite(lambda answer: _with_total(answer, "12"))
        isc.fail(more, path=USERS, times=None)
        pages = await walk(users)
        assert isc.counters[f"GET {USERS}"] == 2
        assert names(pages) == ["SailPointUsersIncomplete"]
        assert "12 users" in pages[-1].notices[0].text
        assert pages[-1].cursor == AT_REST


def _with_total(answer, total):
    kept = tuple(line for line in answer.headers if line[0] != "X-Total-Count")
    return type(answer)(answer.status, answer.body, (*kept, ("X-Total-Count", total)))


async def test_sweep_cut_in_the_middle_goes_on_where_it_was_and_is_made_whole_by_a_second_pass():
    async with tenant() as isc:
        people = isc.add_users(95)
        async with one(isc, "users", page_size=20) as users:
            first = await users.fetch(None)
            first = await users.fetch(first.cursor)
        for person in sorted(people, key=lambda each: isc.directory.identities[each].document["name"])[:15]:
            isc.remove_user(person)
        async with one(isc, "users", page_size=20) as users:
            calls = heard(isc, USERS)
            pages = await walk(users, json.loads(json.dumps(first.cursor)))
        assert calls[0].query["offset"] == "38"
        assert set(isc.directory.identities) <= {each.partition("@")[0] for each in ids(pages)}
        assert pages[-1].cursor == AT_REST


async def test_sweep_cut_in_the_middle_has_a_second_pass_even_if_nothing_is_counted():
    async with tenant() as isc:
        people = isc.add_users(50)
        isc.fail(Rewrite(lambda answer: type(answer)(answer.status, answer.body)), path=USERS, times=None)
        async with one(isc, "users", page_size=20) as users:
            cursor = (await users.fetch(None)).cursor
        async with one(isc, "users", page_size=20) as users:
            pages = await walk(users, cursor)
        assert {each.partition("@")[0] for each in ids(pages)} == set(people)


async def test_each_sweep_delivers_everybody_and_none_twice(tmp_path):
    async with tenant(remove_after_page=1) as isc, rig(isc, tmp_path) as collected:
        isc.add_users(120)
        await collected.collect(lambda: collected.checkpoint("users") == AT_REST, ("Users",), page_size=30)
        isc.knobs.remove_after_page = 0
        first = [record.id for record in collected.records[NAME, "users"]]
        assert len(first) == len(set(first))
        assert collected.suppressed("users") > 0
        collected.records.clear()
        async with streams(isc.base_url, ("Users",), page_size=30) as opened:
            everybody = set(ids(await walk(opened["users"], AT_REST)))
        await _sweep_again(collected)
        second = [record.id for record in collected.records[NAME, "users"]]
        assert set(second[: len(everybody)]) == everybody  # what follows is of the sweep after


async def _sweep_again(collected):
    """As after twelve hours: the collector would rest for the rest of its interval."""
    async with (
        streams(collected.simulator.base_url, ("Users",), page_size=30) as opened,
        anyio.create_task_group() as g,
    ):
        g.start_soon(collected._run, "users", opened["users"], 0.2, None)
        with anyio.move_on_after(10):
            while len(collected.of("users")) < len(collected.simulator.directory.identities):
                await anyio.sleep(0.02)
        g.cancel_scope.cancel()


async def test_user_without_id_has_the_digest_of_its_content(responses):
    responses.post(f"{BASE}/oauth/token", body=b'{"access_token":"x","expires_in":100}')
    body = b'[{"name":"Ann"},{"id":7,"name":"Bo"},{"id":null}]'
    responses.get(re.compile(re.escape(BASE) + r"/v3/public-identities.*"), body=body, headers={"X-Total-Count": "3"})
    async with streams(BASE, ("Users",)) as opened:
        page = await opened["users"].fetch(None)
    assert [len(record.id) for record in page.records] == [32, 32, 32]
    assert page.cursor == AT_REST


# -------------------------------------------------------------------------------------------------------- probe


@pytest.mark.parametrize(("name", "path"), PATHS)
async def test_probe_tells_what_may_be_read_or_what_is_missing(name, path):
    async with tenant(sorts_by_id=False) as isc, one(isc, name) as stream:
        isc.add_users(2)
        assert (await stream.probe()).startswith("the token may ")
        assert len(isc.requests) == 2
        isc.knobs.denied = {path.removeprefix("/v3/")}
        with pytest.raises(SourceRefused, match="scope"):
            await stream.probe()


async def test_probe_with_a_wrong_secret_says_so():
    async with tenant() as isc, one(isc, secret="wrongSECRETwrong") as events:
        with pytest.raises(SourceRefused, match="client_secret"):
            await events.probe()


# --------------------------------------------------------------------------------------------------- end to end


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_changed_or_repeated_under_faults_restarts_and_late_events(tmp_path, seed):
    lag = (0.0, 2400.0) if seed % 2 else (0.0, 0.0)
    knobs = {"index_lag_seconds": lag, "sorts_by_id": seed % 3 > 0, "expires_in": 2 if seed == 4 else 43_199}
    async with tenant(**knobs) as isc, rig(isc, tmp_path) as collected:
        isc.add_users(90)
        for turn in range(8):
            isc.issue(70, age_seconds=OLD + 60 * turn)
            isc.issue(25, age_seconds=OLD, same_moment=True)
            isc.issue(6, age_seconds=OLD, odd=list(ODD)[3 * turn : 3 * turn + 3] or ["spaces"])
            isc.issue(5, late_seconds=1500)
            isc.chaos(0.15, seed * 100 + turn)
            await collected.collect(lambda: True, page_size=(7, 20, 33)[seed % 3], start="3h", seconds=0.15)
            collected.later(700)
        isc.faults.clear()
        collected.later(2500)
        await collected.collect(page_size=40, start="3h", seconds=0.4)
        verdict = collected.verdict()
        assert verdict.of(NAME, "events").ok, verdict
        assert not verdict.of(NAME, "users").missing, verdict


async def test_source_that_runs_on_delivers_everything_once_in_order(tmp_path):
    async with tenant() as isc, rig(isc, tmp_path) as collected:

        async def life():
            for _ in range(25):
                isc.issue(10)
                collected.later(40)
                await anyio.sleep(0.03)

        async with anyio.create_task_group() as group:
            group.start_soon(life)
            await collected.collect(
                lambda: isc.issued_count["events"] == 250 and collected.is_complete(("events",)),
                ("Events",),
                page_size=30,
            )
        verdict = collected.verdict()
        assert verdict.ok, verdict
        assert all(line["_siemVendor"] == line["_siemProduct"] == "SailPoint" for line in collected.lines)
        assert all(line["_siemEventID"] == line["event"]["technicalName"] for line in collected.lines)


async def test_refused_stream_does_not_stop_the_other(tmp_path):
    async with tenant(denied={"public-identities"}) as isc, rig(isc, tmp_path) as collected:
        isc.issue(9, age_seconds=OLD)
        await collected.collect()
        assert isinstance(collected.errors["users"], SourceRefused)
        assert len(collected.of("events")) == 9


async def test_tenant_that_is_away_for_the_whole_window_ends_in_error_and_goes_on_when_started_anew(tmp_path):
    async with tenant() as isc, rig(isc, tmp_path) as collected:
        isc.issue(5, age_seconds=OLD)
        await collected.collect(apis=("Events",))
        isc.fail(VendorError(503), times=None)
        retry = RetryPolicy(initial=0.01, max=0.02, window=0.2, then="quit")
        await collected.collect(lambda: "events" in collected.errors, ("Events",), retry=retry)
        assert isinstance(collected.errors["events"], SourceUnavailable)
        isc.faults.clear()
        isc.issue(5, age_seconds=OLD)
        await collected.collect(apis=("Events",))
        assert collected.verdict().ok, collected.verdict()
