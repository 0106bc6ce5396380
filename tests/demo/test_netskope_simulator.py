"""The Netskope simulator keeps Netskope's contract, and says so when a client does not."""

import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import anyio
import orjson
import pytest

from collectord.demo.faults import BadGzip, Cut, EmptyBody, HtmlPage, Reset, Status, VendorError
from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import EXPORT, STREAMS, NetskopeKnobs
from collectord.demo.netskope_odd import ODD
from collectord.demo.serve import SUBJECTS

TOKEN = "0123456789abcdefTEST"
MANNERS = {"User-Agent": "collectord/0.1", "Accept": "application/json", "Netskope-Api-Token": TOKEN}


class Client:
    def __init__(self, netskope, session):
        self.netskope = netskope
        self.session = session

    async def get(self, stream="alert", operation="next", index="i1", headers=None, **more):
        query = {"index": index, "operation": str(operation), **more}
        sent = {name: value for name, value in {**MANNERS, **(headers or {})}.items() if value is not None}
        url = f"{self.netskope.base_url}{EXPORT}/{stream}"
        async with self.session.get(url, params=query, headers=sent, allow_redirects=False) as response:
            return Got(response.status, response.headers, await response.read())

    async def seed(self, stream="alert", **ago):
        return await self.get(stream, int(time.time() - ago.get("hours", 0.5) * 3600))


class Got:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return orjson.loads(self.body)

    @property
    def ids(self):
        return [record["_id"] for record in self.json["result"]]


@asynccontextmanager
async def tenant(**knobs):
    netskope = NetskopeSimulator(
        TOKEN, NetskopeKnobs(**{"requests_per_second": None, "page_size": 5, "wait_some": 0, "wait_idle": 0, **knobs})
    )
    async with netskope.serve(), aiohttp.ClientSession() as session:
        session._retry_connection = False  # else a page is lost below us: see collectord.client
        yield netskope, Client(netskope, session)


# --------------------------------------------------------------------------------------------------- the iterator


async def test_next_gives_page_after_page_and_then_nothing():
    async with tenant() as (netskope, client):
        ids = netskope.issue(12, stream="alert")
        pages = [(await client.seed()).ids, *[(await client.get()).ids for _ in range(3)]]
        assert pages == [ids[:5], ids[5:10], ids[10:], []]
        assert not netskope.violations


async def test_resend_gives_the_last_page_and_moves_nothing():
    async with tenant() as (netskope, client):
        ids = netskope.issue(12, stream="alert")
        await client.seed()
        for _ in range(3):
            assert (await client.get(operation="resend")).ids == ids[:5]
        assert (await client.get()).ids == ids[5:10]


async def test_an_epoch_can_be_asked_again_and_again():
    async with tenant() as (netskope, client):
        ids = netskope.issue(7, stream="alert")
        assert (await client.seed()).ids == (await client.seed()).ids == ids[:5]


async def test_indexes_and_endpoints_know_nothing_of_each_other():
    async with tenant() as (netskope, client):
        alerts, pages = netskope.issue(3, stream="alert"), netskope.issue(3, stream="page")
        now = int(time.time()) - 1800
        for index in ("i1", "i2"):
            assert (await client.get("alert", now, index)).ids == alerts
            assert (await client.get("page", now, index)).ids == pages


async def test_a_page_never_crosses_the_hour_and_an_empty_hour_is_an_empty_page():
    async with tenant() as (netskope, client):
        old = netskope.issue(2, stream="alert", age_seconds=3 * 3600 - 600)
        new = netskope.issue(2, stream="alert")
        pages = [await client.seed(hours=3.2), *[await client.get() for _ in range(4)]]
        assert [page.ids for page in pages] == [old, [], [], new, []]
        marks = [page.json["timestamp_hwm"] for page in pages]
        assert marks == sorted(marks)
        assert marks[1] - marks[0] == 3600
        assert marks[3] == marks[4]


async def test_an_epoch_goes_by_the_events_time_so_late_records_are_behind_it():
    async with tenant() as (netskope, client):
        netskope.issue(1, stream="alert", late_seconds=3000)
        (recent,) = netskope.issue(1, stream="alert", late_seconds=10)
        assert (await client.seed()).ids == [recent]
        netskope.knobs.epoch_by = "insertion"
        assert len((await client.seed()).ids) == 2


async def test_late_records_come_to_whoever_asks_for_next():
    async with tenant() as (netskope, client):
        netskope.issue(1, stream="alert")
        await client.seed()
        (late,) = netskope.issue(1, stream="alert", late_seconds=1500)
        assert (await client.get()).ids == [late]


async def test_records_that_are_not_yet_visible_are_seen_by_nobody():
    async with tenant() as (netskope, client):
        (pending,) = netskope.issue(1, stream="alert", visible_after_seconds=0.3)
        assert (await client.seed()).ids == []
        await anyio.sleep(0.35)
        assert (await client.get()).ids == [pending]


async def test_history_cannot_appear_behind_a_reader():
    async with tenant() as (netskope, client):
        netskope.issue(1, stream="alert")
        await client.seed()
        with pytest.raises(ValueError, match="served up to"):
            netskope.issue(1, stream="alert", age_seconds=60)


async def test_a_future_epoch_is_answered_quickly_and_empty():
    async with tenant() as (netskope, client):
        netskope.issue(3, stream="alert")
        got = await client.get(operation=int(time.time()) + 60)
        assert (got.status, got.json["ok"], got.ids) == (200, 1, [])


@pytest.mark.parametrize(
    ("knobs", "keys"),
    [
        ({}, {"ok", "result", "wait_time", "timestamp_hwm", "analyze_result"}),
        ({"extra_keys": False, "hwm": "absent", "wait_some": None}, {"ok", "result"}),
    ],
    ids=["all", "bare"],
)
async def test_the_envelope_has_the_keys_that_the_knobs_leave(knobs, keys):
    async with tenant(**knobs) as (netskope, client):
        netskope.issue(1, stream="alert")
        assert (await client.seed()).json.keys() == keys


async def test_head_and_tail_are_gone_unless_wanted():
    async with tenant() as (netskope, client):
        ids = netskope.issue(7, stream="alert", age_seconds=7200)
        await client.seed()
        assert {(await client.get(operation=name)).status for name in ("head", "tail")} == {400}
        netskope.knobs.head_and_tail = True
        assert (await client.get(operation="head")).ids == ids[:5]
        assert (await client.get(operation="tail")).ids == ids[-5:]


async def test_shuffled_pages_hold_the_same_records():
    async with tenant(shuffle=True, page_size=100) as (netskope, client):
        ids = netskope.issue(40, stream="alert")
        got = (await client.seed()).ids
        assert got != ids
        assert sorted(got) == sorted(ids)
        assert netskope.in_order("alert") is None


# ------------------------------------------------------------------------------------------- faults and the place


@pytest.mark.parametrize(
    "fault", [Cut("length"), Cut("chunked"), Reset("before_status"), Reset("in_body"), BadGzip("cut")], ids=repr
)
async def test_the_place_has_moved_before_the_body_breaks_off(fault):
    async with tenant() as (netskope, client):
        ids = netskope.issue(12, stream="alert")
        await client.seed()
        netskope.fail(fault)
        with suppress(aiohttp.ClientError, OSError):
            await client.get()
        assert (await client.get(operation="resend")).ids == ids[5:10]
        assert (await client.get()).ids == ids[10:]
        assert not netskope.violations


@pytest.mark.parametrize("fault", [Reset(vendor_acts=False), EmptyBody(), HtmlPage(), VendorError(500), Status(204)])
async def test_or_it_has_not_moved(fault):
    async with tenant() as (netskope, client):
        ids = netskope.issue(12, stream="alert")
        await client.seed()
        netskope.fail(fault)
        with suppress(aiohttp.ClientError, OSError):
            await client.get()
        assert (await client.get(operation="resend")).ids == ids[:5]


async def test_next_after_a_page_that_broke_off_is_a_violation():
    async with tenant() as (netskope, client):
        netskope.issue(12, stream="alert")
        await client.seed()
        netskope.fail(Cut("length"))
        with pytest.raises(aiohttp.ClientError):
            await client.get()
        await client.get()
        assert "it is lost" in netskope.violations[0]


@pytest.mark.parametrize("operation", ["next", "resend"])
async def test_asking_an_index_that_was_never_positioned_is_a_violation(operation):
    async with tenant() as (netskope, client):
        assert (await client.get(operation=operation)).ids == []
        assert "never positioned" in netskope.violations[0]


@pytest.mark.parametrize(("knob", "status"), [("empty", 200), ("refused", 400)])
async def test_an_index_can_be_forgotten(knob, status):
    async with tenant(fresh_index=knob) as (netskope, client):
        await client.seed()
        netskope.drop_index("alert")
        assert (await client.get(operation="resend")).status == status
        assert not netskope.violations


async def test_a_test_is_asked_before_a_page_is_given_up():
    async with tenant() as (netskope, client):
        ids = netskope.issue(3, stream="alert")
        asked = []

        async def judge(stream, keys):
            asked.append((stream, keys))
            return "not kept"

        netskope.on_next = judge
        await client.seed()
        await client.get()
        assert asked == [("alert", ids)]
        assert "not kept" in netskope.violations[0]


# --------------------------------------------------------------------------------------------- refusals and limits


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"operation": "sideways"}, 400),
        ({"operation": "1788220800.5"}, 400),
        ({"operation": "-5"}, 400),
        ({"operation": ""}, 400),
        ({"index": ""}, 400),
    ],
    ids=repr,
)
async def test_a_question_that_is_none_is_refused(query, status):
    async with tenant() as (_, client):
        assert (await client.get(**query)).status == status


@pytest.mark.parametrize("bad", [{"index": "With Space"}, {"index": "x" * 80}, {"limit": "5"}], ids=repr)
async def test_what_nobody_documented_is_a_violation(bad):
    async with tenant() as (netskope, client):
        await client.get(operation=int(time.time()), **bad)
        assert netskope.violations


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_bad_token_is_refused_in_one_of_three_ways(status):
    async with tenant(bad_token_status=status) as (netskope, client):
        assert (await client.get(headers={"Netskope-Api-Token": "wrong"})).status == status
        assert "never gave out" in netskope.violations[0]


async def test_a_revoked_token_is_no_violation():
    async with tenant() as (netskope, client):
        netskope.revoke(TOKEN)
        assert (await client.seed()).status == 401
        assert not netskope.violations


async def test_a_scope_that_is_missing_and_a_stream_that_is_absent():
    async with tenant(denied={"page"}, absent={"network"}) as (_, client):
        denied = await client.seed("page")
        assert (denied.status, denied.json) == (403, {"message": "You cannot consume this service"})
        assert (await client.seed("network")).status == 404
        assert (await client.seed("alert")).status == 200


@pytest.mark.parametrize(("by", "index", "status"), [("index", "i1", 409), ("index", "i2", 200), ("path", "i2", 409)])
async def test_two_requests_at_a_time_meet(by, index, status):
    async with tenant(conflict_by=by, answer_seconds=0.2) as (netskope, client):
        async with anyio.create_task_group() as group:
            group.start_soon(client.seed)
            await anyio.sleep(0.05)
            assert (await client.get(operation=int(time.time()), index=index)).status == status
        assert netskope.counters["overlaps"] == 1


async def test_five_requests_in_a_second_are_too_many_for_an_endpoint_and_none_of_another():
    async with tenant(requests_per_second=4) as (netskope, client):
        answers = [await client.get(operation=int(time.time()), index=f"i{n}") for n in range(5)]
        assert [got.status for got in answers] == [200, 200, 200, 200, 429]
        assert [got.headers["RateLimit-Remaining"] for got in answers] == ["3", "2", "1", "0", "0"]
        assert answers[4].headers["RateLimit-Reset"] == answers[4].headers["Retry-After"] == "1"
        assert answers[4].json == {"message": "API rate limit exceeded"}
        assert (await client.seed("page")).status == 200
        assert netskope.counters["rate_limited"] == 1


async def test_a_429_does_not_move_the_place():
    async with tenant(requests_per_second=4) as (netskope, client):
        ids = netskope.issue(12, stream="alert")
        await client.seed()
        netskope.knobs.requests_per_second = 1
        assert (await client.get()).status == 429
        netskope.knobs.requests_per_second = None
        assert (await client.get()).ids == ids[5:10]


async def test_coming_back_before_wait_time_is_a_violation():
    async with tenant(wait_some=5) as (netskope, client):
        netskope.issue(1, stream="alert")
        await client.seed()
        await anyio.sleep(0.2)
        await client.get()
        assert "wait_time: told to wait 5.0 s" in netskope.violations[0]


# ------------------------------------------------------------------------------------------------------- records


async def test_steady_issue_reaches_every_stream():
    async with tenant() as (netskope, _):
        with anyio.move_on_after(0.5):
            await netskope.issue_steadily(100)
        assert set(netskope.issued) == set(STREAMS)


@pytest.mark.parametrize("stream", STREAMS)
def test_records_are_of_the_size_that_was_wanted_and_the_same_for_the_same_seed(stream):
    first, second = (NetskopeSimulator(seed=7, event_bytes=1500) for _ in range(2))
    for netskope in (first, second):
        netskope.issue(50, stream=stream)
    payloads = list(first.issued[stream].values())
    assert 1350 < sum(map(len, payloads)) / 50 < 1650
    assert [orjson.loads(body).keys() for body in payloads] == [
        orjson.loads(body).keys() for body in second.issued[stream].values()
    ]


def test_audit_records_have_no_description_and_endpoints_no_id():
    netskope = NetskopeSimulator()
    netskope.issue(5, stream="audit")
    netskope.issue(5, stream="endpoint")
    assert all(b'"description"' not in body for body in netskope.issued["audit"].values())
    assert all(key.startswith("digest:") for key in netskope.issued["endpoint"])


def test_ids_beyond_53_bits_are_there():
    netskope = NetskopeSimulator()
    netskope.issue(1, stream="alert")
    (body,) = netskope.issued["alert"].values()
    assert orjson.loads(body)["app_session_id"] > 2**53


@pytest.mark.parametrize("kind", ODD)
def test_odd_kinds_are_json_and_odd(kind):
    netskope = NetskopeSimulator()
    netskope.issue(1, stream="alert", odd=[kind])
    (odd,) = netskope.issued["alert"].values()
    if kind != "infinite_number":
        assert isinstance(orjson.loads(odd), dict)
    netskope.issue(1, stream="alert")
    assert len(netskope.issued["alert"]) == 2


@pytest.mark.parametrize("distinct", [None, 1])
async def test_a_prerendered_export_is_served_page_by_page_with_ids_of_its_own(distinct):
    async with tenant() as (netskope, client):
        netskope.prerender(25, 10, stream="page", distinct_pages=distinct)
        pages = [await client.seed("page"), *[await client.get("page") for _ in range(3)]]
        assert [len(page.ids) for page in pages] == [10, 10, 5, 0]
        assert len({name for page in pages for name in page.ids}) == 25
        assert (await client.get("page", "resend")).ids == []
        assert (await client.get("page", int(time.time()) + 60, "i2")).ids == []
        assert (await client.seed("page")).ids == pages[0].ids
        assert not netskope.violations


def test_it_can_be_served_by_name():
    assert SUBJECTS["netskope"] == (NetskopeSimulator.__module__, NetskopeSimulator.__name__)
