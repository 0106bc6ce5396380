"""The SentinelOne simulator keeps SentinelOne's contract, and says so when a client does not."""

import base64
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import aiohttp
import anyio
import orjson
import pytest
from yarl import URL

from collectord.demo.faults import Slow
from collectord.demo.sentinelone import SentinelOneSimulator
from collectord.demo.sentinelone_knobs import PREFIX, SentinelOneKnobs
from collectord.demo.sentinelone_objects import EPOCH_MS
from collectord.demo.sentinelone_odd import ODD, UNREADABLE

TOKEN = "S1testTEST"
DAY = 86_400
LISTS = ("activities", "threats", "agents")
MANNERS = {
    "User-Agent": "collectord/0.1 (+https://example.org)",
    "Accept": "application/json",
    "Authorization": f"ApiToken {TOKEN}",
}


class Client:
    def __init__(self, s1, session):
        self.s1 = s1
        self.session = session

    async def ask(self, target, headers=None, body=None):
        sent = {name: value for name, value in {**MANNERS, **(headers or {})}.items() if value is not None}
        url = URL(f"{self.s1.base_url}{PREFIX}{target}", encoded=True)
        async with self.session.request("POST" if body else "GET", url, headers=sent, data=body) as response:
            return response.status, response.headers, await response.read()

    async def get(self, target, headers=None):
        status, _, body = await self.ask(target, headers)
        return status, orjson.loads(body)

    async def walk(self, target):
        rows, cursor = [], ""
        for _ in range(100):
            status, page = await self.get(target + cursor)
            assert status == 200, page
            rows += page["data"]
            following = page["pagination"]["nextCursor"]
            if following is None:
                return rows
            cursor = f"&cursor={following}"  # encoded already
        raise AssertionError("endless")


@asynccontextmanager
async def console(**knobs):
    s1 = SentinelOneSimulator(
        TOKEN, SentinelOneKnobs(**{"rate_limits": None, "agreed_per_second": None, "max_in_flight": 9, **knobs})
    )
    async with s1.serve(), aiohttp.ClientSession() as session:
        yield s1, Client(s1, session)


def sorted_by(name, column=None, limit=10):
    column = column or ("createdAt" if name == "activities" else "updatedAt")
    return f"/{name}?limit={limit}&sortBy={column}&sortOrder=asc"


def stamp(**ago):
    return quote(f"{datetime.now(UTC) - timedelta(**ago):%Y-%m-%dT%H:%M:%S.%f}Z", safe="")


# --------------------------------------------------------------------------------------------------------- listing


@pytest.mark.parametrize("last_page", ["null", "extra_empty"])
@pytest.mark.parametrize("name", LISTS)
async def test_pages_give_every_row_once_in_order(name, last_page):
    async with console(last_page=last_page) as (s1, client):
        s1.issue(30, stream=name)
        rows = await client.walk(sorted_by(name))
        assert [row["id"] for row in rows] == list(s1.tables[name].rows)
        lists = s1.counters[f"GET {PREFIX}/{name}"]
        assert lists == (3 if last_page == "null" else 4)
        assert not s1.violations


async def test_equal_times_do_not_tear_at_the_edge_of_a_page():
    async with console() as (s1, client):
        s1.issue(55, same_moment=True)
        assert len({row["id"] for row in await client.walk(sorted_by("activities"))}) == 55
        assert len({row["createdAt"] for row in await client.walk(sorted_by("activities"))}) == 1


async def test_without_limit_ten_rows_come_and_it_is_reported():
    async with console() as (s1, client):
        s1.issue(15)
        _, page = await client.get("/activities?sortBy=id&sortOrder=asc")
        assert len(page["data"]) == 10
        assert "no limit" in s1.violations[0]


async def test_count_only_and_skip_count():
    async with console() as (s1, client):
        s1.issue(15, stream="agents")
        _, page = await client.get("/agents?countOnly=true")
        assert page == {"data": [], "pagination": {"totalItems": 15, "nextCursor": None}}
        assert (await client.get(sorted_by("agents")))[1]["pagination"]["totalItems"] == 15
        assert (await client.get(sorted_by("agents") + "&skipCount=true"))[1]["pagination"]["totalItems"] == 0
        assert (await client.get("/agents/count"))[1] == {"data": {"total": 15}}
        assert not s1.violations


@pytest.mark.parametrize(("operator", "wanted"), [("gt", 1), ("gte", 2), ("lt", 1), ("lte", 2)])
async def test_bounds_compare_microseconds(operator, wanted):
    async with console() as (s1, client):
        s1.issue(3)
        middle = sorted(row.created for row in s1.tables["activities"].rows.values())[1]
        text = quote(f"{datetime.fromtimestamp(middle / 1e6, UTC):%Y-%m-%dT%H:%M:%S}.{middle % 10**6:06d}Z", safe="")
        assert len(await client.walk(f"{sorted_by('activities')}&createdAt__{operator}={text}")) == wanted


async def test_between_takes_milliseconds():
    async with console() as (s1, client):
        s1.issue(2, age_seconds=100)
        s1.issue(2)
        now = int(time.time() * 1000)
        assert (
            len(await client.walk(f"{sorted_by('activities')}&createdAt__between={now - 150_000}-{now - 50_000}")) == 2
        )


async def test_ids_hold_the_time():
    async with console() as (s1, _):
        (row_id,) = s1.issue(1, age_seconds=1000)
        assert abs((int(row_id) >> 23) + EPOCH_MS - (time.time() - 1000) * 1000) < 2000


@pytest.mark.parametrize(
    "target",
    [
        sorted_by("activities", limit=1001),
        sorted_by("activities", limit=0),
        sorted_by("activities", limit="ten"),
        sorted_by("activities", "updatedAt"),
        sorted_by("threats", "name"),
        "/threats?limit=5&sortBy=id&sortOrder=up",
        sorted_by("agents") + "&skip=1001",
        sorted_by("agents") + "&skipCount=maybe",
        sorted_by("activities") + "&createdAt__gte=2026-08-01T00:00:00+00:00",
        sorted_by("activities") + "&createdAt__gte=2026-08-01",
        sorted_by("activities") + "&createdAt__between=a-b",
        sorted_by("activities") + "&updatedAt__gte=2026-08-01T00:00:00Z",
        sorted_by("threats") + "&unheardOf=1",
        sorted_by("threats") + "&cursor=nonsense",
    ],
)
async def test_what_sentinelone_refuses(target):
    async with console() as (_, client):
        status, page = await client.get(target)
        assert status == 400
        assert page["errors"][0]["code"] == 4000010


async def test_unknown_parameter_may_be_ignored_and_is_reported_all_the_same():
    async with console(refuse_unknown_parameters=False) as (s1, client):
        assert (await client.get(sorted_by("threats") + "&unheardOf=1"))[0] == 200
        assert "unknown parameters: unheardOf" in s1.violations[0]


# --------------------------------------------------------------------------------------------------------- cursors


async def test_cursor_is_encoded_base64_of_a_place_and_holds_no_filter():
    async with console() as (s1, client):
        s1.issue(11)
        _, page = await client.get(sorted_by("activities"))
        cursor = page["pagination"]["nextCursor"]
        assert cursor.endswith("%3D")
        place = orjson.loads(base64.b64decode(unquote(cursor)))
        assert place.keys() == {
            "id_column",
            "id_value",
            "id_sort_order",
            "sort_by_column",
            "sort_by_value",
            "sort_order",
        }


@pytest.mark.parametrize(("strict", "status"), [(True, 400), (False, 200)])
async def test_cursor_that_is_encoded_twice(strict, status):
    async with console(strict_cursors=strict) as (s1, client):
        s1.issue(11)
        _, page = await client.get(sorted_by("activities"))
        twice = quote(page["pagination"]["nextCursor"], safe="")
        assert (await client.get(f"{sorted_by('activities')}&cursor={twice}"))[0] == status


@pytest.mark.parametrize("dropped", ["&createdAt__gte=", "&sortBy=createdAt"])
async def test_filters_are_those_of_the_present_request_and_to_leave_them_out_is_reported(dropped):
    async with console() as (s1, client):
        s1.issue(30, age_seconds=60)
        target = f"{sorted_by('activities')}&createdAt__gte={stamp(hours=1)}"
        _, page = await client.get(target)
        kept = "&".join(part for part in target.split("&") if not f"&{part}".startswith(dropped))
        await client.get(f"{kept}&cursor={page['pagination']['nextCursor']}")
        assert any("not sent again" in violation for violation in s1.violations)


async def test_cursor_of_another_console_is_refused_and_reported():
    async with console() as (s1, client):
        cursor = base64.b64encode(b'{"sort_by_column":"createdAt","sort_order":"asc"}').decode()
        assert (await client.get(f"{sorted_by('activities')}&cursor={quote(cursor, safe='')}"))[0] == 400
        assert "never gave" in s1.violations[0]


@pytest.mark.parametrize("how", ["forgotten", "old"])
async def test_cursor_may_expire(how):
    async with console() as (s1, client):
        s1.issue(20)
        _, page = await client.get(sorted_by("activities"))
        target = f"{sorted_by('activities')}&cursor={page['pagination']['nextCursor']}"
        assert (await client.get(target))[0] == 200
        if how == "old":
            s1.knobs.cursor_lifetime_seconds = 0.0
        else:
            s1.forget_cursors()
        assert (await client.get(target))[0] == 400
        assert not s1.violations


# ------------------------------------------------------------------------------------------------- versions, lateness


async def test_touched_row_moves_to_the_end_and_is_expected_in_its_new_version():
    async with console() as (s1, client):
        old = s1.issue(3, stream="threats")
        first = next(iter(s1.tables["threats"].rows))
        (new,) = s1.touch("threats", ids=[first])
        assert list(s1.issued["threats"]) == [*old[1:], new]  # nobody saw the first version
        rows = await client.walk(sorted_by("threats"))
        assert rows[-1]["id"] == first
        assert f"{first}@{rows[-1]['threatInfo']['updatedAt']}" == new
        s1.touch("threats", ids=[first])
        assert len(s1.issued["threats"]) == 4  # the second was given out, so both are expected
        assert list(s1.in_order("threats"))[-1] == list(s1.issued["threats"])[-1]


async def test_heartbeat_changes_an_agent_but_not_its_version_time_and_is_expected_once_it_was_given_out():
    async with console() as (s1, client):
        s1.issue(2, stream="agents")
        before = await client.walk(sorted_by("agents"))
        s1.heartbeat()
        assert len(s1.issued["agents"]) == 2
        after = await client.walk(sorted_by("agents"))
        assert [row["updatedAt"] for row in after] == [row["updatedAt"] for row in before]
        assert [row["lastActiveDate"] for row in after] != [row["lastActiveDate"] for row in before]
        assert len(s1.issued["agents"]) == 4


async def test_rows_change_and_appear_between_pages():
    async with console(touch_after_page=3, insert_after_page=2) as (s1, client):
        s1.issue(30, stream="agents")
        await client.get(sorted_by("agents"))
        assert len(s1.tables["agents"].rows) == 32
        assert sum(row.updated > row.created for row in s1.tables["agents"].rows.values()) == 3


async def test_late_row_is_older_than_what_was_read_and_a_pending_one_is_not_seen():
    async with console() as (s1, client):
        s1.issue(1)
        (late,) = s1.issue(1, late_seconds=300)
        (pending,) = s1.issue(1, appear_after_seconds=0.2)
        assert next(row["id"] for row in await client.walk(sorted_by("activities"))) == late
        assert pending not in {row["id"] for row in await client.walk(sorted_by("activities"))}
        await anyio.sleep(0.25)
        assert pending in {row["id"] for row in await client.walk(sorted_by("activities"))}
        assert s1.in_order("activities") is None


async def test_activities_are_kept_for_a_year_and_threats_for_ever():
    async with console() as (s1, client):
        for name in ("activities", "threats"):
            s1.issue(1, stream=name, age_seconds=400 * DAY)
        assert await client.walk(sorted_by("activities")) == []
        assert "activities" not in s1.issued
        assert len(await client.walk(sorted_by("threats"))) == 1


async def test_removed_row_is_expected_only_if_it_was_given_out():
    async with console() as (s1, client):
        s1.issue(2, stream="agents")
        unseen, kept = s1.tables["agents"].rows
        s1.remove("agents", unseen)
        assert len(s1.issued["agents"]) == 1
        await client.walk(sorted_by("agents"))
        s1.remove("agents", kept)
        assert len(s1.issued["agents"]) == 1


@pytest.mark.parametrize("kind", sorted({**ODD, **UNREADABLE}))
async def test_odd_rows_are_given_out_as_they_were_issued(kind):
    async with console() as (s1, client):
        s1.issue(1, stream="threats", odd=[kind])
        _, _, body = await client.ask(sorted_by("threats"))
        assert next(iter(s1.issued["threats"].values())) in body


async def test_rows_have_the_size_that_was_asked_for():
    sizes = {"activities": 900, "threats": 4_000, "agents": 3_000}
    s1 = SentinelOneSimulator(TOKEN, sizes=sizes)
    for name, size in sizes.items():
        s1.issue(50, stream=name)
        mean = sum(len(body) for body in s1.issued[name].values()) / 50
        assert abs(mean - size) < 0.05 * size


async def test_steady_issue_makes_rows_of_every_list():
    async with console() as (s1, _):
        async with anyio.create_task_group() as group:
            group.start_soon(s1.issue_steadily, 400)
            await anyio.sleep(0.5)
            group.cancel_scope.cancel()
        assert set(s1.issued) == set(LISTS)
        assert sum(s1.issued_count.values()) > 50


# ----------------------------------------------------------------------------------------------- token, permissions


@pytest.mark.parametrize("scheme", ["ApiToken", "APIToken", "apitoken"])
async def test_scheme_is_taken_in_any_case(scheme):
    async with console() as (s1, client):
        assert (await client.get("/system/info", {"Authorization": f"{scheme} {TOKEN}"}))[0] == 200
        assert not s1.violations


@pytest.mark.parametrize(
    ("authorization", "complaint"),
    [(f"Bearer {TOKEN}", "wrong form"), (None, "wrong form"), ("ApiToken other", "never gave out")],
)
async def test_wrong_credential_is_401_with_the_known_body_and_reported(authorization, complaint):
    async with console() as (s1, client):
        status, headers, body = await client.ask(sorted_by("agents"), {"Authorization": authorization})
        assert (status, len(body)) == (401, 76)
        assert body == b'{"errors":[{"code":4010010,"detail":null,"title":"Authentication Failed"}]}\n'
        assert headers["X-RQID"]
        assert complaint in s1.violations[0]


async def test_status_needs_no_token():
    async with console() as (s1, client):
        assert await client.get("/system/status", {"Authorization": None}) == (200, {"data": {"health": "ok"}})
        assert not s1.violations


@pytest.mark.parametrize("status", [401, 403])
async def test_missing_permission_is_for_one_list_only(status):
    async with console(denied={"threats"}, denied_status=status) as (_, client):
        got, page = await client.get(sorted_by("threats"))
        assert (got, page["errors"][0]["code"]) == (status, status * 10_000 + 10)
        assert (await client.get(sorted_by("agents")))[0] == 200
        assert (await client.get("/system/info"))[0] == 200


async def test_details_tell_of_the_tokens_end_to_its_owner_only():
    async with console(token_lifetime_seconds=10 * DAY) as (s1, client):
        body = orjson.dumps({"data": {"apiToken": TOKEN}})
        _, _, answer = await client.ask("/users/api-token-details", body=body)
        told = orjson.loads(answer)["data"]
        lifetime = datetime.fromisoformat(told["expiresAt"]) - datetime.fromisoformat(told["createdAt"])
        assert lifetime == timedelta(days=10)
        assert not s1.violations
        await client.ask("/users/api-token-details", body=orjson.dumps({"data": {"apiToken": "other"}}))
        assert "another's token" in s1.violations[0]


async def test_token_expires():
    async with console(token_lifetime_seconds=1.0) as (s1, client):
        assert (await client.get("/system/info"))[0] == 200
        s1.knobs.clock_skew_seconds += 2
        assert (await client.get("/system/info"))[0] == 401
        assert not s1.violations


# ----------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("told", [2, None])
async def test_requests_beyond_the_limit_are_429(told):
    async with console(rate_limits={"threats": 3}, retry_after_seconds=told) as (s1, client):
        answers = [await client.ask(sorted_by("threats")) for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 200, 429]
        assert answers[-1][1].get("Retry-After") == (str(told) if told else None)
        assert orjson.loads(answers[-1][2])["errors"][0]["code"] == 4290010
        assert (await client.get(sorted_by("agents")))[0] == 200
        assert s1.counters["rate_limited"] == 1


async def test_faster_than_agreed_is_reported():
    async with console(agreed_per_second=4) as (s1, client):
        for _ in range(5):
            await client.get(sorted_by("threats"))
        assert not s1.violations
        await client.get(sorted_by("threats"))
        assert "6 requests of one list within a second" in s1.violations[0]


async def test_two_requests_of_one_list_at_a_time_are_reported():
    async with console() as (s1, client):
        s1.fail(Slow(before=0.2), times=None)
        async with anyio.create_task_group() as group:
            for name in ("threats", "agents"):
                group.start_soon(client.get, sorted_by(name))
        assert not s1.violations
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(client.get, sorted_by("threats"))
        assert any("two requests of one list" in violation for violation in s1.violations)


@pytest.mark.parametrize("target", ["/threats?limit=5", "/threats?limit=5&sortBy=id"])
async def test_request_without_a_sort_is_reported(target):
    async with console() as (s1, client):
        await client.get(target)
        assert "no order is promised" in s1.violations[0]


# ---------------------------------------------------------------------------------------------------------- benchmark


@pytest.mark.parametrize("distinct_pages", [None, 3])
@pytest.mark.parametrize("name", ["activities", "threats"])
async def test_prerendered_list_has_all_rows_once_and_then_is_quiet(name, distinct_pages):
    async with console() as (s1, client):
        s1.prerender(950, 100, distinct_pages=distinct_pages, stream=name)
        target = sorted_by(name, limit=100)
        rows = await client.walk(target)
        assert len({row["id"] for row in rows}) == 950
        moments = [(row.get("threatInfo") or row)["createdAt"] for row in rows[:100]]
        assert moments == sorted(moments)
        assert (
            await client.walk(f"{target}&{'createdAt' if name == 'activities' else 'updatedAt'}__gte={stamp(hours=1)}")
            == []
        )
        await client.get(sorted_by(name, limit=50))
        assert "pages of 100" in s1.violations[0]
        assert s1.issued_count[name] == 950
