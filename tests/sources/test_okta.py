"""Okta's streams against the simulator: the contract's rules, its error table, and other collectors' mistakes."""

import json
import re
import socket
import ssl
import time
from dataclasses import replace

import aiohttp
import anyio
import pytest
from aiohttp.client_reqrep import ConnectionKey

from collectord.demo.canary import Canary
from collectord.demo.faults import (
    BadGzip,
    Cut,
    EmptyBody,
    ForeignNext,
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
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_errors import SUMMARIES
from collectord.demo.okta_knobs import GROUPS, LOGS, USERS, OktaKnobs
from collectord.demo.okta_links import LinkStyle
from collectord.demo.okta_odd import ODD, UNREADABLE
from collectord.errors import RateLimited, SourceRefused, SourceUnavailable
from collectord.records import iso_time
from collectord.source import AT_REST

TOKEN = "00testTESTtest"


@pytest.fixture
async def okta():
    simulator = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    async with simulator.serve():
        yield simulator
    assert simulator.violations == []


@pytest.fixture
def stream(okta, open_streams):
    """`stream(page_size=5)` opens the System Log; another call opens it anew, as a restart does."""

    def opened(name="events", config=None, **options):
        given = {"domain": "acme.okta.com", "apiKey": TOKEN, "users": True, **(config or {})}
        return open_streams("Okta", okta.base_url, given, **options)[name]

    return opened


async def drain(stream, cursor=None):
    """Fetch until caught up; returns the records and the last cursor, which survived JSON after each page."""
    records = []
    while True:
        page = await stream.fetch(cursor)
        records += page.records
        cursor = json.loads(json.dumps(page.cursor))
        if not page.more:
            return records, cursor


def raws(records):
    return [bytes(record.raw) for record in records]


def issued(okta, stream="events"):
    return list(okta.issued[stream].values())


# ---------------------------------------------------------------------------------------------------- the log


async def test_everything_is_read_in_the_order_of_persistence_and_byte_for_byte(okta, stream):
    okta.issue(23)
    records, _ = await drain(stream(page_size=5))
    assert raws(records) == issued(okta)
    assert [record.id for record in records] == list(okta.issued["events"])


async def test_a_record_carries_its_time_and_its_event_type(okta, stream):
    okta.issue(1, event_type="user.session.start")
    (record,), _ = await drain(stream())
    event = json.loads(bytes(record.raw))
    assert record.event_id == "user.session.start"
    assert iso_time(record.time_ms) == event["published"]


async def test_a_restart_at_any_page_goes_on_where_it_was(okta, stream):
    okta.issue(17)
    seen, cursor, more = [], None, True
    while more:
        page = await stream(page_size=4).fetch(cursor)
        seen += page.records
        cursor, more = json.loads(json.dumps(page.cursor)), page.more
    assert raws(seen) == issued(okta)


async def test_an_event_that_is_committed_late_is_read_though_it_is_old(okta, stream):
    """Cursors made of `published` miss it: elastic httpjson, Sekoia, rapid7, Nango."""
    okta.issue(5)
    events = stream()
    _, cursor = await drain(events)
    okta.issue(2, late_seconds=3 * 3600)
    records, _ = await drain(events, cursor)
    assert raws(records) == issued(okta)[5:]


async def test_events_of_the_same_second_committed_later_are_read(okta, stream):
    """Sekoia rounds its checkpoint up and loses them."""
    okta.issue(1)
    events = stream()
    _, cursor = await drain(events)
    okta.issue(3, late_seconds=0.001)
    assert len((await drain(events, cursor))[0]) == 3


async def test_after_an_outage_of_weeks_everything_since_is_collected(okta, stream):
    """rapid7 skips what is older than a week, and says nothing."""
    okta.issue(3)
    _, cursor = await drain(stream())
    okta.knobs.clock_skew_seconds += 10 * 86400
    okta.issue(4)
    okta.knobs.clock_skew_seconds += 20 * 86400
    okta.issue(5)
    records, _ = await drain(stream(), cursor)
    assert raws(records) == issued(okta)[3:]


async def test_what_the_saved_link_leads_to_is_taken_whole(okta, stream):
    """rapid7 looked for repeats there too, and threw events away."""
    okta.issue(12)
    events, cursor = stream(page_size=5), None
    for _ in range(4):
        page = await events.fetch(cursor)
        assert not page.overlaps
        cursor = page.cursor


async def test_a_short_page_ends_the_poll_without_a_further_request(okta, stream):
    """The guaranteed-empty request of elastic/integrations #15212; the endless one of airbyte #4447."""
    okta.issue(7)
    await drain(stream(page_size=5))
    assert okta.counters[f"GET {LOGS}"] == 2


async def test_an_idle_log_is_asked_by_the_saved_link_and_changes_no_cursor(okta, stream):
    okta.issue(3)
    events = stream()
    _, cursor = await drain(events)
    page = await events.fetch(cursor)
    assert (page.records, page.more, page.cursor) == ([], False, cursor)


async def test_a_page_is_a_thousand_events_unless_said_otherwise(okta, stream):
    await stream().fetch(None)
    assert "limit=1000" in okta.requests[-1].target
    assert "until" not in okta.requests[-1].target


@pytest.mark.parametrize(
    "style",
    [LinkStyle(separate=False), LinkStyle(lower_case=True), LinkStyle(random_cursors=True)],
    ids=["folded", "lower case", "random cursors"],
)
async def test_links_are_followed_however_they_are_written(okta, stream, style):
    vars(okta.knobs.links).update(vars(style))
    okta.issue(12)
    assert raws((await drain(stream(page_size=5)))[0]) == issued(okta)


async def test_a_filter_of_event_types_is_sent_and_survives_paging(okta, stream):
    """grove unquotes the link and breaks the filter."""
    okta.issue(6, event_type="user.session.start")
    okta.issue(6, event_type="user.session.end")
    okta.issue(6, event_type="policy.rule.update")
    chosen = {"collectAll": False, "eventTypes": "user.session.start, user.session.end"}
    records, _ = await drain(stream(config=chosen, page_size=5))
    assert {record.event_id for record in records} == {"user.session.start", "user.session.end"}
    assert len(records) == 12


async def test_a_filter_too_long_for_a_url_is_applied_here(okta, stream):
    okta.issue(2, event_type="user.session.start")
    okta.issue(2, event_type="policy.rule.update")
    names = ",".join(["user.session.start", *(f"made.up.type{number}" for number in range(200))])
    records, _ = await drain(stream(config={"collectAll": False, "eventTypes": names}))
    assert [record.event_id for record in records] == ["user.session.start"] * 2
    assert "filter" not in okta.requests[-1].target


async def test_another_filter_starts_again_from_the_safe_time_and_knows_what_it_may_repeat(okta, stream):
    okta.issue(4, event_type="user.session.start")
    _, cursor = await drain(stream())
    page = await stream(config={"collectAll": False, "eventTypes": "user.session.start"}).fetch(cursor)
    assert page.overlaps
    assert len(page.records) == 4


async def test_a_new_token_keeps_the_place(okta, stream):
    okta.issue(4)
    _, cursor = await drain(stream())
    okta.accept_credential("00anotherTOKEN")
    page = await stream(config={"apiKey": "00anotherTOKEN"}).fetch(cursor)
    assert page.records == []


@pytest.mark.parametrize(("start", "reaches"), [(None, 24 * 3600), ("2h", 2 * 3600), ("400d", 90 * 86400)])
async def test_the_first_poll_reaches_back_as_far_as_asked_and_as_okta_keeps(okta, stream, start, reaches):
    await stream(**({"start": start} if start else {})).fetch(None)
    since = okta.requests[-1].target.split("since=")[1].split("&")[0].replace("%3A", ":")
    expected = time.time() - reaches
    assert since[:15] in {iso_time(int(1000 * (expected + offset)))[:15] for offset in (-60, 0, 60)}


# ------------------------------------------------------------------------------------------ a refused saved link


async def test_a_refused_link_falls_back_once_and_says_so(okta, stream):
    okta.issue(6)
    events = stream(page_size=4)
    _, cursor = await drain(events)
    okta.knobs.cursor_lifetime_seconds = -1.0
    page = await events.fetch(cursor)
    assert (page.records, page.more) == ([], True)
    assert [notice.name for notice in page.notices] == ["OktaLinkRefused"]
    okta.knobs.cursor_lifetime_seconds = None
    okta.issue(2)
    seen, cursor = [], page.cursor
    while True:
        page = await events.fetch(cursor)
        seen += page.records
        assert page.overlaps
        cursor = page.cursor
        if not page.more:
            break
    assert raws(seen) == issued(okta)


async def test_a_link_refused_again_and_again_stops_and_does_not_loop(okta, stream):
    okta.issue(6)
    events = stream(page_size=4)
    _, cursor = await drain(events)
    okta.knobs.cursor_lifetime_seconds = -1.0
    with pytest.raises(SourceRefused):
        await drain(events, cursor)
    assert okta.counters[f"GET {LOGS}"] <= 6


async def test_after_the_fallback_the_end_of_the_log_ends_the_overlap(okta, stream):
    okta.issue(3)
    events = stream()
    _, cursor = await drain(events)
    okta.knobs.cursor_lifetime_seconds = -1.0
    cursor = (await events.fetch(cursor)).cursor
    okta.knobs.cursor_lifetime_seconds = None
    _, cursor = await drain(events, cursor)
    _, cursor = await drain(events, cursor)
    page = await events.fetch(cursor)
    assert not page.overlaps
    assert page.notices == ()


async def test_a_link_refused_after_half_a_year_is_replaced_by_all_that_okta_still_has(okta, stream):
    """A `since` of more than 180 days ago would be refused for ever."""
    _, cursor = await drain(stream())
    okta.knobs.cursor_lifetime_seconds = -1.0
    page = await stream().fetch({**cursor, "safe_since_ms": cursor["safe_since_ms"] - 200 * 86_400_000})
    okta.issue(2, age_seconds=80 * 86400)
    assert raws((await stream().fetch(page.cursor)).records) == issued(okta)


# ----------------------------------------------------------------------------------------------- the error table

REFUSED = [
    (400, "E0000053", "refuses to query"),
    (400, "E0000031", "refuses to query"),
    (400, "E0000001", "refuses to query"),
    (401, "E0000011", "Create a new one"),
    (401, "E0000004", "rejected the API token"),
    (401, "E0000015", "rejected the API token"),
    (403, "E0000006", "may not read"),
    (403, "E0000005", "may not read"),
    (404, "E0000007", "check domain"),
    (404, "E0000008", "check domain"),
    (405, "E0000022", "405"),
    (410, "E0000022", "410"),
]


@pytest.mark.parametrize(("status", "code", "says"), REFUSED)
async def test_a_refusal_that_only_a_human_can_mend_is_of_class_config(okta, stream, status, code, says):
    okta.fail(VendorError(status, code))
    with pytest.raises(SourceRefused, match=says) as caught:
        await stream().fetch(None)
    assert caught.value.code == status
    assert f"{code} {SUMMARIES.get(code, 'Unknown')}" in caught.value.info  # Okta's words name the parameter
    assert caught.value.whole_source is (status == 401)
    assert TOKEN not in f"{caught.value} {caught.value.info} {caught.value!r}"


async def test_a_404_that_is_a_web_page_is_a_wrong_domain_too(okta, stream):
    okta.fail(Status(404, b"<html>Not Found</html>", content_type="text/html"))
    with pytest.raises(SourceRefused, match="check domain"):
        await stream().fetch(None)


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "E0000112"), (500, "E0000009"), (500, "E0000053"), (502, ""), (503, "E0000010"), (504, "")],
)
async def test_a_trouble_that_passes_is_of_class_generic(okta, stream, status, code):
    okta.fail(VendorError(status, code))
    with pytest.raises(SourceUnavailable) as caught:
        await stream().fetch(None)
    assert not isinstance(caught.value, RateLimited)


@pytest.mark.parametrize("status", [202, 204])
async def test_a_success_without_a_page_is_a_trouble_that_passes(okta, stream, status):
    okta.fail(Status(status))
    with pytest.raises(SourceUnavailable, match=str(status)):
        await stream().fetch(None)


async def test_the_request_id_stands_beside_a_failure(okta, stream):
    okta.fail(VendorError(403, "E0000006"))
    with pytest.raises(SourceRefused) as caught:
        await stream().fetch(None)
    assert "request " in caught.value.info


@pytest.mark.parametrize(
    "fault",
    [HtmlPage(), JsonObject(), EmptyBody(), Cut(), Cut(framing="chunked"), Reset(), BadGzip(), Status(200, b"[] x")],
    ids=["html", "object", "empty", "cut", "cut in chunks", "reset", "bad gzip", "trailing"],
)
async def test_a_page_that_is_no_whole_list_is_generic_and_moves_nothing(okta, stream, fault):
    okta.issue(9)
    events = stream(page_size=4)
    first = await events.fetch(None)
    okta.fail(fault)
    with pytest.raises(SourceUnavailable):
        await events.fetch(first.cursor)
    rest, _ = await drain(events, first.cursor)
    assert raws([*first.records, *rest]) == issued(okta)


async def test_a_bomb_is_not_inflated(okta, stream):
    okta.fail(GzipBomb())
    with pytest.raises(SourceUnavailable, match="64 MiB"):
        await stream().fetch(None)


def without_links():
    return Rewrite(lambda answer: replace(answer, headers=()))


async def test_a_full_page_without_a_next_link_is_not_taken_for_the_last(okta, stream):
    okta.issue(9)
    okta.fail(without_links())
    with pytest.raises(SourceUnavailable, match="next link"):
        await stream(page_size=4).fetch(None)


async def test_a_short_page_without_a_next_link_is_collected_and_the_log_asked_again_by_time(okta, stream):
    okta.issue(3)
    okta.fail(without_links())
    events = stream()
    first = await events.fetch(None)
    assert raws(first.records) == issued(okta)
    assert [notice.name for notice in first.notices] == ["OktaNoLink"]
    assert not first.more
    okta.issue(2)
    again = await events.fetch(first.cursor)
    assert again.overlaps
    assert raws(again.records) == issued(okta)
    assert "next" in again.cursor


async def test_a_server_that_gives_fewer_than_were_asked_for_is_read_to_the_end(open_streams, responses):
    for number, count in enumerate((2, 2, 1), 1):
        page = json.dumps([{"uuid": f"{number}-{each}"} for each in range(count)]).encode()
        link = {"Link": f'<https://acme.okta.com{LOGS}?after={number}>; rel="next"'}
        responses.get(re.compile(r"https://acme\.okta\.com/.*"), body=page, headers=link)
    streams = open_streams("Okta", "https://acme.okta.com", {"domain": "acme.okta.com", "apiKey": TOKEN})
    records, cursor = await drain(streams["events"])
    assert [record.id for record in records] == ["1-0", "1-1", "2-0", "2-1", "3-0"]
    assert cursor["next"] == f"{LOGS}?after=3"


async def test_an_unreachable_host_is_generic(open_streams):
    streams = open_streams("Okta", "http://127.0.0.1:9", {"domain": "acme.okta.com", "apiKey": TOKEN})
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        await streams["events"].fetch(None)


def _unreachable(error):
    key = ConnectionKey("acme.okta.com", 443, True, True, None, None, None, None)
    wrong_certificate = isinstance(error, ssl.SSLCertVerificationError)
    return (aiohttp.ClientConnectorCertificateError if wrong_certificate else aiohttp.ClientConnectorDNSError)(
        key, error
    )


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no host acme.okta.com"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "acme.okta.com cannot be reached"),
        (ssl.SSLCertVerificationError("hostname mismatch"), "certificate is not trusted; check the host name"),
    ],
    ids=["no such host", "no resolver", "another's certificate"],
)
async def test_a_host_that_is_not_there_or_not_okta_is_named_and_tried_again(open_streams, responses, trouble, says):
    """However long it lasts: a resolver that is away for a day must not stop the source."""
    responses.get(re.compile(r"https://acme\.okta\.com/.*"), exception=_unreachable(trouble), repeat=True)
    streams = open_streams("Okta", "https://acme.okta.com", {"domain": "acme.okta.com", "apiKey": TOKEN})
    for _ in range(5):
        with pytest.raises(SourceUnavailable, match=says):
            await streams["events"].fetch(None)


async def test_a_redirect_is_not_followed_and_its_host_is_named(okta, stream):
    async with Canary([TOKEN]).serve() as elsewhere:
        okta.fail(Redirect(f"{elsewhere}/login"))
        with pytest.raises(SourceUnavailable, match="redirects to 127"):
            await stream().fetch(None)


async def test_a_next_link_to_another_host_leads_no_credential_there(okta, stream):
    canary = Canary([TOKEN])
    async with canary.serve() as elsewhere:
        okta.issue(9)
        events = stream(page_size=5)
        first = await events.fetch(None)
        okta.fail(ForeignNext(elsewhere + okta.requests[-1].target))
        page = await stream(page_size=5).fetch(None)
        assert [notice.name for notice in page.notices] == ["OktaForeignLink"]
        rest, _ = await drain(events, first.cursor)
    assert raws([*page.records, *rest]) == issued(okta)
    assert canary.requests == []


# ---------------------------------------------------------------------------------------------------- rate limits


async def test_a_429_waits_as_long_as_the_reset_says_by_oktas_clock(okta, stream):
    """grove sleeps one second; beats #40106 computed a negative wait."""
    okta.knobs.clock_skew_seconds = -4000.0
    okta.fail(too_many(headers=rate_headers(60, 0, okta.now() + 30)))
    with pytest.raises(RateLimited) as caught:
        await stream().fetch(None)
    assert 30 <= (caught.value.retry_after or 0) <= 35


async def test_a_reset_in_the_past_waits_a_moment(okta, stream):
    okta.fail(too_many(headers=rate_headers(60, 0, okta.now() - 500)))
    with pytest.raises(RateLimited) as caught:
        await stream().fetch(None)
    assert caught.value.retry_after == 1.0


async def test_a_reset_far_ahead_waits_two_minutes_at_most(okta, stream):
    okta.fail(too_many(headers=rate_headers(60, 0, okta.now() + 10**9)))
    with pytest.raises(RateLimited) as caught:
        await stream().fetch(None)
    assert caught.value.retry_after == 120.0


async def test_a_429_without_headers_waits_a_minute(okta, stream):
    okta.fail(too_many())
    with pytest.raises(RateLimited) as caught:
        await stream().fetch(None)
    assert caught.value.retry_after == 60.0


async def test_a_429_with_requests_left_in_the_window_is_one_all_the_same(okta, stream):
    """grove takes it for a hard failure."""
    okta.fail(too_many(headers=rate_headers(60, 5, okta.now() + 30)))
    with pytest.raises(RateLimited) as caught:
        await stream().fetch(None)
    assert 30 <= (caught.value.retry_after or 0) <= 35


async def test_zero_of_zero_means_too_many_at_a_time(okta, stream):
    okta.fail(too_many(headers=rate_headers(0, 0, okta.now() + 3600)))
    with pytest.raises(RateLimited) as caught:
        await stream().fetch(None)
    assert 2.0 <= (caught.value.retry_after or 0) <= 10.0


async def test_the_reserve_of_a_bucket_is_left_to_others(okta, stream):
    okta.knobs.org_limits = {LOGS: 40}
    okta.knobs.window_seconds = 3.0
    events = stream()
    cursor = None
    with anyio.move_on_after(2.0):
        while True:
            cursor = (await events.fetch(cursor)).cursor
    assert okta.counters["rate_limited"] == 0
    assert 15 <= okta.counters[f"GET {LOGS}"] <= 18  # a token has half of 40, and two of them are the reserve


async def test_doubled_headers_count_by_the_smaller_value(okta, stream):
    okta.knobs.org_limits = {LOGS: 40}
    okta.knobs.duplicate_rate_headers = True
    okta.knobs.window_seconds = 3.0
    events = stream()
    cursor = None
    with anyio.move_on_after(1.5):
        while True:
            cursor = (await events.fetch(cursor)).cursor
    assert okta.counters["rate_limited"] == 0


def rate_headers(limit, remaining, reset):
    return (
        ("X-Rate-Limit-Limit", str(limit)),
        ("X-Rate-Limit-Remaining", str(remaining)),
        ("X-Rate-Limit-Reset", str(int(reset))),
    )


# ------------------------------------------------------------------------------------------- what is asked for


async def test_a_query_that_takes_too_long_is_asked_for_less_and_later_for_more_again(okta, stream):
    okta.issue(300)
    okta.knobs.limit_ceiling = 250
    events = stream()
    for _ in range(3):
        with pytest.raises(SourceUnavailable):
            await events.fetch(None)
    records, cursor = await drain(events)
    assert raws(records) == issued(okta)
    okta.knobs.limit_ceiling = None
    await events.fetch(cursor)
    assert "limit=1000" in okta.requests[-1].target


async def test_no_page_is_asked_for_with_less_than_a_hundred_events(okta, stream):
    okta.knobs.limit_ceiling = 50
    events = stream()
    for _ in range(8):
        with pytest.raises(SourceUnavailable):
            await events.fetch(None)
    limits = [re.findall(r"limit=(\d+)", each.target)[0] for each in okta.requests]
    assert limits == ["1000", "1000", "500", "250", "125", "100", "100", "100"]


@pytest.mark.parametrize("kind", [*ODD, *UNREADABLE])
async def test_an_odd_record_passes_and_harms_no_other(okta, stream, kind):
    okta.issue(1)
    okta.issue(1, odd=[kind])
    okta.issue(1)
    records, _ = await drain(stream())
    expected = issued(okta)
    got = raws(records)
    assert len(got) == 3
    assert (got[0], got[2]) == (expected[0], expected[2])
    assert got[1] == (expected[1] if kind != "not_utf8" else expected[1].decode("utf-8", "replace").encode())


async def test_a_record_without_an_id_has_the_digest_of_its_content(okta, stream):
    okta.issue(1, odd=["missing_id"])
    (record,), _ = await drain(stream())
    (again,), _ = await drain(stream())
    assert record.id == again.id
    assert len(record.id) == 32


async def test_a_pretty_printed_page_is_one_record_a_line(okta, stream):
    okta.issue(3, pretty=True)
    records, _ = await drain(stream())
    assert all(b"\n" not in raw for raw in raws(records))
    assert [json.loads(raw) for raw in raws(records)] == [json.loads(raw) for raw in issued(okta)]


async def test_a_fetch_may_be_cancelled_and_asked_again(okta, stream):
    okta.issue(9)
    events = stream(page_size=4)
    first = await events.fetch(None)
    for delay in (0.0, 0.001, 0.003):
        with anyio.move_on_after(delay):
            await events.fetch(first.cursor)
    rest, _ = await drain(events, first.cursor)
    assert raws([*first.records, *rest]) == issued(okta)


async def test_probe_says_what_the_token_may_read(okta, stream):
    assert await stream().probe() == "the token may read the System Log"
    okta.knobs.denied = {LOGS}
    with pytest.raises(SourceRefused, match="may not read the System Log"):
        await stream().probe()


# ---------------------------------------------------------------------------------------------------------- users


async def test_all_users_of_all_statuses_come_with_their_groups(okta, stream):
    okta.add_users(30)
    okta.add_users(5, "DEPROVISIONED")
    records, cursor = await drain(stream("users"))
    users = [json.loads(bytes(record.raw)) for record in records]
    assert len(users) == 35
    assert sum(user["status"] == "DEPROVISIONED" for user in users) >= 5
    assert all(isinstance(user["groups"], list) for user in users)
    assert cursor == AT_REST


async def test_no_more_users_are_asked_for_than_okta_gives(okta, stream):
    """grove asks for 1,000; Okta gives 200 at most."""
    okta.knobs.refuse_large_user_limit = True
    okta.add_users(210)
    assert len((await drain(stream("users", page_size=1000)))[0]) == 210


async def test_at_most_five_ask_for_groups_at_a_time(okta, stream):
    okta.knobs.max_in_flight = 100
    okta.add_users(40)
    okta.fail(Slow(before=0.02), times=None)  # else one is answered before the next is asked
    await drain(stream("users"))
    assert okta.counters["peak_in_flight"] == 5


async def test_a_user_deleted_midway_comes_without_groups(okta, stream):
    first, *_ = okta.add_users(5)
    okta.delete_user(first, still_listed=True)
    records, _ = await drain(stream("users"))
    users = {user["id"]: user for user in (json.loads(bytes(record.raw)) for record in records)}
    assert "groups" not in users[first]
    assert len(users) == 5


async def test_a_sweep_cut_in_the_middle_goes_on_where_it_was(okta, stream):
    okta.add_users(250)
    page = await stream("users").fetch(None)
    assert page.more
    before = okta.counters[f"GET {USERS}"]
    records, _ = await drain(stream("users"), json.loads(json.dumps(page.cursor)))
    ids = {json.loads(bytes(record.raw))["id"] for record in [*page.records, *records]}
    assert len(ids) == len(page.records) + len(records) == 250
    assert okta.counters[f"GET {USERS}"] - before == 2


async def test_a_timed_out_list_is_asked_for_half_the_users(okta, stream):
    okta.add_users(60)
    okta.knobs.limit_ceiling = 60
    users = stream("users")
    with pytest.raises(SourceUnavailable):
        await users.fetch(None)
    records, _ = await drain(users)
    assert len(records) == 60
    assert "limit=50" in [each.target for each in okta.requests if each.target.startswith(f"{USERS}?")][1]


async def test_the_identity_of_a_user_is_its_id_and_its_content(okta, stream):
    (user,) = okta.add_users(1)
    (before,), _ = await drain(stream("users"))
    (same,), _ = await drain(stream("users"))
    okta.change_user(user, status="SUSPENDED")
    (after,), _ = await drain(stream("users"))
    assert before.id == same.id
    assert before.id != after.id
    assert before.id.startswith(f"{user}@")


async def test_a_token_that_may_not_read_groups_stops_users_alone(okta, stream):
    okta.add_users(3)
    okta.knobs.denied = {GROUPS}
    with pytest.raises(SourceRefused, match="groups") as caught:
        await stream("users").fetch(None)
    assert not caught.value.whole_source


async def test_an_inventory_that_is_there_already_has_one_request_a_page(okta, stream):
    """Elastic and others fetch user by user; the list is asked for once a page, the groups once a user."""
    okta.add_users(12)
    await drain(stream("users"))
    assert okta.counters[f"GET {USERS}"] == 1
    assert okta.counters[f"GET {GROUPS}"] == 12
