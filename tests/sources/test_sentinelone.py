"""SentinelOne's module on a console that is as strict as the vendor, over real sockets."""

import json
import re
import socket
import ssl
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from urllib.parse import parse_qsl

import aiohttp
import anyio
import orjson
import pytest
from aiohttp.client_reqrep import ConnectionKey

from collectord.client import MAX_BODY_BYTES, Client, PageTooLarge, open_session
from collectord.demo.canary import Canary
from collectord.demo.faults import (
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
from collectord.demo.sentinelone_knobs import PREFIX
from collectord.demo.sentinelone_objects import iso
from collectord.demo.sentinelone_odd import ODD
from collectord.errors import RateLimited, SourceRefused, SourceUnavailable
from collectord.limits import Budgets
from collectord.records import Repaired
from collectord.settings import RetryPolicy
from collectord.sources.sentinelone import SOURCE_TYPE
from tests.sources.rig import ids, walk
from tests.sources.sentinelone_rig import APIS, NAME, TOKEN, console, one, rig, settings, streams

DAY = 86_400
DETAILS = f"{PREFIX}/users/api-token-details"
INFO = f"{PREFIX}/system/info"


def asked(s1, name):
    """The parameters of every request for a list, in order."""
    return [
        dict(parse_qsl(request.target.partition("?")[2]))
        for request in s1.requests
        if request.target.startswith(f"{PREFIX}/{name}?")
    ]


def kind_of(fault):
    return f"{type(fault).__name__} {getattr(fault, 'status', '')}".strip()


def path(name):
    return f"{PREFIX}/{name}"


def changed(change):
    """The true page with something done to it."""
    return Rewrite(lambda answer: replace(answer, body=orjson.dumps(change(orjson.loads(answer.body)))))


# ---------------------------------------------------------------------------------------------- pages and windows


@pytest.mark.parametrize("last_page", ["null", "extra_empty"])
@pytest.mark.parametrize("name", APIS)
async def test_every_page_is_read_whether_the_last_has_rows_or_none(name, last_page):
    async with console(last_page=last_page) as s1, one(s1, name, page_size=10) as stream:
        keys = s1.issue(30, stream=name, age_seconds=DAY)
        pages = await walk(stream)
        assert ids(pages) == keys
        assert not s1.violations


@pytest.mark.parametrize("name", APIS)
async def test_nothing_yet_is_an_empty_page_and_what_comes_later_comes(name):
    async with console() as s1, one(s1, name) as stream:
        pages = await walk(stream)
        assert ids(pages) == []
        keys = s1.issue(3, stream=name)
        s1.knobs.clock_skew_seconds += 5
        await walk(stream, pages[-1].cursor)  # learns of the later time
        assert ids(await walk(stream, pages[-1].cursor)) == keys
        assert not s1.violations


async def test_every_filter_goes_with_every_cursor_and_the_end_is_frozen_at_the_consoles_clock():
    async with console(clock_skew_seconds=-7200) as s1, one(s1, "activities", page_size=10) as stream:
        s1.issue(40, age_seconds=60)
        await walk(stream)
        first, *others = asked(s1, "activities")
        assert len(others) == 3
        for parameters in others:
            cursor = parameters.pop("cursor")
            assert "%" not in cursor
            assert parameters == first
        assert first["sortBy"] == "createdAt"
        assert (first["sortOrder"], first["limit"], first["skipCount"]) == ("asc", "10", "true")
        assert 0 <= s1.now() * 1e6 - epoch_micros(first["createdAt__lt"]) < 3e6
        assert not s1.violations


def epoch_micros(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    return datetime.fromisoformat(text).timestamp() * 1e6


async def test_row_that_appears_while_the_window_is_read_waits_for_the_next():
    async with console() as s1, one(s1, "activities", page_size=10) as stream:
        old = s1.issue(20, age_seconds=60)
        first = await stream.fetch(None)
        s1.knobs.clock_skew_seconds += 60
        new = s1.issue(5)
        rest = await walk(stream, first.cursor)
        assert ids([first, *rest]) == old
        s1.knobs.clock_skew_seconds += 5
        await walk(stream, rest[-1].cursor)  # hears of the time
        assert set(new) <= set(ids(await walk(stream, rest[-1].cursor)))


@pytest.mark.parametrize("name", APIS)
async def test_a_new_stream_goes_on_from_the_cursor_of_any_page(name):
    async with console(last_page="extra_empty") as s1:
        keys = s1.issue(55, stream=name, age_seconds=60)
        cursor, more, collected = None, True, []
        while more:
            async with one(s1, name, page_size=10) as stream:
                page = await stream.fetch(cursor)
            cursor, more = json.loads(json.dumps(page.cursor)), page.more
            collected += [record.id for record in page.records]
        assert list(dict.fromkeys(collected)) == keys
        assert not s1.violations


@pytest.mark.parametrize(
    ("name", "start", "wanted"),
    [
        ("activities", None, [DAY * 300, DAY * 2, 60]),
        ("activities", "7d", [DAY * 2, 60]),
        ("threats", None, [DAY * 300, DAY * 2, 60]),
        ("threats", "1h", [60]),
        ("agents", "1h", [DAY * 900, DAY * 300, DAY * 2, 60]),
    ],
)
async def test_history_of_the_first_poll_reaches_as_far_as_start_says_and_agents_are_all_there(name, start, wanted):
    async with console() as s1:
        keys = {age: s1.issue(2, stream=name, age_seconds=age) for age in (DAY * 900, DAY * 300, DAY * 2, 60)}
        async with one(s1, name, start=start) as stream:
            pages = await walk(stream)
            expected = [key for age in wanted for key in keys[age]]
            assert list(dict.fromkeys(ids(pages))) == expected


@pytest.mark.parametrize("name", ["activities", "threats"])
async def test_overlap_does_not_reach_behind_the_start(name):
    async with console() as s1, one(s1, name, start="2m") as stream:
        s1.issue(1, stream=name, age_seconds=200)
        keys = s1.issue(1, stream=name, age_seconds=60)
        pages = await walk(stream)
        assert ids(pages) == ids(await walk(stream, pages[-1].cursor)) == keys


async def test_windows_overlap_by_ten_minutes_and_once_an_hour_by_sixty():
    async with console() as s1, one(s1, "activities") as stream:
        pages = await walk(stream)
        reaches = []
        for _ in range(30):
            s1.knobs.clock_skew_seconds += 300
            s1.issue(1, age_seconds=1)
            await walk(stream, pages[-1].cursor)  # hears of the time
            pages = await walk(stream, pages[-1].cursor)
            parameters = asked(s1, "activities")[-1]
            lower, upper = (epoch_micros(parameters[f"createdAt__{end}"]) for end in ("gte", "lt"))
            reaches.append((upper - lower) / 6e7)
        narrow = [minutes for minutes in reaches if 14 < minutes < 16]
        wide = [minutes for minutes in reaches if 64 < minutes < 66]
        assert (len(narrow), len(wide)) == (28, 2)


async def test_overlap_option_wins():
    async with console() as s1, one(s1, "threats", overlap="2h") as stream:
        pages = await walk(stream)
        await walk(stream, pages[-1].cursor)
        parameters = asked(s1, "threats")[-1]
        seconds = (epoch_micros(parameters["updatedAt__lt"]) - epoch_micros(parameters["updatedAt__gte"])) / 1e6
        assert 7200 <= seconds < 7210
        assert pages[-1].remember_from_ms == pages[-1].cursor["done_ms"] - 7_200_000


async def test_idle_poll_leaves_the_cursor_as_it_is_so_that_nothing_is_written():
    async with console() as s1, one(s1, "activities") as stream:
        first = (await walk(stream))[-1]
        again = (await walk(stream, first.cursor))[-1]
        assert again.cursor == first.cursor
        assert again.complete_to_ms >= first.complete_to_ms
        s1.knobs.clock_skew_seconds += 3700
        await walk(stream, first.cursor)
        assert (await walk(stream, first.cursor))[-1].cursor["done_ms"] > first.cursor["done_ms"] + 3_600_000


async def test_clock_that_is_set_back_asks_for_no_window_that_ends_before_it_begins():
    async with console() as s1, one(s1, "activities") as stream:
        s1.knobs.clock_skew_seconds = 36_000
        last = (await walk(stream))[-1]
        s1.knobs.clock_skew_seconds = 0
        await walk(stream, last.cursor)
        keys = s1.issue(2, age_seconds=1)
        pages = await walk(stream, last.cursor)
        assert ids(pages) == keys
        parameters = asked(s1, "activities")[-1]
        assert parameters["createdAt__gte"] < parameters["createdAt__lt"]


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"done_ms": 1_785_542_400_000},
        {"done_ms": "yesterday", "next": 5},
        {"done_ms": -5},
        {"hi_ms": 10**30, "scope": []},
        {"version": 7, "watermark": "2026-08-01"},
        {"done_ms": 1_785_542_400_000, "next": "abc", "hi_ms": 1_785_542_500_000, "scope": "another console"},
    ],
)
@pytest.mark.parametrize("name", APIS)
async def test_cursor_of_another_age_shape_or_console_is_no_trouble(name, cursor):
    async with console() as s1, one(s1, name) as stream:
        keys = s1.issue(2, stream=name, age_seconds=60)
        assert set(ids(await walk(stream, cursor))) == set(keys)
        assert not s1.violations


async def test_too_large_page_is_asked_for_in_halves_until_the_window_is_over():
    async with console() as s1, one(s1, "threats", page_size=40) as stream:
        keys = s1.issue(60, stream="threats", age_seconds=60)
        s1.fail(GiantPage(MAX_BODY_BYTES + 1), times=None, when=lambda call: int(call.query.get("limit", 0)) > 10)
        for _ in range(2):
            with pytest.raises(PageTooLarge):
                await stream.fetch(None)
        pages = await walk(stream)
        assert ids(pages) == keys
        assert [parameters["limit"] for parameters in asked(s1, "threats")] == ["40", "20"] + ["10"] * 6
        s1.faults.clear()
        await walk(stream, pages[-1].cursor)
        assert asked(s1, "threats")[-1]["limit"] == "40"


# ------------------------------------------------------------------------------------------------- what a record is


async def test_id_time_and_event_id_of_each_kind():
    async with console() as s1, streams(s1.base_url) as opened:
        s1.issue(1, age_seconds=60)
        for name in ("threats", "agents"):
            s1.issue(1, stream=name, age_seconds=DAY)
            s1.touch(name)
        s1.knobs.clock_skew_seconds += 5
        found = {}
        for name, stream in opened.items():
            (found[name],) = {record.id: record for record in (await walk(stream))[0].records}.values()
        activity, threat, agent = (s1.tables[name].rows for name in APIS)
        (activity,), (threat,), (agent,) = activity.values(), threat.values(), agent.values()
        assert found["activities"].id == activity.id
        assert found["activities"].time_ms == activity.created // 1000
        assert found["activities"].event_id == f"activities - {activity.id}"
        assert found["threats"].id == f"{threat.id}@{iso(threat.updated)}"
        assert found["threats"].time_ms == threat.updated // 1000 > threat.created // 1000
        assert found["threats"].event_id == f"threats - {threat.id}"
        assert found["agents"].id == f"{agent.id}@{iso(agent.updated)}"
        assert found["agents"].time_ms == agent.updated // 1000
        assert found["agents"].event_id == "agents"


async def test_every_version_of_a_threat_has_an_identity_of_its_own():
    async with console() as s1, one(s1, "threats") as stream:
        first = s1.issue(1, stream="threats", age_seconds=60)
        pages = await walk(stream)
        second = s1.touch("threats")
        s1.knobs.clock_skew_seconds += 5
        await walk(stream, pages[-1].cursor)
        assert ids(pages) == first
        assert ids(await walk(stream, pages[-1].cursor)) == second != first


@pytest.mark.parametrize("kind", sorted(ODD))
@pytest.mark.parametrize("name", APIS)
async def test_odd_row_passes_byte_for_byte_among_others(name, kind):
    async with console() as s1, one(s1, name) as stream:
        s1.issue(3, stream=name, age_seconds=60)
        (odd,) = s1.issue(1, stream=name, age_seconds=60, odd=[kind])
        s1.issue(3, stream=name, age_seconds=60)
        page = (await walk(stream))[0]
        assert [bytes(record.raw) for record in page.records] == list(s1.issued[name].values())
        record = page.records[3]
        assert odd.startswith("digest:") or record.id.startswith(odd.partition("@")[0])
        assert len({each.id for each in page.records}) == 7
        if kind == "missing_id":
            assert record.event_id == name
        assert (record.time_ms is None) is (kind in {"missing_time", "null_time", "number_time"})


@pytest.mark.parametrize(("kind", "repaired"), [("not_utf8", "caf\ufffd"), ("raw_line_break", "two\nlines")])
async def test_row_that_is_no_json_is_repaired_and_marked_and_its_neighbours_untouched(kind, repaired):
    async with console() as s1, one(s1, "threats") as stream:
        s1.issue(1, stream="threats", age_seconds=60)
        s1.issue(1, stream="threats", age_seconds=60, odd=[kind])
        page = (await walk(stream))[0]
        sound, odd = page.records
        assert bytes(sound.raw) == next(iter(s1.issued["threats"].values()))
        assert not isinstance(sound.raw, Repaired)
        assert isinstance(odd.raw, Repaired)
        assert orjson.loads(bytes(odd.raw))["note"] == repaired
        assert b"\n" not in bytes(odd.raw)
        assert odd.id == list(s1.issued["threats"])[1]


async def test_pretty_printed_page_loses_only_its_line_breaks():
    async with console() as s1, one(s1, "activities") as stream:
        s1.issue(2, age_seconds=60, pretty=True)
        page = (await walk(stream))[0]
        for record, issued in zip(page.records, s1.issued["activities"].values(), strict=True):
            assert b"\n" not in bytes(record.raw)
            assert orjson.loads(bytes(record.raw)) == orjson.loads(issued)


async def test_times_without_a_zone_are_utc():
    async with console(zoneless_times=True) as s1, one(s1, "threats") as stream:
        s1.issue(1, stream="threats", age_seconds=60)
        (row,) = s1.tables["threats"].rows.values()
        assert (await walk(stream))[0].records[0].time_ms == row.updated // 1000


# --------------------------------------------------------------------------------------------------------- agents


async def test_agents_are_all_listed_once_a_day_and_otherwise_only_those_that_changed():
    async with console() as s1, one(s1, "agents", page_size=10) as stream:
        everyone = s1.issue(25, stream="agents", age_seconds=90 * DAY)
        pages = await walk(stream)
        assert ids(pages) == everyone
        changed_ones = s1.touch("agents", 3)
        s1.knobs.clock_skew_seconds += 300
        await walk(stream, pages[-1].cursor)
        polled = await walk(stream, pages[-1].cursor)
        assert sorted(ids(polled)) == sorted(changed_ones)
        s1.heartbeat()
        s1.knobs.clock_skew_seconds += DAY
        await walk(stream, polled[-1].cursor)
        swept = await walk(stream, polled[-1].cursor)
        assert len(set(ids(swept))) == 25
        assert {bytes(record.raw) for page in swept for record in page.records} == {
            row.body for row in s1.tables["agents"].rows.values()
        }
        sweeps = [parameters for parameters in asked(s1, "agents") if parameters["sortBy"] == "id"]
        assert all("updatedAt__gte" not in parameters for parameters in sweeps)
        assert not s1.violations


async def test_sweep_is_one_snapshot_by_id_although_agents_come_and_change_meanwhile():
    async with console(touch_after_page=4, insert_after_page=1) as s1, one(s1, "agents", page_size=10) as stream:
        s1.issue(50, stream="agents", age_seconds=DAY)
        old = set(s1.tables["agents"].rows)
        sweep = [page for page in await walk(stream) if page.cursor.get("sweep_ms") or not page.overlaps]
        seen = [identity.partition("@")[0] for identity in ids(sweep)]
        assert old <= set(seen)
        assert len(seen) == len(set(seen))
        assert not s1.violations


async def test_window_behind_a_sweep_brings_what_changed_while_it_was_read():
    async with console() as s1, one(s1, "agents", page_size=10) as stream:
        s1.issue(30, stream="agents", age_seconds=DAY)
        first = await stream.fetch(None)
        s1.knobs.clock_skew_seconds += 60
        early = first.records[0].id.partition("@")[0]
        (version,) = s1.touch("agents", ids=[early])
        s1.knobs.clock_skew_seconds += 60
        assert version in ids(await walk(stream, first.cursor))


# -------------------------------------------------------------------------------------------------- errors (B8)


@pytest.mark.parametrize("name", APIS)
async def test_refused_token_stops_the_whole_source(name):
    async with console() as s1, one(s1, name) as stream:
        s1.revoke(TOKEN)
        with pytest.raises(SourceRefused, match=r"rejects the API token.*api_secret") as caught:
            await stream.fetch(None)
        assert caught.value.whole_source
        assert caught.value.code == 401
        assert re.search(r"4010010 Authentication Failed \(request \w+-5e11\)", caught.value.info)


async def test_token_that_is_revoked_between_two_pages_stops_the_whole_source():
    async with console() as s1, one(s1, "threats", page_size=10) as stream:
        s1.issue(20, stream="threats", age_seconds=60)
        page = await stream.fetch(None)
        s1.revoke(TOKEN)
        with pytest.raises(SourceRefused) as caught:
            await stream.fetch(page.cursor)
        assert caught.value.whole_source


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("name", APIS)
async def test_missing_permission_parks_only_its_stream_and_is_named(name, status):
    permission = {"activities": "Activity: View", "threats": "Threats: View", "agents": "Endpoints: View"}[name]
    async with console(denied={name}, denied_status=status) as s1, streams(s1.base_url) as opened:
        with pytest.raises(SourceRefused, match=f"may not read the {name}.*permission '{permission}'") as caught:
            await opened[name].fetch(None)
        assert not caught.value.whole_source
        assert caught.value.code == status
        assert "request " in caught.value.info
        for other in set(APIS) - {name}:
            await walk(opened[other])


async def test_401_is_no_verdict_while_the_console_cannot_say_whether_the_token_is_good():
    async with console(denied={"threats"}, denied_status=401) as s1, one(s1, "threats") as stream:
        s1.fail(VendorError(503), path=INFO, after=1)
        with pytest.raises(SourceUnavailable):
            await stream.fetch(None)


@pytest.mark.parametrize("name", APIS)
async def test_bad_parameter_is_not_tried_again(name):
    async with console() as s1, one(s1, name) as stream:
        s1.fail(VendorError(400), path=path(name))
        with pytest.raises(SourceRefused, match=r"refuses the query.*400") as caught:
            await stream.fetch(None)
        assert not caught.value.whole_source


@pytest.mark.parametrize("name", ["activities", "threats"])
async def test_refused_cursor_restarts_the_window_from_where_it_was(name):
    async with console() as s1, one(s1, name, page_size=10) as stream:
        keys = [key for age in range(50, 0, -1) for key in s1.issue(1, stream=name, age_seconds=age * 3600)]
        first = await stream.fetch(None)
        second = await stream.fetch(first.cursor)
        s1.forget_cursors()
        restart = await stream.fetch(second.cursor)
        assert (restart.records, restart.more) == ([], True)
        assert [notice.name for notice in restart.notices] == ["SentinelOneCursorRefused"]
        rest = await walk(stream, restart.cursor)
        again = [key for key in ids(rest) if key in ids([first, second])]
        assert set(ids([first, second, *rest])) == set(keys)
        assert len(again) == 1  # the overlap's: an hour lies between two rows here
        assert all(page.overlaps for page in rest)
        assert not rest[-1].notices
        assert not s1.violations


async def test_window_that_restarts_reads_the_overlap_again_for_what_came_late_meanwhile():
    async with console() as s1, one(s1, "activities", page_size=10) as stream:
        s1.issue(30, age_seconds=60)
        second = await stream.fetch((await stream.fetch(None)).cursor)
        (late,) = s1.issue(1, late_seconds=300)
        s1.forget_cursors()
        assert late in ids(await walk(stream, second.cursor))


async def test_cursor_that_is_refused_again_without_progress_is_not_tried_for_ever():
    async with console(cursor_lifetime_seconds=0.0) as s1, one(s1, "threats", page_size=10) as stream:
        s1.issue(30, stream="threats", age_seconds=60, same_moment=True)
        cursor = (await stream.fetch(None)).cursor
        cursor = (await stream.fetch(cursor)).cursor
        cursor = (await stream.fetch(cursor)).cursor
        with pytest.raises(SourceRefused):
            await stream.fetch(cursor)


async def test_refused_cursor_restarts_a_sweep_once():
    async with console() as s1, one(s1, "agents", page_size=10) as stream:
        everyone = s1.issue(30, stream="agents", age_seconds=DAY)
        first = await stream.fetch(None)
        s1.forget_cursors()
        restart = await stream.fetch(first.cursor)
        assert restart.more
        page = await stream.fetch(restart.cursor)
        s1.forget_cursors()
        with pytest.raises(SourceRefused):
            await stream.fetch(page.cursor)
        s1.knobs.cursor_lifetime_seconds = None
        assert set(ids(await walk(stream, restart.cursor))) == set(everyone)


async def test_404_says_that_this_is_no_console():
    async with console() as s1, streams(s1.base_url) as opened:
        s1.fail(VendorError(404), path=path("threats"))
        with pytest.raises(SourceRefused, match=r"has no /web/api/v2.1/threats \(404\).*base_url") as caught:
            await opened["threats"].fetch(None)
        assert not caught.value.whole_source


async def test_console_without_system_info_is_collected_from_all_the_same():
    async with console() as s1, one(s1, "threats") as stream:
        keys = s1.issue(3, stream="threats", age_seconds=60)
        s1.fail(VendorError(404), path=INFO)
        assert ids(await walk(stream)) == keys


async def test_401_of_a_console_without_system_info_is_a_wrong_token():
    async with console(denied={"threats"}, denied_status=401) as s1, one(s1, "threats") as stream:
        s1.fail(VendorError(404), path=INFO, times=2)
        with pytest.raises(SourceRefused, match=r"rejects the API token \(401\)") as caught:
            await stream.fetch(None)
        assert caught.value.whole_source


async def test_a_short_page_that_names_no_next_cursor_is_the_last_one():
    async with console() as s1, one(s1, "threats", page_size=10) as stream:
        keys = s1.issue(13, stream="threats", age_seconds=60)
        first = await stream.fetch(None)
        s1.fail(changed(lambda page: {**page, "pagination": {}}), path=path("threats"))
        last = await stream.fetch(first.cursor)
        assert ids([first, last]) == keys
        assert not last.more


async def test_web_page_before_the_first_success_is_a_wrong_base_url_and_later_a_trouble_that_passes():
    async with console() as s1, one(s1, "threats") as stream:
        s1.fail(HtmlPage())
        with pytest.raises(SourceRefused, match=r"not JSON.*check base_url"):
            await stream.fetch(None)
        cursor = (await walk(stream))[-1].cursor
        s1.fail(HtmlPage())
        with pytest.raises(SourceUnavailable, match="not JSON"):
            await stream.fetch(cursor)
    async with console() as s1, one(s1, "threats") as stream:  # a new process that collected before
        s1.fail(HtmlPage())
        with pytest.raises(SourceUnavailable, match="not JSON"):
            await stream.fetch({"done_ms": 1_785_542_400_000})


ERROR = {"code": 5000010, "title": "Internal server error", "detail": "Server could not process the request."}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (JsonObject(orjson.dumps({"errors": [ERROR], "data": [], "pagination": {"nextCursor": None}})), "an error"),
        (JsonObject(orjson.dumps({"errors": [ERROR], "data": None, "pagination": None})), "an error"),
        (JsonObject(orjson.dumps({"data": None, "pagination": None})), "missing or null"),
        (JsonObject(b'{"pagination":{"nextCursor":null,"totalItems":0}}'), "missing or null"),
        (JsonObject(b"{}"), "missing or null"),
        (JsonObject(b'{"data":[]}'), "pagination is missing"),
        (JsonObject(orjson.dumps({"data": [{}] * 10, "pagination": {"totalItems": 30}})), "nextCursor is missing"),
        (JsonObject(b'{"data":[],"pagination":{"nextCursor":7}}'), "nextCursor"),
        (JsonObject(b'{"data":{"a":1},"pagination":{"nextCursor":null}}'), "no page"),
        (JsonObject(b'{"data":["a",1],"pagination":{"nextCursor":null}}'), "no object"),
        (JsonObject(b'{"data":[{"id":"1"}],"pagination":{"nextCursor":null}'), "no page"),
        (JsonObject(b"[]"), "not JSON"),
        (EmptyBody(), "no page"),
        (Cut("close"), None),
        (Cut("length"), None),
        (Cut("chunked"), None),
        (Status(204), "204"),
    ],
)
async def test_200_that_is_no_page_is_tried_again_and_the_cursor_stays(fault, words):
    async with console(gzip=False) as s1, one(s1, "threats", page_size=10) as stream:
        keys = s1.issue(30, stream="threats", age_seconds=60)
        first = await stream.fetch(None)
        s1.fail(fault, path=path("threats"))
        with pytest.raises(SourceUnavailable, match=words) as caught:
            await stream.fetch(first.cursor)
        assert not isinstance(caught.value, RateLimited)
        assert ids([first, *await walk(stream, first.cursor)]) == keys


async def test_error_inside_200_is_told_in_the_consoles_words():
    async with console() as s1, one(s1, "agents") as stream:
        s1.fail(JsonObject(orjson.dumps({"errors": [ERROR], "data": None})), path=path("agents"))
        with pytest.raises(SourceUnavailable) as caught:
            await stream.fetch(None)
        assert caught.value.info.startswith("5000010 Internal server error Server could not process")


@pytest.mark.parametrize(
    ("fault", "error"), [(GzipBomb(), PageTooLarge), (GiantPage(200 * 10**6), PageTooLarge)], ids=["bomb", "giant"]
)
async def test_bombed_or_giant_page_is_too_large_and_the_cursor_stays(fault, error):
    async with console() as s1, one(s1, "activities") as stream:
        keys = s1.issue(5, age_seconds=60)
        s1.fail(fault, path=path("activities"))
        with pytest.raises(error):
            await stream.fetch(None)
        assert ids(await walk(stream)) == keys


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("7", 7, 9), (None, 30, 32), ("9" * 9, 3600, 3602), ("9" * 400, 3600, 3602), ("-5", 1, 3)],
)
async def test_429_rests_as_told_or_half_a_minute(told, least, most):
    async with console(gzip=False) as s1, one(s1, "activities", calm=True) as stream:
        cursor = (await walk(stream))[-1].cursor
        s1.fail(too_many(told))
        with pytest.raises(RateLimited) as caught:
            await stream.fetch(cursor)
        assert least <= caught.value.retry_after <= most
        began = anyio.current_time()
        await stream.fetch(cursor)
        assert least - 1 <= anyio.current_time() - began <= most + 1
        assert not s1.violations


@pytest.mark.looptime
async def test_429_without_a_word_again_and_again_rests_longer_and_longer():
    async with console(gzip=False, retry_after_seconds=None) as s1, one(s1, "activities", calm=True) as stream:
        cursor = (await walk(stream))[-1].cursor
        s1.fail(VendorError(429), times=7, path=path("activities"))
        rests = []
        for _ in range(7):
            with pytest.raises(RateLimited) as caught:
                await stream.fetch(cursor)
            rests.append(caught.value.retry_after or 0.0)
        assert [round(rest // 30) for rest in rests] == [1, 2, 4, 8, 16, 30, 30]
        await stream.fetch(cursor)


@pytest.mark.parametrize("fault", [VendorError(status) for status in (500, 502, 503, 504)], ids=kind_of)
@pytest.mark.parametrize("name", APIS)
async def test_server_error_is_tried_again(name, fault):
    async with console() as s1, one(s1, name) as stream:
        s1.fail(fault, path=path(name))
        with pytest.raises(SourceUnavailable) as caught:
            await stream.fetch(None)
        assert caught.value.code == fault.status
        await walk(stream)


@pytest.mark.parametrize("at", ["before_status", "after_status", "in_body"])
async def test_reset_connection_is_tried_again(at):
    async with console() as s1, one(s1, "threats") as stream:
        s1.fail(Reset(at), path=path("threats"))
        with pytest.raises(SourceUnavailable):
            await stream.fetch(None)
        await walk(stream)


@pytest.mark.looptime
async def test_console_that_does_not_answer_in_time_is_tried_again():
    async with console(gzip=False) as s1, one(s1, "threats") as stream:
        s1.fail(Slow(before=1000), path=path("threats"))
        with pytest.raises(SourceUnavailable, match="in time"):
            await stream.fetch(None)


def _no_such_host(number):
    return aiohttp.ClientConnectorDNSError(_key(), socket.gaierror(number, "Name or service not known"))


def _wrong_certificate():
    return aiohttp.ClientConnectorCertificateError(_key(), ssl.SSLCertVerificationError("hostname mismatch"))


def _key():
    return ConnectionKey(
        "acme.sentinelone.net", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
    )


CONSOLE = "https://acme.sentinelone.net"


@pytest.mark.parametrize("trouble", [_no_such_host(socket.EAI_NONAME), _wrong_certificate()], ids=["dns", "tls"])
async def test_unknown_host_or_wrong_certificate_is_a_mistake_before_the_first_success_and_passes_later(
    responses, trouble
):
    responses.get(re.compile(CONSOLE), exception=trouble, repeat=True)
    async with streams(CONSOLE, ("threats",)) as opened:
        with pytest.raises(SourceRefused, match="base_url right"):
            await opened["threats"].fetch(None)
        with pytest.raises(SourceUnavailable):
            await opened["threats"].fetch({"done_ms": 1_785_542_400_000})


async def test_resolver_that_is_away_is_no_mistake(responses):
    responses.get(re.compile(CONSOLE), exception=_no_such_host(socket.EAI_AGAIN), repeat=True)
    async with streams(CONSOLE, ("threats",)) as opened:
        with pytest.raises(SourceUnavailable):
            await opened["threats"].fetch(None)


async def test_redirect_is_a_mistake_and_never_followed():
    canary = Canary([TOKEN])
    async with canary.serve() as foreign, console() as s1, streams(s1.base_url) as opened:
        for name in APIS:
            s1.fail(Redirect(f"{foreign}/login"), path=path(name))
            with pytest.raises(SourceRefused, match=r"redirects to 127.0.0.1.*login page"):
                await opened[name].fetch(None)
        s1.fail(Redirect("/login"))
        async with one(s1, "threats") as stream:
            with pytest.raises(SourceRefused, match="another page of its own"):
                await stream.fetch(None)
        assert not canary.requests


# ------------------------------------------------------------------------------ what other collectors got wrong (B10)


async def test_checkpoint_of_threats_moves_by_the_time_inside_threat_info():
    async with console() as s1, one(s1, "threats", page_size=10) as stream:
        s1.issue(30, stream="threats", age_seconds=DAY)
        first = await stream.fetch(None)
        times = sorted(row.updated // 1000 for row in s1.tables["threats"].rows.values())
        assert first.cursor["reached_ms"] == first.complete_to_ms == times[9]
        last = (await walk(stream, first.cursor))[-1]
        assert last.cursor["done_ms"] > times[-1]


async def test_same_cursor_again_and_again_is_an_error_and_no_endless_loop():
    async with console() as s1, one(s1, "activities", page_size=10) as stream:
        s1.issue(30, age_seconds=60)
        first = await stream.fetch(None)
        stuck = {"totalItems": 0, "nextCursor": first.cursor["next"].replace("=", "%3D")}
        s1.fail(changed(lambda page: {**page, "pagination": stuck}))
        with pytest.raises(SourceUnavailable, match="the same cursor again"):
            await stream.fetch(first.cursor)


async def test_failure_amid_a_sweep_is_no_end_of_it():
    async with console() as s1, one(s1, "agents", page_size=10) as stream:
        everyone = s1.issue(30, stream="agents", age_seconds=DAY)
        first = await stream.fetch(None)
        s1.fail(VendorError(500), path=path("agents"))
        with pytest.raises(SourceUnavailable):
            await stream.fetch(first.cursor)
        rest = await walk(stream, first.cursor)
        assert ids([first, *rest]) == everyone


@pytest.mark.parametrize("name", ["activities", "threats"])
async def test_after_an_outage_of_weeks_everything_since_is_collected(name):
    async with console() as s1, one(s1, name) as stream:
        cursor = (await walk(stream))[-1].cursor
        s1.knobs.clock_skew_seconds += 30 * DAY
        keys = [key for age in (29, 8, 2) for key in s1.issue(5, stream=name, age_seconds=age * DAY)]
    async with streams(s1.base_url, (name,)) as opened, s1.serve(s1.port):
        assert ids(await walk(opened[name], cursor)) == keys


async def test_new_threat_that_changes_at_once_is_one_record_a_version_and_never_two(tmp_path):
    async with console() as s1, rig(s1, tmp_path) as r:
        s1.issue(20, stream="threats", age_seconds=60)
        await r.collect(apis=("threats",))
        s1.touch("threats", 10)
        r.later(5)
        await r.collect(apis=("threats",))
        verdict = r.verdict()
        assert verdict.ok, verdict
        assert verdict.of(NAME, "threats").delivered == 30
        assert r.suppressed("threats") > 0


@pytest.mark.parametrize(
    "fault",
    [VendorError(500), VendorError(403), HtmlPage(), Cut("close"), too_many("1")],
    ids=kind_of,
)
@pytest.mark.parametrize("name", APIS)
async def test_failure_is_neither_an_end_nor_progress(name, fault):
    async with console(gzip=False) as s1, one(s1, name, page_size=10) as stream:
        keys = s1.issue(30, stream=name, age_seconds=60)
        first = await stream.fetch(None)
        before = json.dumps(first.cursor)
        s1.fail(fault, path=path(name))
        with pytest.raises((SourceUnavailable, SourceRefused)):
            await stream.fetch(first.cursor)
        assert json.dumps(first.cursor) == before
        if not isinstance(fault, Status):
            assert list(dict.fromkeys(ids([first, *await walk(stream, first.cursor)]))) == keys


async def test_activity_that_appears_late_is_collected_and_nothing_twice(tmp_path):
    async with console() as s1, rig(s1, tmp_path) as r:
        s1.issue(20, age_seconds=60)
        await r.collect(apis=("activities",))
        s1.issue(10, late_seconds=400)
        r.later(60)
        await r.collect(apis=("activities",))
        r.later(3600)
        s1.issue(5, late_seconds=3000)
        r.later(1)
        await r.collect(apis=("activities",))
        verdict = r.verdict()
        assert verdict.ok, verdict
        assert r.suppressed("activities") >= 20
        assert not s1.violations


@pytest.mark.parametrize("name", APIS)
async def test_thousands_of_the_same_moment_are_all_there(name):
    async with console() as s1, one(s1, name, page_size=100) as stream:
        keys = s1.issue(1050, stream=name, age_seconds=60, same_moment=True)
        assert list(dict.fromkeys(ids(await walk(stream)))) == keys
        assert not s1.violations


@pytest.mark.parametrize("name", APIS)
async def test_limit_and_sort_are_always_sent_and_the_scheme_is_apitoken(name):
    async with console() as s1, one(s1, name) as stream:
        s1.issue(25, stream=name, age_seconds=60)
        assert len(set(ids(await walk(stream)))) == 25
        assert {parameters["limit"] for parameters in asked(s1, name)} == {"1000"}
        assert all({"sortBy", "sortOrder"} <= parameters.keys() for parameters in asked(s1, name))
        assert not s1.violations  # a request without either, or with another scheme, is one


async def test_refused_stream_does_not_stop_the_others(tmp_path):
    async with console(denied={"threats"}) as s1, rig(s1, tmp_path) as r:
        s1.issue(5, age_seconds=60)
        s1.issue(5, stream="agents", age_seconds=60)
        await r.collect(lambda: r.is_complete(("activities", "agents")) and "threats" in r.errors)
        assert isinstance(r.errors["threats"], SourceRefused)
        assert r.errors.keys() == {"threats"}
        assert r.verdict().ok


async def test_page_size_is_a_thousand_at_most():
    async with console() as s1:
        async with one(s1, "activities", page_size=20_000) as stream:
            await walk(stream)
        assert asked(s1, "activities")[0]["limit"] == "1000"


async def test_cursor_that_is_percent_encoded_is_decoded_once():
    async with console(strict_cursors=True) as s1, one(s1, "activities", page_size=10) as stream:
        s1.issue(20, age_seconds=60)
        page = await stream.fetch(None)
        assert page.cursor["next"].endswith("=")
        await walk(stream, page.cursor)
        assert "cursor" in asked(s1, "activities")[-1]
        assert s1.counters["status 400"] == 0


async def test_cursor_that_is_not_percent_encoded_is_sent_as_it_is():
    async with console() as s1, one(s1, "activities", page_size=10) as stream:
        keys = s1.issue(20, age_seconds=60)
        plain = changed(
            lambda page: {**page, "pagination": {"nextCursor": page["pagination"]["nextCursor"].replace("%3D", "=")}}
        )
        s1.fail(plain, path=path("activities"))
        assert ids(await walk(stream)) == keys


@pytest.mark.parametrize("name", APIS)
async def test_missing_members_and_changed_types_are_no_trouble(responses, name):
    rows = [
        {},
        {"id": 7, "createdAt": [], "updatedAt": {}, "threatInfo": []},
        {"id": None, "threatInfo": "x"},
        {"id": ""},
    ]
    body = orjson.dumps({"data": rows, "pagination": {"totalItems": 0, "nextCursor": ""}})
    responses.get(re.compile(f"{CONSOLE}{INFO}"), body=b'{"data":{}}')
    responses.get(re.compile(f"{CONSOLE}{path(name)}.*"), body=body, repeat=True)
    responses.post(re.compile(f"{CONSOLE}{DETAILS}"), status=404, repeat=True)
    async with streams(CONSOLE, (name,)) as opened:
        page = await opened[name].fetch(None)
        assert [bytes(record.raw) for record in page.records] == [orjson.dumps(row) for row in rows]
        assert page.records[1].id.startswith("7")


# ------------------------------------------------------------------------------------------------ limits, the token


@pytest.mark.looptime
async def test_each_list_is_asked_four_times_a_second_at_most_and_one_request_at_a_time():
    async with console(
        rate_limits={"activities": 10, "threats": 10, "agents": 25}, agreed_per_second=4, gzip=False
    ) as s1:
        for name in APIS:
            s1.issue(60, stream=name, age_seconds=60)
        async with streams(s1.base_url, calm=True, page_size=5) as opened, anyio.create_task_group() as group:
            for stream in opened.values():
                group.start_soon(walk, stream)
        for name in APIS:
            times = [request.at for request in s1.requests if request.target.startswith(f"{path(name)}?")]
            assert len(times) >= 12
            assert all(later - earlier > 0.2 for earlier, later in pairwise(times))
        assert not s1.violations
        assert not s1.counters["rate_limited"]


async def test_two_sources_with_the_same_token_take_turns():
    async with console() as s1, open_session() as session:
        s1.fail(Slow(before=0.6), times=None, path=path("threats"))
        connect = partial(Client, session, Budgets())
        pair = [SOURCE_TYPE.open(settings(s1.base_url), connect)["threats"] for _ in range(2)]
        async with anyio.create_task_group() as group:
            for stream in pair:
                group.start_soon(walk, stream)
        assert s1.counters[f"GET {path('threats')}"] == 2
        assert not s1.violations


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("days", "name"),
    [
        (15, None),
        (13.9, "SentinelOneTokenExpiresIn14Days"),
        (2.9, "SentinelOneTokenExpiresIn3Days"),
        (0.9, "SentinelOneTokenExpiresIn1Day"),
    ],
)
async def test_end_of_the_token_is_told_of_beforehand_on_every_page_of_one_stream(days, name):
    async with console(token_lifetime_seconds=days * DAY, gzip=False) as s1:
        s1.issue(20, age_seconds=60)
        s1.issue(20, stream="threats", age_seconds=60)
        async with streams(s1.base_url, page_size=10) as opened:
            told = [notice for page in await walk(opened["activities"]) for notice in page.notices]
            others = [notice for page in await walk(opened["threats"]) for notice in page.notices]
        assert [notice.name for notice in told] == ([name] * 2 if name else [])
        assert not others
        assert all("api_secret" in notice.text and TOKEN not in notice.text for notice in told)


@pytest.mark.looptime
async def test_token_is_looked_at_once_a_day():
    async with console(token_lifetime_seconds=15 * DAY, gzip=False) as s1, streams(s1.base_url) as opened:
        cursor = None
        for hour in range(50):
            page = (await walk(opened["activities"], cursor))[-1]
            cursor = page.cursor
            await walk(opened["threats"])
            assert bool(page.notices) is (hour > 24)
            await anyio.sleep(3600)
        assert s1.counters[f"POST {DETAILS}"] == 3
        assert not s1.violations


@pytest.mark.looptime
@pytest.mark.parametrize(
    "fault",
    [VendorError(500), VendorError(403), VendorError(404), HtmlPage(), too_many("3600"), Reset(), Slow(before=5000)],
    ids=kind_of,
)
async def test_failure_of_that_look_costs_no_record(fault):
    async with console(gzip=False) as s1, one(s1, "activities", page_size=10) as stream:
        keys = s1.issue(20, age_seconds=60)
        s1.fail(fault, path=DETAILS, times=None)
        began = anyio.current_time()
        assert ids(await walk(stream)) == keys
        assert anyio.current_time() - began < 15
        assert s1.counters[f"POST {DETAILS}"] + s1.counters[f"POST {DETAILS} "] <= 1


async def test_token_that_has_expired_stops_the_whole_source():
    async with console(token_lifetime_seconds=0.0) as s1, one(s1, "agents") as stream:
        with pytest.raises(SourceRefused, match="expired") as caught:
            await stream.fetch(None)
        assert caught.value.whole_source


# ---------------------------------------------------------------------------------------------------------- probe


@pytest.mark.parametrize("name", APIS)
async def test_probe_tells_what_may_be_read_or_what_is_missing(name):
    async with console() as s1, one(s1, name) as stream:
        assert await stream.probe() == f"the token may read the {name}"
        assert asked(s1, name)[0]["limit"] == "1"
        for status in (401, 403):
            s1.knobs.denied, s1.knobs.denied_status = {name}, status
            with pytest.raises(SourceRefused, match="permission '") as caught:
                await stream.probe()
            assert not caught.value.whole_source
        s1.revoke(TOKEN)
        with pytest.raises(SourceRefused, match="rejects the API token"):
            await stream.probe()
        assert not s1.violations


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
async def test_token_that_the_console_repeats_is_in_no_message(status):
    async with console() as s1, one(s1, "threats") as stream:
        body = orjson.dumps({"errors": [{"code": status, "title": f"ApiToken {TOKEN}", "detail": TOKEN}]})
        s1.fail(Status(status, body), times=None)
        with pytest.raises((SourceRefused, SourceUnavailable)) as caught:
            await stream.fetch(None)
        assert TOKEN not in f"{caught.value.message} {caught.value.info} {caught.value!r}"


# ------------------------------------------------------------------------------------------------- the whole way


@pytest.mark.parametrize("last_page", ["null", "extra_empty"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_changed_or_repeated_under_faults_restarts_and_late_rows(tmp_path, seed, last_page):
    async with console(last_page=last_page) as s1, rig(s1, tmp_path) as r:
        for name in APIS:
            s1.issue(150, stream=name, age_seconds=20 * DAY)
            s1.issue(60, stream=name, age_seconds=600, same_moment=True)
        s1.issue(5, age_seconds=500, odd=["missing_id", "missing_time", "huge_integer", "lone_surrogate", "unicode"])
        await r.collect(lambda: all(r.of(name) for name in APIS), seconds=0.0, page_size=20)
        s1.chaos(0.2, seed)
        for turn in range(6):
            accepted = sum(len(kept) for kept in r.records.values())
            s1.issue(15)
            s1.issue(5, late_seconds=300 + 30 * turn)
            s1.issue(4, stream="threats")
            for name in ("threats", "agents"):
                s1.touch(name, 10)
            r.later(120)
            s1.knobs.touch_after_page = 2
            enough = accepted + 10 * turn

            def went_on(enough=enough):
                return sum(len(kept) for kept in r.records.values()) > enough

            await r.collect(went_on, seconds=0.02 * turn, page_size=20)  # and then it is cut off wherever it is
        s1.faults.clear()
        s1.knobs.touch_after_page = 0
        r.later(10)

        def nothing_missing():
            return not any(stream.missing for stream in r.verdict(every_version=False).streams)

        await r.collect(nothing_missing, page_size=20)
        verdict = r.verdict(every_version=False)
        assert verdict.ok, verdict
        assert r.suppressed("activities") > 0
        assert not s1.violations


async def test_source_that_runs_on_delivers_every_version_once_in_order(tmp_path):
    async with console() as s1, rig(s1, tmp_path) as r:
        for _ in range(5):
            s1.issue(40, stream="mixed")
            r.later(300)
            await r.collect(seconds=0.1)
        verdict = r.verdict()
        assert verdict.ok, verdict
        assert not s1.violations
        assert {line["_siemEventID"].split(" ")[0] for line in r.lines} == set(APIS)
        assert {line.get("_siemDataType") for line in r.lines if line["_stream"] == "agents"} == {"Inventory"}
        assert all(line["_messageTime"] for line in r.lines)


async def test_console_that_is_away_for_the_whole_window_ends_in_error_and_goes_on_when_started_anew(tmp_path):
    async with console() as s1, rig(s1, tmp_path) as r:
        s1.issue(5, age_seconds=60)
        s1.fail(VendorError(503), times=None)
        impatient = RetryPolicy(initial=0.01, max=0.02, window=0.1, then="quit")
        await r.collect(lambda: "activities" in r.errors, apis=("activities",), retry=impatient)
        assert r.errors["activities"].code == 503
        s1.faults.clear()
        await r.collect(apis=("activities",))
        assert r.verdict().ok
