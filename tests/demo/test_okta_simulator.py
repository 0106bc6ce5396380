"""The Okta simulator keeps Okta's contract, and says so when a client does not."""

import re
import ssl
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import aiohttp
import anyio
import orjson
import pytest
import trustme
from yarl import URL

from collectord.demo.canary import Canary
from collectord.demo.faults import (
    BadGzip,
    Cut,
    EmptyBody,
    ForeignNext,
    GiantPage,
    GzipBomb,
    HtmlPage,
    JsonObject,
    Redirect,
    Replay,
    Reset,
    Slow,
    Status,
    VendorError,
    from_json,
    too_many,
)
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import GROUPS, LOGS, USERS, OktaKnobs
from collectord.demo.okta_links import LinkStyle
from collectord.demo.okta_odd import ODD

TOKEN = "00testTESTtest"
MANNERS = {
    "User-Agent": "collectord/0.1 (+https://example.org)",
    "Accept": "application/json",
    "Content-Type": "application/json",
    "Authorization": f"SSWS {TOKEN}",
}


class Client:
    """A well-behaved client; `headers` replace what it sends, None leaves a header out."""

    def __init__(self, okta, session):
        self.okta = okta
        self.session = session

    async def get(self, target, headers=None):
        sent = {name: value for name, value in {**MANNERS, **(headers or {})}.items() if value is not None}
        url = target if target.startswith("http") else self.okta.base_url + target
        async with self.session.get(URL(url, encoded=True), headers=sent, allow_redirects=False) as response:
            body = await response.read()
            return Got(response.status, response.headers, body, [name.decode() for name, _ in response.raw_headers])

    async def walk(self, target, most=100):
        """All records behind `target`, page by page until an empty page or no next link."""
        records = []
        for _ in range(most):
            got = await self.get(target)
            assert got.status == 200, got.body
            records += got.json
            if not got.json or got.next is None:
                return records
            target = got.next
        raise AssertionError("endless")


class Got:
    def __init__(self, status, headers, body, names):
        self.names = names
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return orjson.loads(self.body)

    @property
    def links(self):
        lines = ", ".join(self.headers.getall("Link", []))
        return {rel: url for url, rel in re.findall(r'<([^>]*)>; rel="(\w+)"', lines)}

    @property
    def next(self):
        return self.links.get("next")


@asynccontextmanager
async def tenant(**knobs):
    okta = OktaSimulator(TOKEN, OktaKnobs(**{"org_limits": None, **knobs}))
    connector = aiohttp.TCPConnector(force_close=False)
    async with okta.serve(), aiohttp.ClientSession(connector=connector) as session:
        yield okta, Client(okta, session)


def ago(**how_long):
    return quote((datetime.now(UTC) - timedelta(**how_long)).isoformat(timespec="milliseconds"), safe="")


def logs(limit=100, **how_long):
    return f"{LOGS}?since={ago(**(how_long or {'hours': 1}))}&sortOrder=ASCENDING&limit={limit}"


# ------------------------------------------------------------------------------------------------------- polling


async def test_polling_gives_every_event_once_in_order_of_commit_and_ends_with_an_empty_page():
    async with tenant() as (okta, client):
        ids = okta.issue(250)
        records = await client.walk(logs(limit=100))
        assert [record["uuid"] for record in records] == ids
        assert not okta.violations


async def test_the_empty_page_has_a_next_link_that_equals_self_and_gives_what_comes_later():
    async with tenant() as (okta, client):
        okta.issue(3)
        first = await client.get(logs())
        tail = await client.get(first.next)
        assert tail.json == []
        assert tail.links["next"] == tail.links["self"] == first.next
        (later,) = okta.issue(1)
        assert [record["uuid"] for record in (await client.get(tail.next)).json] == [later]
        assert not okta.violations


async def test_next_is_there_although_nothing_was_ever_issued():
    async with tenant() as (okta, client):
        empty = await client.get(logs())
        assert empty.json == []
        okta.issue(2)
        assert len((await client.get(empty.next)).json) == 2


async def test_late_event_comes_at_its_commit_with_an_older_published_time():
    async with tenant() as (okta, client):
        okta.issue(1)
        first = await client.get(logs())
        (late,) = okta.issue(1, late_seconds=600)
        (record,) = (await client.get(first.next)).json
        assert record["uuid"] == late
        assert record["published"] < first.json[0]["published"]


@pytest.mark.looptime
async def test_event_that_is_not_yet_committed_is_seen_by_nobody():
    async with tenant() as (okta, client):
        (pending,) = okta.issue(1, late_seconds=60, commit_after_seconds=0.3)
        until = f"{LOGS}?since={ago(hours=1)}&until={ago(seconds=0)}"
        first = await client.get(logs())
        assert first.json == []
        assert (await client.get(until)).json == []
        await anyio.sleep(0.35)
        assert [record["uuid"] for record in (await client.get(first.next)).json] == [pending]
        assert [record["uuid"] for record in (await client.get(until)).json] == [pending]


async def test_history_cannot_be_committed_behind_a_reader():
    async with tenant() as (okta, client):
        okta.issue(1)
        await client.get(logs())
        with pytest.raises(ValueError, match="served up to"):
            okta.issue(1, age_seconds=60)


async def test_events_older_than_90_days_are_hidden_and_not_expected():
    async with tenant() as (okta, client):
        okta.issue(1, age_seconds=91 * 86400)
        (kept,) = okta.issue(1, age_seconds=89 * 86400)
        records = await client.walk(logs(days=179))
        assert [record["uuid"] for record in records] == [kept] == list(okta.issued["events"])


async def test_since_beyond_180_days_is_refused():
    async with tenant() as (_, client):
        got = await client.get(logs(days=181))
        assert (got.status, got.json["errorCode"]) == (400, "E0000053")


async def test_without_since_seven_days_are_given_100_a_page():
    async with tenant() as (okta, client):
        okta.issue(1, age_seconds=8 * 86400)
        okta.issue(150, age_seconds=6 * 86400)
        assert len((await client.get(LOGS)).json) == 100
        assert len(await client.walk(LOGS)) == 150


@pytest.mark.parametrize("limit", ["1001", "-1", "ten", "1.5"])
async def test_limit_out_of_range_is_refused(limit):
    async with tenant() as (_, client):
        got = await client.get(logs(limit=limit))
        assert (got.status, got.json["errorCode"]) == (400, "E0000001")
        assert got.json.keys() == {"errorCode", "errorSummary", "errorLink", "errorId", "errorCauses"}


async def test_a_plus_that_was_not_encoded_is_a_space_and_no_time():
    async with tenant() as (_, client):
        got = await client.get(f"{LOGS}?since=2026-11-01T00:00:00+00:00")
        assert (got.status, got.json["errorCode"]) == (400, "E0000053")


# ------------------------------------------------------------------------------------------------------- bounded


@pytest.mark.parametrize("order", ["ASCENDING", "DESCENDING"])
async def test_bounded_query_goes_by_published_and_has_an_end(order):
    async with tenant() as (okta, client):
        okta.issue(3)
        okta.issue(2, late_seconds=120)
        target = f"{LOGS}?since={ago(hours=1)}&until={quote('2099-01-01T00:00:00Z', safe='')}&sortOrder={order}&limit=2"
        pages = [await client.get(target)]
        for _ in range(2):
            assert pages[-1].next
            pages.append(await client.get(pages[-1].next))
        assert pages[-1].next is None
        published = [record["published"] for page in pages for record in page.json]
        assert [len(page.json) for page in pages] == [2, 2, 1]
        assert published == sorted(published, reverse=order == "DESCENDING")
        assert not okta.violations


async def test_bounded_query_may_miss_what_polling_sees():
    async with tenant(bounded_delay_seconds=60) as (okta, client):
        okta.issue(1)
        assert (await client.get(f"{LOGS}?since={ago(hours=1)}&until={quote('2099-01-01T00:00:00Z')}")).json == []
        assert len((await client.get(logs())).json) == 1


# ------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("expression", "types"),
    [
        ('eventType eq "a.b"', {"a.b"}),
        ('eventType eq "a.b" or eventType eq "a.c"', {"a.b", "a.c"}),
        ('eventType sw "a."', {"a.b", "a.c"}),
        ('eventType ew ".c"', {"a.c", "d.c"}),
        ('eventType co "."', {"a.b", "a.c", "d.c"}),
        ('eventType ne "a.b"', {"a.c", "d.c"}),
        ('not (eventType eq "a.b")', {"a.c", "d.c"}),
        ('(eventType sw "a." or eventType sw "d.") and eventType ew "c"', {"a.c", "d.c"}),
        ('eventType sw "a." or eventType sw "d." and eventType ew "x"', {"a.b", "a.c"}),
        ('eventType eq "a.b" and actor.type eq "User" and target pr', {"a.b"}),
        ('severity eq "INFO" and actor.type eq "Nobody"', set()),
    ],
)
async def test_filter(expression, types):
    async with tenant() as (okta, client):
        for name in ("a.b", "a.c", "d.c"):
            okta.issue(20, event_type=name)
        records = await client.walk(logs(limit=7) + "&filter=" + quote(expression, safe=""))
        assert {record["eventType"] for record in records} == types
        assert not okta.violations


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ('published gt "2026-01-01T00:00:00Z"', "E0000053"),
        ('eventtype eq "a"', "E0000053"),
        ('eventType is "a"', "E0000053"),
        ('eventType eq "a" or', "E0000053"),
        ('eventType eq "a" eventType', "E0000053"),
        ('(eventType eq "a"', "E0000053"),
        ("eventType eq a", "E0000053"),
        ('target[type eq "User"]', "E0000053"),
        ("", "E0000053"),
        ('debugContext.debugData.url co "x"', "E0000031"),
    ],
)
async def test_bad_filter_is_refused(expression, code):
    async with tenant() as (_, client):
        got = await client.get(logs() + "&filter=" + quote(expression, safe=""))
        assert (got.status, got.json["errorCode"]) == (400, code)


async def test_keywords_are_limited():
    async with tenant() as (okta, client):
        okta.issue(1, event_type="needle.in.haystack")
        okta.issue(1, event_type="other")
        assert len((await client.get(logs() + "&q=NEEDLE")).json) == 1
        assert (await client.get(logs() + "&q=" + "a" * 41)).json["errorCode"] == "E0000001"
        assert (await client.get(logs() + "&q=" + "+".join("abcdefghijk"))).json["errorCode"] == "E0000001"


# ----------------------------------------------------------------------------------------------- links, cursors


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("lower_case", [True, False])
async def test_links_come_folded_or_separate_in_either_case(separate, lower_case):
    async with tenant(links=LinkStyle(separate=separate, lower_case=lower_case)) as (okta, client):
        okta.issue(3)
        got = await client.get(logs(limit=2))
        names = [name for name in got.names if name.lower() == "link"]
        assert names == ["link" if lower_case else "Link"] * (2 if separate else 1)
        assert len((await client.get(got.next)).json) == 1


async def test_random_cursors_mean_nothing_and_work_the_same():
    async with tenant(links=LinkStyle(random_cursors=True)) as (okta, client):
        ids = okta.issue(5)
        assert [record["uuid"] for record in await client.walk(logs(limit=2))] == ids
        last = (await client.get((await client.get(logs(limit=10))).next)).links
        assert last["self"] == last["next"]
        assert re.search(r"after=[0-9a-f]{24}$", last["next"])


async def test_links_may_name_the_vendors_own_domain():
    async with tenant(links=LinkStyle(base="https://acme.okta.com")) as (_, client):
        assert (await client.get(logs())).next.startswith("https://acme.okta.com/api/v1/logs?")


@pytest.mark.looptime
async def test_old_cursor_is_refused():
    async with tenant(cursor_lifetime_seconds=0.2) as (okta, client):
        okta.issue(1)
        first = await client.get(logs())
        assert (await client.get(first.next)).status == 200
        await anyio.sleep(0.25)
        assert (await client.get(first.next)).status == 400
        assert not okta.violations


async def test_made_up_cursor_is_refused_and_reported():
    async with tenant() as (okta, client):
        got = await client.get(f"{LOGS}?after={int(time.time() * 1000)}_1&limit=100")
        assert got.status == 400
        assert "not followed as it was given" in okta.violations[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda link: link.replace("%3A", ":"),
        lambda link: re.sub(r"since=[^&]*&", "", link),
        lambda link: link + "&filter=eventType%20pr",
    ],
    ids=["decoded", "parameter dropped", "parameter added"],
)
async def test_changed_next_link_is_reported_but_a_smaller_limit_is_not(spoil):
    async with tenant() as (okta, client):
        okta.issue(3)
        first = await client.get(logs(limit=2))
        assert (await client.get(first.next.replace("limit=2", "limit=1"))).status == 200
        assert not okta.violations
        await client.get(spoil(first.next))
        assert "not followed as it was given" in okta.violations[0]


# ------------------------------------------------------------------------------------------------------- limits


async def test_token_has_half_of_the_limit_and_headers_count_down():
    async with tenant(org_limits={LOGS: 6}, window_seconds=30) as (okta, client):
        seen = [await client.get(logs()) for _ in range(3)]
        assert [got.headers["X-Rate-Limit-Limit"] for got in seen] == ["3"] * 3
        assert [got.headers["X-Rate-Limit-Remaining"] for got in seen] == ["2", "1", "0"]
        assert 0 < int(seen[0].headers["X-Rate-Limit-Reset"]) - time.time() <= 32
        assert all(got.headers["X-Okta-Request-Id"] for got in seen)
        assert not okta.violations


@pytest.mark.looptime
async def test_request_beyond_the_limit_is_429_and_reported_when_the_headers_had_said_so():
    async with tenant(org_limits={LOGS: 2}, window_seconds=1) as (okta, client):
        assert (await client.get(logs())).headers["X-Rate-Limit-Remaining"] == "0"
        await anyio.sleep(0.15)
        refused = await client.get(logs())
        assert (refused.status, refused.json["errorCode"]) == (429, "E0000047")
        assert okta.counters["rate_limited"] == 1
        assert "told to wait" in okta.violations[0]
        assert "Retry-After" not in refused.headers
        await anyio.sleep(2)
        assert (await client.get(logs())).status == 200
        assert len(okta.violations) == 1


async def test_refusal_that_nobody_could_foresee_is_counted_and_no_violation():
    async with tenant(org_limits={LOGS: 10}) as (okta, client):
        await client.get(logs())
        okta.burn(LOGS, 100)
        assert (await client.get(logs())).status == 429
        assert okta.counters["rate_limited"] == 1
        assert not okta.violations


async def test_paths_have_buckets_of_their_own():
    async with tenant(org_limits={LOGS: 2, USERS: 4}) as (_, client):
        await client.get(logs())
        assert (await client.get(logs())).status == 429
        assert (await client.get(USERS)).headers["X-Rate-Limit-Remaining"] == "1"


async def test_too_many_at_once_is_429_with_zero_of_zero():
    async with tenant(concurrency_limit=1) as (okta, client):
        okta.fail(Slow(before=0.3))
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, logs())
            await anyio.sleep(0.1)
            refused = await client.get(logs())
        assert refused.status == 429
        assert {refused.headers["X-Rate-Limit-Limit"], refused.headers["X-Rate-Limit-Remaining"]} == {"0"}
        await anyio.sleep(0.15)
        assert (await client.get(logs())).status == 200
        assert not okta.violations


async def test_doubled_headers_reset_in_the_past_and_a_skewed_clock():
    knobs = {"duplicate_rate_headers": True, "reset_offset_seconds": -600.0, "clock_skew_seconds": 3600.0}
    async with tenant(org_limits={LOGS: 10}, **knobs) as (_, client):
        headers = (await client.get(logs(minutes=-30))).headers
        assert headers.getall("X-Rate-Limit-Remaining") == ["11", "4"]
        date = parsedate_to_datetime(headers["Date"]).timestamp()
        assert 3590 < date - time.time() < 3610
        assert min(map(int, headers.getall("X-Rate-Limit-Reset"))) < date


@pytest.mark.looptime
async def test_of_doubled_headers_the_smaller_reset_is_what_a_client_was_told():
    knobs = {"duplicate_rate_headers": True, "reset_offset_seconds": -1.0}  # the other reset is 7 s later
    async with tenant(org_limits={LOGS: 2}, window_seconds=1, **knobs) as (okta, client):
        assert (await client.get(logs())).headers.getall("X-Rate-Limit-Remaining") == ["7", "0"]
        await anyio.sleep(1.1)
        assert (await client.get(logs())).status == 200
        assert not okta.violations


@pytest.mark.looptime
async def test_refusal_is_logged_in_the_log_itself():
    async with tenant(org_limits={LOGS: 4}, window_seconds=1, log_rate_violations=True) as (okta, client):
        for _ in range(4):
            await client.get(logs())
        await anyio.sleep(1.1)
        (record,) = (await client.get(logs())).json
        assert record["eventType"] == "system.org.rate_limit.violation"
        assert record["uuid"] in okta.issued["events"]


async def test_too_large_a_page_times_out_inside_okta():
    async with tenant(limit_ceiling=200) as (_, client):
        got = await client.get(logs(limit=201))
        assert (got.status, got.json["errorCode"]) == (500, "E0000009")
        assert (await client.get(logs(limit=200))).status == 200


# ------------------------------------------------------------------------------------------------ users, groups


async def test_deprovisioned_users_are_hidden_without_search_or_filter():
    async with tenant() as (okta, client):
        active = okta.add_users(3, "ACTIVE")
        gone = okta.add_users(2, "DEPROVISIONED")
        assert [user["id"] for user in await client.walk(f"{USERS}?limit=2")] == active
        searched = quote('lastUpdated gt "1970-01-01T00:00:00.000Z"')
        assert [user["id"] for user in await client.walk(f"{USERS}?search={searched}&limit=2")] == [*active, *gone]
        filtered = quote('status eq "ACTIVE" or status eq "DEPROVISIONED"')
        assert len(await client.walk(f"{USERS}?filter={filtered}&limit=4")) == 5
        assert not okta.violations


async def test_last_page_of_users_has_no_next_and_200_is_the_most():
    async with tenant() as (okta, client):
        okta.add_users(201, "ACTIVE")
        first = await client.get(f"{USERS}?limit=1000")
        assert len(first.json) == 200
        last = await client.get(first.next)
        assert len(last.json) == 1
        assert last.next is None
        okta.knobs.refuse_large_user_limit = True
        assert (await client.get(f"{USERS}?limit=201")).status == 400


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("search=" + quote('status ne "ACTIVE"'), "E0000031"),
        ("search=" + quote("id pr"), "E0000031"),
        ("search=" + quote('nonsense eq "x"'), "E0000031"),
        ("filter=" + quote('not (status eq "ACTIVE")'), "E0000053"),
        ("filter=" + quote('status gt "ACTIVE"'), "E0000053"),
        ("filter=" + quote('created gt "2020"'), "E0000053"),
        ("sortBy=id", "E0000001"),
    ],
)
async def test_what_users_cannot_be_asked(query, code):
    async with tenant() as (_, client):
        got = await client.get(f"{USERS}?{query}")
        assert (got.status, got.json["errorCode"]) == (400, code)


async def test_credentials_are_left_out_when_all_three_words_are_there():
    async with tenant() as (okta, client):
        okta.add_users(1, "ACTIVE")
        words = 'application/json; okta-response="omitCredentials,omitCredentialsLinks,omitTransitioningToStatus"'
        (full,) = (await client.get(USERS)).json
        (some,) = (await client.get(USERS, {"Content-Type": words})).json
        assert full["credentials"]["recovery_question"]
        assert "credentials" not in some
        assert some["profile"] == full["profile"]


async def test_groups_of_a_user_and_404_once_it_is_deleted():
    async with tenant() as (okta, client):
        first, second = okta.add_users(2, "ACTIVE")
        listed = await client.walk(USERS)
        okta.delete_user(second)
        groups = await client.get(GROUPS.replace("{id}", first))
        assert {"id", "type", "profile", "objectClass"} <= groups.json[0].keys()
        gone = await client.get(GROUPS.replace("{id}", second))
        assert (gone.status, gone.json["errorCode"]) == (404, "E0000007")
        assert list(okta.issued_joins["users"]) == [first]
        assert okta.issued["users"] == {f"{user['id']}@{user['lastUpdated']}": orjson.dumps(user) for user in listed}
        assert okta.counters[f"GET {GROUPS}"] == 2


async def test_user_that_is_still_listed_may_be_gone_already():
    async with tenant() as (okta, client):
        (user,) = okta.add_users(1, "ACTIVE")
        okta.delete_user(user, still_listed=True)
        assert len(await client.walk(USERS)) == 1
        assert (await client.get(GROUPS.replace("{id}", user))).status == 404


async def test_changed_user_is_a_new_version():
    async with tenant() as (okta, client):
        (user,) = okta.add_users(1, "ACTIVE")
        await client.walk(USERS)
        await anyio.sleep(0.01)
        okta.change_user(user, status="SUSPENDED")
        await client.walk(USERS)
        assert len(okta.issued["users"]) == 2


# ------------------------------------------------------------------------------------------------------- records


async def test_same_seed_same_events_other_seed_others_and_about_the_size_that_was_asked():
    bodies = [
        [orjson.loads(body) for body in _issued(OktaSimulator(seed=seed, event_bytes=size))]
        for seed, size in ((1, 2700), (1, 2700), (2, 2700), (1, 6000))
    ]
    for events in bodies:
        for event in events:
            del event["published"]
    assert bodies[0] == bodies[1] != bodies[2]
    sizes = [len(orjson.dumps(event)) for event in bodies[0]]
    assert 2500 < sum(sizes) / len(sizes) < 2900
    assert 5800 < len(orjson.dumps(bodies[3])) / 200 < 6200
    assert len({event["eventType"] for event in bodies[0]}) > 8
    assert len({event["actor"]["id"] for event in bodies[0]}) > 50


def _issued(okta):
    okta.issue(200)
    return okta.issued["events"].values()


@pytest.mark.parametrize("pretty", [False, True])
async def test_odd_records_are_served_as_they_were_issued(pretty):
    kinds = sorted(ODD)
    async with tenant() as (okta, client):
        okta.issue(len(kinds), odd=() if pretty else kinds, pretty=pretty)
        page = (await client.get(logs(limit=1000))).body
        issued = list(okta.issued["events"].values())
        assert page == b"[" + b",".join(issued) + b"]"
        assert (b"\n" in page) is pretty
        for text in (
            ()
            if pretty
            else (b"123456789012345678901234567890", b'"DEBUG","severity":"ERROR"', b"\\u00e9\\/", "日本".encode())
        ):
            assert text in page
        assert all(isinstance(record, dict) for record in orjson.loads(page))


async def test_prerendered_log_is_served_page_by_page_with_ids_of_its_own():
    async with tenant() as (okta, client):
        okta.prerender(45, page_size=10, distinct_pages=2)
        records = await client.walk(logs(limit=10))
        assert len({record["uuid"] for record in records}) == len(records) == 45
        tail = (await client.get((await client.get(okta.requests[-1].target)).next)).links
        assert tail["self"] == tail["next"]
        assert not okta.violations


@pytest.mark.looptime
async def test_steady_issue_keeps_its_rate():
    okta = OktaSimulator(TOKEN)
    async with okta.serve():
        with anyio.move_on_after(1.05):
            await okta.issue_steadily(200)
    assert 190 <= okta.issued_count["events"] <= 210


# ------------------------------------------------------------------------------------------------ what clients do


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"User-Agent": "Python/3.11 aiohttp/3.14"}, "does not identify"),
        ({"Accept": "*/*"}, "Accept is"),
        ({"Authorization": None}, "no credential"),
        ({"Authorization": f"Bearer {TOKEN}"}, "no credential, or one in the wrong form"),
        ({"Authorization": "SSWS other"}, "never gave out"),
        ({"Cookie": "sid=1"}, "cookie"),
        ({"Host": "acme.okta.com"}, "Host is"),
    ],
)
async def test_bad_manners_are_reported(headers, complaint):
    async with tenant() as (okta, client):
        await client.get(logs(), headers)
        assert len(okta.violations) == 1
        assert complaint in okta.violations[0]
        assert okta.violations[0].startswith(f"GET {LOGS}: ")
        assert TOKEN not in okta.violations[0]


@pytest.mark.parametrize("target", [f"{LOGS}?q={TOKEN}", f"/{TOKEN}", f"{LOGS}?q=00test%54ESTtest"])
async def test_credential_in_the_url_is_reported(target):
    async with tenant() as (okta, client):
        await client.get(target)
        assert any("a credential stands in the URL" in violation for violation in okta.violations)
        assert not any(TOKEN in violation for violation in okta.violations)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("/api/v1/apps", "no such path"),
        (f"{LOGS}?page=2", "unknown parameters: page"),
        (f"{LOGS}?limit=5&limit=6", "parameters given twice: limit"),
    ],
)
async def test_requests_okta_does_not_know_are_reported(target, complaint):
    async with tenant() as (okta, client):
        await client.get(target)
        assert complaint in okta.violations[0]


async def test_more_requests_at_once_than_declared_are_reported():
    async with tenant(max_in_flight=2) as (okta, client):
        okta.fail(Slow(before=0.2), times=3)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(client.get, logs())
        assert okta.counters["peak_in_flight"] == 3
        assert "3 requests at once" in okta.violations[0]


async def test_revoked_token_is_401_and_no_violation():
    async with tenant() as (okta, client):
        okta.revoke(TOKEN)
        got = await client.get(logs())
        assert (got.status, got.json["errorCode"]) == (401, "E0000011")
        assert okta.counters["unauthorized"] == 1
        okta.accept_credential(TOKEN)
        assert (await client.get(logs())).status == 200
        assert not okta.violations


async def test_missing_privilege_is_403_for_that_path_only():
    async with tenant(denied={USERS}) as (_, client):
        got = await client.get(USERS)
        assert (got.status, got.json["errorCode"]) == (403, "E0000006")
        assert (await client.get(logs())).status == 200


async def test_gzip_only_for_those_who_ask():
    async with tenant() as (okta, client):
        okta.issue(5)
        asked = await client.get(logs(), {"Accept-Encoding": "gzip"})
        plain = await client.get(logs(), {"Accept-Encoding": "identity"})
        assert asked.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert asked.body == plain.body
        okta.knobs.gzip = False
        assert "Content-Encoding" not in (await client.get(logs(), {"Accept-Encoding": "gzip"})).headers


# -------------------------------------------------------------------------------------------------------- faults


async def test_faults_hit_the_requests_they_were_ordered_for():
    async with tenant() as (okta, client):
        okta.fail(Status(503, b"busy", (("Retry-After", "0"),)), path="/api/v1/l*", times=2, after=1)
        okta.fail(VendorError(500), path=USERS)
        statuses = [(await client.get(target)).status for target in [logs()] * 4 + [USERS] * 2]
        assert statuses == [200, 503, 503, 200, 500, 200]
        assert okta.faults.pending == 0
        assert [seen.fault for seen in okta.requests] == ["", "Status", "Status", "", "VendorError", ""]
        assert [seen.status for seen in okta.requests] == statuses
        assert okta.counters["faults"] == 3


async def test_fault_may_depend_on_the_request():
    async with tenant() as (okta, client):
        okta.fail(Status(500), times=None, when=lambda call: call.query.get("limit") == "1000")
        assert (await client.get(logs(limit=1000))).status == 500
        assert (await client.get(logs(limit=500))).status == 200
        okta.faults.clear()
        assert (await client.get(logs(limit=1000))).status == 200


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (HtmlPage(), b"<!doctype html>"),
        (JsonObject(), b"{}"),
        (EmptyBody(), b""),
        (JsonObject(b'{"ok":0}'), b'{"ok":0}'),
    ],
)
async def test_200_that_is_no_page(fault, body):
    async with tenant() as (okta, client):
        okta.fail(fault)
        got = await client.get(logs())
        assert got.status == 200
        assert got.body.startswith(body)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_cut_body_is_an_error_for_those_who_count(framing):
    async with tenant(gzip=False) as (okta, client):
        okta.issue(50)
        okta.fail(Cut(framing))
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.get(logs())


async def test_cut_body_without_a_length_looks_like_success():
    async with tenant(gzip=False) as (okta, client):
        okta.issue(50)
        okta.fail(Cut("close"))
        got = await client.get(logs())
        assert got.status == 200
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(got.body)


@pytest.mark.parametrize("at", ["after_status", "in_body"])
async def test_reset_in_the_answer(at):
    async with tenant() as (okta, client):
        okta.issue(50)
        okta.fail(Reset(at))
        with pytest.raises(aiohttp.ClientError):
            await client.get(logs())
        assert okta.requests[-1].status == 200


async def test_reset_before_the_status_and_whether_the_vendor_had_acted():
    async with tenant() as (okta, client):
        okta.add_users(1, "ACTIVE")
        okta.fail(Reset(vendor_acts=False), times=2)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await client.get(USERS)
        assert "users" not in okta.issued
        okta.faults.clear()
        okta.fail(Reset(), times=2)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await client.get(USERS)
        assert okta.requests[-1].status == 0
        assert len(okta.issued["users"]) == 1


@pytest.mark.parametrize(
    "fault", [Slow(before=0.3), Slow(header_pause=0.03, drop_bytes=40), Slow(body_pause=0.02, drop_bytes=100)]
)
async def test_slow_answer_is_whole_in_the_end(fault):
    async with tenant() as (okta, client):
        okta.issue(2)
        okta.fail(fault)
        started = time.monotonic()
        got = await client.get(logs())
        assert len(got.json) == 2
        assert time.monotonic() - started > 0.25


async def test_slow_answer_ends_with_the_client():
    async with tenant() as (okta, client):
        okta.fail(Slow(before=30))
        with anyio.move_on_after(0.1):
            await client.get(logs())
        await anyio.sleep(0.1)
        assert not okta.in_flight


async def test_redirect_and_foreign_next_lead_to_the_canary_which_tells_of_credentials():
    canary = Canary([TOKEN])
    async with canary.serve() as foreign, tenant() as (okta, client):
        okta.issue(1)
        okta.fail(Redirect(foreign + "/login", 307))
        redirected = await client.get(logs())
        assert (redirected.status, redirected.headers["Location"]) == (307, foreign + "/login")
        okta.fail(ForeignNext(foreign + "/more?x=1"))
        page = await client.get(logs())
        assert len(page.json) == 1
        assert page.next == foreign + "/more?x=1"
        assert not canary.requests
        await client.get(page.next, {"Authorization": None})
        assert not canary.violations
        await client.get(page.next)
        assert [seen.target for seen in canary.requests] == ["/more?x=1"] * 2
        assert any("Authorization" in violation for violation in canary.violations)
        assert any("credential" in violation for violation in canary.violations)
        assert not any(TOKEN in violation for violation in canary.violations)


async def test_replayed_page_is_the_last_one_whatever_was_asked():
    async with tenant() as (okta, client):
        okta.issue(4)
        first = await client.get(logs(limit=2))
        okta.fail(Replay(), times=2)
        for _ in range(2):
            again = await client.get(first.next)
            assert (again.body, again.next) == (first.body, first.next)
        assert (await client.get(first.next)).body != first.body


async def test_tls(tmp_path):
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    okta = OktaSimulator(TOKEN)
    okta.use_tls(server)
    async with okta.serve() as base_url, aiohttp.ClientSession() as session:
        assert base_url.startswith("https://")
        async with session.get(base_url + LOGS, headers=MANNERS, ssl=client) as response:
            assert response.headers["Link"].startswith(f"<{base_url}")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(base_url + LOGS, headers=MANNERS)


@pytest.mark.looptime
async def test_fake_clock_moves_the_vendors_clock_too():
    async with tenant(org_limits={LOGS: 4}) as (okta, client):
        resets = [int((await client.get(logs())).headers["X-Rate-Limit-Reset"]) for _ in range(2)]
        assert (await client.get(logs())).status == 429
        await anyio.sleep(62)
        later = await client.get(logs())
        assert later.status == 200
        assert int(later.headers["X-Rate-Limit-Reset"]) >= resets[0] + 60
        assert parsedate_to_datetime(later.headers["Date"]).timestamp() > time.time() + 55
        assert not okta.violations


async def test_gzip_bomb_is_small_on_the_wire_and_valid_json():
    async with tenant() as (okta, client):
        okta.fail(GzipBomb(32 << 20))
        got = await client.get(logs())
        assert got.json == []
        assert len(got.body) == (32 << 20) + 2
        assert int(got.headers["Content-Length"]) < len(got.body) / 100


async def test_giant_page_is_valid_json():
    async with tenant() as (okta, client):
        okta.fail(GiantPage(5_000_000))
        got = await client.get(logs())
        assert len(got.body) >= 5_000_000
        assert len(got.json) > 400


@pytest.mark.parametrize("kind", ["checksum", "garbage", "cut", "unknown", "double", "members"])
async def test_bad_gzip(kind):
    async with tenant() as (okta, client):
        okta.issue(20)
        okta.fail(BadGzip(kind))
        try:
            records = (await client.get(logs())).json
        except (aiohttp.ClientError, orjson.JSONDecodeError):
            records = None
        assert (records is not None) is (kind == "members")


@pytest.mark.looptime
async def test_429_variants_and_coming_back_too_early():
    async with tenant() as (okta, client):
        okta.fail(too_many("1"))
        assert (await client.get(logs())).headers["Retry-After"] == "1"
        await anyio.sleep(0.2)
        await client.get(logs())
        assert "told to wait 1.0 s, came back after 0.2 s" in okta.violations[0]
        await anyio.sleep(1)
        for odd in ("Wed, 21 Oct 2099 07:28:00 GMT", "-5", "soon", None):
            okta.fail(too_many(odd))
            assert (await client.get(logs())).headers.get("Retry-After") == odd
        assert len(okta.violations) == 1


async def test_chaos_is_the_same_for_the_same_seed():
    async def statuses(seed):
        async with tenant() as (okta, client):
            okta.chaos(0.5, seed, [Status(500), Status(502)])
            return [(await client.get(logs())).status for _ in range(20)]

    assert await statuses(1) == await statuses(1)
    assert await statuses(1) != await statuses(2)
    assert set(await statuses(1)) == {200, 500, 502}


async def test_faults_from_another_process():
    fault = from_json({"kind": "status", "status": 400, "body": "no", "headers": [["X-A", "1"]], "vendor_acts": True})
    assert fault == Status(400, b"no", (("X-A", "1"),), vendor_acts=True)
    for bad in ({"kind": "nonsense"}, {"kind": "status"}, {"kind": "html", "colour": "red"}):
        with pytest.raises((KeyError, TypeError)):
            from_json(bad)


async def test_vendor_that_is_down_comes_back_on_its_port():
    async with tenant() as (okta, client):
        before = okta.base_url
        await okta.go_down()
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(logs())
        await okta.come_back()
        assert okta.base_url == before
        assert (await client.get(logs())).status == 200
