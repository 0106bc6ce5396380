"""The SailPoint simulator keeps SailPoint's contract, and says so when a client does not."""

import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import anyio
import orjson
import pytest
from yarl import URL

from collectord.demo.faults import HtmlPage, Reset, Slow, VendorError
from collectord.demo.sailpoint import DEMO_CLIENT, DEMO_SECRET, SailPointSimulator
from collectord.demo.sailpoint_knobs import SailPointKnobs
from collectord.demo.sailpoint_odd import ODD

SEARCH, COUNT, USERS = "/v3/search", "/v3/search/count", "/v3/public-identities"
LISTED = f"{USERS}?limit=250&offset=0&count=true&sorters=name"
MANNERS = {"User-Agent": "collectord/0.1", "Accept": "application/json"}
CREDENTIALS = {"client_id": DEMO_CLIENT, "client_secret": DEMO_SECRET}


class Client:
    """A well-behaved client; what it does wrong it is told to."""

    def __init__(self, simulator, session):
        self.simulator = simulator
        self.session = session
        self.bearer = {}

    async def ask(self, method, target, headers=None, data=None):
        url = URL(self.simulator.base_url + target, encoded=True)
        sent = {name: value for name, value in {**MANNERS, **self.bearer, **(headers or {})}.items() if value}
        async with self.session.request(method, url, headers=sent, data=data, allow_redirects=False) as response:
            return Got(response.status, response.headers, await response.read())

    async def token(self, **changes):
        form = {"grant_type": "client_credentials", **CREDENTIALS, **changes}
        return await self.ask("POST", "/oauth/token", data={name: value for name, value in form.items() if value})

    async def log_in(self, **changes):
        token = (await self.token(**changes)).json["access_token"]
        self.bearer = {"Authorization": f"Bearer {token}"}

    async def search(self, body=None, target=f"{SEARCH}?limit=100"):
        return await self.ask("POST", target, {"Content-Type": "application/json"}, orjson.dumps(body or asked()))

    async def walk(self, body, limit):
        rows = []
        while True:
            page = (await self.search(body, f"{SEARCH}?limit={limit}")).json
            rows += page
            if len(page) < limit:
                return rows
            body = {**body, "searchAfter": [page[-1][column.lstrip("+-")] for column in body["sort"]]}


class Got:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return orjson.loads(self.body)

    @property
    def code(self):
        return self.json["detailCode"]


def stamp(**ago):
    moment = datetime.now(UTC) - timedelta(**ago)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def asked(lower=None, upper=None, inclusive=(True, False), **more):
    bounds = (lower or stamp(days=1), upper or stamp(minutes=-5))
    named = zip(("lower", "upper"), bounds, inclusive, strict=True)
    span = {name: {"value": value, "inclusive": included} for name, value, included in named}
    return {
        "indices": ["events"],
        "query": {"query": "*"},
        "filters": {"created": {"type": "RANGE", "range": span}},
        "sort": ["created", "id"],
        **more,
    }


@asynccontextmanager
async def tenant(*, logged_in=True, **knobs):
    given = {"rate_limit": None, "agreed_per_window": None, **knobs}
    simulator = SailPointSimulator(knobs=SailPointKnobs(**given))
    async with simulator.serve(), aiohttp.ClientSession() as session:
        client = Client(simulator, session)
        if logged_in:
            await client.log_in()
        yield simulator, client


def ids(rows):
    return [row["id"] for row in rows]


# ------------------------------------------------------------------------------------------------------- tokens


async def test_token_comes_by_form_and_by_basic_and_is_opaque():
    async with tenant(logged_in=False) as (isc, client):
        by_form = await client.token()
        packed = base64.b64encode(f"{DEMO_CLIENT}:{DEMO_SECRET}".encode()).decode()
        by_basic = await client.ask(
            "POST", "/oauth/token", {"Authorization": f"Basic {packed}"}, {"grant_type": "client_credentials"}
        )
        assert by_form.json.keys() >= {"access_token", "token_type", "expires_in", "scope", "org", "jti"}
        assert (by_form.json["token_type"], by_form.json["expires_in"]) == ("bearer", 43_199)
        assert by_basic.status == 200
        assert by_basic.json["access_token"] != by_form.json["access_token"]
        assert not isc.violations


async def test_token_by_query_is_given_and_is_a_leak():
    async with tenant(logged_in=False) as (isc, client):
        query = f"grant_type=client_credentials&client_id={DEMO_CLIENT}&client_secret={DEMO_SECRET}"
        assert (await client.ask("POST", f"/oauth/token?{query}")).status == 200
        (violation,) = isc.violations
        assert "a credential stands in the URL" in violation
        assert DEMO_SECRET not in violation


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "nobody"}, {"client_id": ""}], ids=str)
async def test_wrong_client_is_refused(wrong, status):
    async with tenant(logged_in=False, bad_client_status=status) as (_, client):
        got = await client.token(**wrong)
        assert (got.status, got.json["error"]) == (status, "invalid_client")


async def test_wrong_grant_type_is_refused_and_so_is_a_scope_unless_told_otherwise():
    async with tenant(logged_in=False) as (isc, client):
        assert (await client.token(grant_type="password")).json["error"] == "unsupported_grant_type"
        assert (await client.token(scope="sp:search:read")).json["error"] == "invalid_scope"
        isc.knobs.strict_scope = False
        assert (await client.token(scope="sp:search:read")).status == 200


async def test_lifetime_is_told_or_not_and_may_be_another_in_truth():
    async with tenant(expires_in=2) as (isc, client):
        assert (await client.search()).status == 200
        isc.knobs.clock_skew_seconds += 2
        got = await client.search()
        assert (got.status, got.json) == (401, {"error": "JWT validation failed: JWT is expired"})
        isc.knobs.expires_in = None
        assert "expires_in" not in (await client.token()).json
        isc.knobs.expires_in, isc.knobs.token_seconds = 43_199, 1
        await client.log_in()
        isc.knobs.clock_skew_seconds += 1
        assert (await client.search()).status == 401
        assert not isc.violations


async def test_revoked_tokens_are_refused_and_an_invented_one_is_a_violation():
    async with tenant() as (isc, client):
        isc.revoke_tokens()
        assert (await client.search()).status == 401
        assert not isc.violations
        client.bearer = {"Authorization": "Bearer eyJinvented"}
        assert (await client.search()).status == 401
        assert "never gave out" in isc.violations[0]


async def test_discovery_needs_no_token():
    async with tenant(logged_in=False) as (isc, client):
        assert (await client.ask("GET", "/oauth/info")).json["tenantName"] == "acme"
        assert (await client.ask("GET", LISTED)).status == 401
        assert len(isc.violations) == 1


# ------------------------------------------------------------------------------------------------------- search


async def test_search_after_gives_every_event_once_in_order_even_of_the_same_millisecond():
    async with tenant() as (isc, client):
        isc.issue(40, age_seconds=9)
        isc.issue(61, age_seconds=5, same_moment=True)
        assert ids(await client.walk(asked(), 7)) == isc.in_order("events")
        assert not isc.violations


async def test_bounds_are_inclusive_only_when_told_so():
    async with tenant() as (isc, client):
        isc.issue(1, age_seconds=5)
        created = isc.index.rows[0].document["created"]
        for lower, upper, inclusive, found in [
            (created, None, (True, False), 1),
            (created, None, (False, False), 0),
            (None, created, (True, False), 0),
            (None, created, (True, True), 1),
        ]:
            assert len((await client.search(asked(lower, upper, inclusive))).json) == found
        body = asked(created)
        del body["filters"]["created"]["range"]["lower"]["inclusive"]
        assert (await client.search(body)).json == []


@pytest.mark.parametrize(
    "query",
    [
        {"queryType": "DSL", "queryDsl": {"range": {"created": {"gte": "FROM", "lt": "TO"}}}},
        {"query": {"query": "created:[FROM TO TO]"}},
        {"query": {"query": "type:* AND created:[FROM TO TO]"}},
    ],
    ids=str,
)
async def test_other_ways_to_say_from_when_to_when(query):
    async with tenant() as (isc, client):
        isc.issue(3, age_seconds=600)
        isc.issue(4, age_seconds=60)
        text = orjson.dumps(query).decode()
        text = (
            text.replace("FROM", stamp(minutes=5)).replace('"TO"', f'"{stamp()}"').replace("TO TO]", f"TO {stamp()}]")
        )
        body = {"indices": ["events"], "sort": ["created", "id"], **orjson.loads(text)}
        assert len((await client.search(body)).json) == 4


async def test_sorts_ascend_and_descend_and_composite_keys_hold():
    async with tenant() as (isc, client):
        isc.issue(20, age_seconds=5, same_moment=True)
        isc.issue(20, age_seconds=4)
        natural = isc.in_order("events")
        assert ids((await client.search(asked(sort=["+created", "+id"]))).json) == natural
        assert ids((await client.search(asked(sort=["-created", "-id"]))).json) == natural[::-1]
        assert ids(await client.walk(asked(sort=["-id"]), 9)) == sorted(natural, reverse=True)
        by_name = [row["technicalName"] for row in await client.walk(asked(sort=["technicalName", "id"]), 7)]
        assert by_name == sorted(by_name)
        assert len(by_name) == 40


async def test_equal_rows_have_no_order_when_the_sort_leaves_it_open():
    async with tenant() as (isc, client):
        isc.issue(30, age_seconds=5, same_moment=True)
        pages = [ids((await client.search(asked(sort=["created"]))).json) for _ in range(3)]
        assert len({tuple(page) for page in pages}) > 1


async def test_search_after_by_time_alone_passes_over_the_rest_of_a_tie():
    async with tenant() as (isc, client):
        isc.issue(30, age_seconds=5, same_moment=True)
        assert len(await client.walk(asked(sort=["created"]), 7)) == 7


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({}, f"{SEARCH}?limit=10001"),
        ({}, f"{SEARCH}?limit=250&offset=10100"),
        ({}, f"{SEARCH}?limit=many"),
        ({"searchAfter": ["2026-01-01T00:00:00.000Z"]}, f"{SEARCH}?limit=5"),
        ({"searchAfter": ["2026-01-01T00:00:00.000Z", 7]}, f"{SEARCH}?limit=5"),
        ({"searchAfter": ["yesterday", "a"]}, f"{SEARCH}?limit=5"),
        ({"searchAfter": ["2026-01-01T00:00:00.000Z", "a"]}, f"{SEARCH}?limit=5&offset=5"),
        ({"sort": [], "searchAfter": []}, f"{SEARCH}?limit=5"),
        ({"sort": ["colour"]}, f"{SEARCH}?limit=5"),
        ({"indices": ["identities"]}, f"{SEARCH}?limit=5"),
        ({"queryType": "GUESS"}, f"{SEARCH}?limit=5"),
        ({"query": {"query": "created:[now-1d TO"}}, f"{SEARCH}?limit=5"),
        ({"colour": "red"}, f"{SEARCH}?limit=5"),
        ({"filters": {"created": {"type": "RANGE", "range": {"lower": {"value": "soon"}}}}}, f"{SEARCH}?limit=5"),
    ],
    ids=str,
)
async def test_what_sailpoint_refuses_is_refused_with_a_tracking_id(body, target):
    async with tenant() as (_, client):
        got = await client.search({**asked(), **body}, target)
        assert got.status == 400
        assert got.code.startswith("400.1")
        assert len(got.json["trackingId"]) == 32
        assert got.json["messages"][0]["locale"] == "en-US"


async def test_limit_is_250_when_nothing_is_said_and_that_is_a_violation():
    async with tenant() as (isc, client):
        isc.issue(300, age_seconds=5)
        assert len((await client.search(target=SEARCH)).json) == 250
        assert "no limit" in isc.violations[0]


@pytest.mark.parametrize(
    ("body", "target", "reason"),
    [
        ({"sort": []}, f"{SEARCH}?limit=5&colour=red", "unknown parameters: colour"),
        (None, f"{SEARCH}?limit=5&offset=5", "offset misses"),
        ({"query": {"query": "created:[2026-01-01T00:00:00Z TO now]"}}, f"{SEARCH}?limit=5", "`now`"),
        ("no sort", f"{SEARCH}?limit=5", "no sort"),
        ("no upper", f"{SEARCH}?limit=5", "no upper bound"),
    ],
)
async def test_what_loses_events_is_a_violation_though_it_is_answered(body, target, reason):
    async with tenant() as (isc, client):
        whole = asked()
        if body == "no sort":
            del whole["sort"]
        elif body == "no upper":
            del whole["filters"]["created"]["range"]["upper"]
        else:
            whole |= body or {}
        assert (await client.search(whole, target)).status == 200
        assert any(reason in violation for violation in isc.violations)


async def test_total_comes_only_when_asked_for_and_count_gives_nothing_else():
    async with tenant() as (isc, client):
        isc.issue(30, age_seconds=5)
        assert "X-Total-Count" not in (await client.search()).headers
        assert (await client.search(target=f"{SEARCH}?limit=5&count=true")).headers["X-Total-Count"] == "30"
        counted = await client.search(target=COUNT)
        assert (counted.status, counted.body, counted.headers["X-Total-Count"]) == (204, b"", "30")
        assert not isc.violations


async def test_terms_and_exists_filters():
    async with tenant() as (isc, client):
        isc.issue(5, age_seconds=5, technical_name="A")
        isc.issue(3, age_seconds=5, technical_name="B")
        body = asked()
        for excluded, found in ((False, 5), (True, 3)):
            body["filters"]["technicalName"] = {"type": "TERMS", "terms": ["A"], "exclude": excluded}
            assert len((await client.search(body)).json) == found
        body["filters"]["technicalName"] = {"type": "EXISTS", "exclude": True}
        assert (await client.search(body)).json == []


@pytest.mark.parametrize(
    ("path", "users"),
    [
        ("/v3/search", "/v3/public-identities"),
        ("/v2026/search", "/v2026/public-identities"),
        ("/search/v1", "/public-identities/v1"),
        ("/v3/search/events", ""),
    ],
)
async def test_every_version_answers(path, users):
    async with tenant() as (isc, client):
        isc.issue(2, age_seconds=5)
        isc.add_users(2)
        assert len((await client.search(target=f"{path}?limit=5")).json) == 2
        if users:
            assert (await client.search(target=f"{path}/count")).status == 204
            assert len((await client.ask("GET", f"{users}?limit=5&sorters=name")).json) == 2
        assert not isc.violations


async def test_version_may_be_deprecated_or_ended():
    async with tenant(deprecated={"v3"}, retired={"v2024"}) as (_, client):
        assert (await client.search()).headers["X-Deprecated"] == "true"
        assert "X-Deprecated" not in (await client.search(target="/search/v1?limit=5")).headers
        got = await client.search(target="/v2024/search?limit=5")
        assert (got.status, got.code) == (404, "404 Not found")


@pytest.mark.parametrize(("service", "target"), [("search", SEARCH), ("public-identities", USERS)])
async def test_missing_scope_is_403_for_its_service_alone(service, target):
    async with tenant(denied={service}) as (_, client):
        got = {SEARCH: await client.search(), USERS: await client.ask("GET", LISTED)}
        assert [path for path, each in got.items() if each.status == 403] == [target]
        assert got[target].code == "403 Forbidden"


async def test_sort_by_id_may_be_refused():
    async with tenant(sorts_by_id=False) as (isc, client):
        got = await client.search()
        assert (got.status, got.code) == (400, "400.1.3 Illegal value")
        assert (await client.search(asked(sort=["created"]))).status == 200
        assert isc.in_order("events") is None


# ------------------------------------------------------------------------------------------------ what is issued


async def test_event_is_found_only_when_it_is_indexed():
    async with tenant() as (isc, client):
        (early,) = isc.issue(1)
        isc.issue(1, appear_after_seconds=100)
        isc.issue(1, late_seconds=100)
        assert len((await client.search()).json) == 2
        isc.knobs.clock_skew_seconds += 101
        assert len((await client.search()).json) == 3
        assert isc.in_order("events") is None
        assert early in isc.issued["events"]


async def test_index_lags_as_the_knob_says():
    async with tenant(index_lag_seconds=(100.0, 200.0)) as (isc, client):
        isc.issue(20)
        isc.knobs.clock_skew_seconds += 99
        assert (await client.search()).json == []
        isc.knobs.clock_skew_seconds += 51
        assert 0 < len((await client.search()).json) < 20
        isc.knobs.clock_skew_seconds += 51
        assert len((await client.search()).json) == 20


async def test_events_older_than_thirteen_months_are_not_found_nor_expected():
    async with tenant() as (isc, client):
        isc.issue(2, age_seconds=396 * 86_400)
        (kept,) = isc.issue(1, age_seconds=394 * 86_400)
        assert ids((await client.search(asked(stamp(days=500)))).json) == [kept] == list(isc.issued["events"])


async def test_resync_changes_synced_alone_and_what_was_served_stays_expected():
    async with tenant() as (isc, client):
        isc.issue(1, age_seconds=5)
        before = (await client.search()).json[0]
        isc.issue(1, age_seconds=4)
        isc.resync()
        after = (await client.search()).json[0]
        assert {key for key in before if before[key] != after[key]} == {"synced"}
        served, unserved = isc.issued["events"].values()
        assert orjson.loads(served) == before
        assert unserved == isc.index.rows[1].body


@pytest.mark.parametrize("kind", ODD)
async def test_odd_events_stand_in_the_page_byte_for_byte(kind):
    async with tenant() as (isc, client):
        (key,) = isc.issue(1, age_seconds=5, odd=[kind])
        assert (await client.search()).body == b"[" + isc.issued["events"][key] + b"]"


async def test_events_without_id_stand_behind_the_others_of_their_millisecond():
    async with tenant() as (isc, client):
        isc.issue(8, age_seconds=5, same_moment=True, odd=["missing_id", "spaces"])
        rows = (await client.search()).json
        assert ["id" in row for row in rows] == [True] * 4 + [False] * 4
        assert [
            "id" in row for row in (await client.search(asked(searchAfter=[rows[0]["created"], rows[2]["id"]]))).json
        ] == [
            True,
            False,
            False,
            False,
            False,
        ]


async def test_events_are_about_as_large_as_asked_for_and_the_same_for_the_same_seed():
    bodies = []
    for _ in range(2):
        isc = SailPointSimulator(seed=5)
        isc.issue(100, age_seconds=5)
        bodies.append([{**row.document, "created": "", "synced": ""} for row in isc.index.rows])
        assert 600 < sum(len(row.body) for row in isc.index.rows) / 100 < 800
    assert sorted(map(orjson.dumps, bodies[0])) == sorted(map(orjson.dumps, bodies[1]))
    large = SailPointSimulator(event_bytes=5000)
    large.issue(100)
    assert 4500 < sum(len(row.body) for row in large.index.rows) / 100 < 5500


async def test_prerendered_events_are_served_in_pages_with_unique_ids():
    async with tenant() as (isc, client):
        isc.prerender(1030, 100, distinct_pages=3)
        body = asked(stamp(hours=12), stamp(hours=6))
        rows = await client.walk(body, 100)
        assert len(set(ids(rows))) == 1030
        assert (await client.search(asked(stamp(hours=6), stamp()))).json == []
        assert isc.issued_count["events"] == 1030
        assert not isc.violations


# -------------------------------------------------------------------------------------------------------- users


async def test_identities_are_listed_by_name_and_counted_when_asked():
    async with tenant() as (isc, client):
        isc.add_users(300)
        first = await client.ask("GET", LISTED)
        second = await client.ask("GET", f"{USERS}?limit=250&offset=250&sorters=name")
        rows = [*first.json, *second.json]
        assert (len(first.json), len(second.json)) == (250, 50)
        assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
        assert (first.headers["X-Total-Count"], "X-Total-Count" in second.headers) == ("300", False)
        descending = (await client.ask("GET", f"{USERS}?limit=5&sorters=-name")).json
        assert descending[0]["name"] == rows[-1]["name"]
        assert len(isc.issued["users"]) == 300
        assert not isc.violations


@pytest.mark.parametrize("query", ["limit=251", "limit=x", "sorters=alias", 'filters=name+eq+"a"'])
async def test_listing_that_sailpoint_refuses(query):
    async with tenant() as (_, client):
        assert (await client.ask("GET", f"{USERS}?{query}")).status == 400


async def test_listing_without_order_is_a_violation():
    async with tenant() as (isc, client):
        isc.add_users(3)
        assert len((await client.ask("GET", USERS)).json) == 3
        assert "no sorters" in isc.violations[0]


async def test_people_come_and_go_between_two_pages():
    async with tenant(remove_after_page=2, insert_after_page=1) as (isc, client):
        isc.add_users(20)
        first = (await client.ask("GET", f"{USERS}?limit=10&sorters=name")).json
        second = (await client.ask("GET", f"{USERS}?limit=20&sorters=name")).json
        assert len(second) == 19
        assert not set(ids(first[:2])) & set(ids(second))
        assert second[0]["name"] == "Aaa Aaberg"


async def test_change_of_a_person_is_another_version():
    async with tenant() as (isc, client):
        (person,) = isc.add_users(1)
        await client.ask("GET", LISTED)
        isc.change_user(person, status="Inactive")
        assert (await client.ask("GET", LISTED)).json[0]["status"] == "Inactive"
        assert list(isc.issued["users"]) == [f"{person}@1", f"{person}@2"]


async def test_people_of_one_name_may_stand_in_any_order():
    async with tenant(unstable_names=True) as (isc, client):
        isc.add_users(30, name="Ann Lee")
        assert len({tuple(ids((await client.ask("GET", LISTED)).json)) for _ in range(3)}) > 1


# ------------------------------------------------------------------------------------------------- rate limits


async def test_limit_is_counted_by_client_and_version():
    async with tenant(rate_limit=3) as (isc, client):
        for _ in range(3):
            assert (await client.search()).status == 200
        await client.log_in()  # a new token is no new budget
        got = await client.search()
        assert (got.status, got.json) == (429, {"message": " Rate Limit Exceeded "})
        assert 1 <= int(got.headers["Retry-After"]) <= 10
        assert (await client.search(target="/search/v1?limit=5")).status == 200
        isc.add_client("another", "another-secret")
        await client.log_in(client_id="another", client_secret="another-secret")
        assert (await client.search()).status == 200
        assert not isc.violations


@pytest.mark.parametrize("told", [None, "soon"])
async def test_429_may_say_nothing_useful(told):
    async with tenant(rate_limit=1, retry_after=told) as (_, client):
        await client.search()
        assert (await client.search()).headers.get("Retry-After") == told


async def test_who_comes_back_too_early_is_told_of():
    async with tenant(rate_limit=1) as (isc, client):
        await client.search()
        await client.search()
        await anyio.sleep(0.15)
        await client.ask("GET", LISTED)
        assert any("told to wait" in violation for violation in isc.violations)


async def test_more_than_a_hundred_in_ten_seconds_is_a_violation_though_none_is_refused():
    async with tenant(agreed_per_window=100) as (isc, client):
        for _ in range(101):
            await client.search(target=f"{SEARCH}?limit=1")
        assert not isc.violations
        await client.search()
        assert any("within ten seconds" in violation for violation in isc.violations)


async def test_more_than_three_at_a_time_is_a_violation():
    async with tenant(max_in_flight=3) as (isc, client):
        isc.fail(Slow(before=0.1), times=None)
        for at_once in (3, 4):
            async with anyio.create_task_group() as group:
                for _ in range(at_once):
                    group.start_soon(client.search)
            assert bool(isc.violations) == (at_once > 3)


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": "JWT validation failed: JWT is expired"}),
        (429, {"message": " Rate Limit Exceeded "}),
        (500, "500.0 Internal Fault"),
        (403, "403 Forbidden"),
    ],
)
async def test_errors_have_the_shapes_of_gateway_and_service(status, body):
    async with tenant() as (isc, client):
        isc.fail(VendorError(status))
        got = await client.search()
        assert got.status == status
        assert body in (got.json, got.json.get("detailCode"))


async def test_faults_of_every_vendor_are_at_hand():
    async with tenant() as (isc, client):
        isc.fail(HtmlPage())
        assert (await client.search()).body.startswith(b"<!doctype html>")
        isc.fail(Reset())
        with pytest.raises(aiohttp.ClientError):
            await client.search()


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"User-Agent": "python"}, "does not identify"),
        ({"Accept": "text/html"}, "Accept is"),
        ({"Cookie": "a=b"}, "a cookie"),
        ({"Authorization": ""}, "no credential"),
        ({"Authorization": "Basic abc"}, "no credential"),
    ],
    ids=str,
)
async def test_bad_manners_are_violations(headers, reason):
    async with tenant() as (isc, client):
        await client.ask("GET", LISTED, headers)
        assert any(reason in violation for violation in isc.violations)


async def test_search_that_is_no_json_is_a_violation():
    async with tenant() as (isc, client):
        got = await client.ask("POST", f"{SEARCH}?limit=5", {"Content-Type": "text/plain"}, b"<x/>")
        assert got.status == 400
        assert len(isc.violations) == 2
