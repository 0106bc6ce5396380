"""The local sink takes what INTERFACE section 4 describes and complains of everything else."""

import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import anyio
import orjson
import pytest
from isal import igzip

from collectord.demo.faults import Cut, Redirect, Reset, Slow, Status, too_many
from collectord.demo.sink import NdjsonSink, SinkKnobs

ENVELOPE = {
    "_collector": "soc-1",
    "_source": "okta-prod",
    "_sourceCategory": "sec/okta",
    "_stream": "events",
    "_id": "1",
    "_messageTime": 1788220801234,
    "_receiptTime": 1788220802000,
    "_siemVendor": "Okta",
    "_siemProduct": "SSO",
    "_siemFormat": "JSON",
    "_siemEventID": "user.session.start",
    "fields": {"env": "prod"},
}
EVENT = b'{"uuid":"1", "n":123456789012345678901234567890}'


def line(event=EVENT, **changes):
    """An envelope around the event; a member set to None is left out."""
    members = {name: value for name, value in {**ENVELOPE, **changes}.items() if value is not None}
    return orjson.dumps(members)[:-1] + b',"event":' + event + b"}\n"


def lines(*ids, **changes):
    return b"".join(line(_id=record_id, **changes) for record_id in ids)


@asynccontextmanager
async def listening(**knobs):
    sink = NdjsonSink(SinkKnobs(**knobs))
    async with sink.serve(), aiohttp.ClientSession() as session:

        async def post(body, key="key-1", **headers):
            sent = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            url = sink.base_url + "/ingest"
            kept = {name: value for name, value in sent.items() if value is not None}
            # A generator instead of bytes would be sent in chunks; aiohttp adds no type of its own when told so.
            async with session.post(url, data=body, headers=kept, allow_redirects=False) as response:
                await response.read()
                return response

        yield sink, post


# ------------------------------------------------------------------------------------------------ what it takes


@pytest.mark.parametrize("compressed", [True, False])
async def test_batch_is_stored_with_the_events_own_bytes(compressed):
    async with listening() as (sink, post):
        body = lines("1", "2")
        headers = {"Content_Encoding": "gzip"} if compressed else {}
        response = await post(igzip.compress(body) if compressed else body, **headers)
        assert response.status == 200
        held = sink.delivered("okta-prod", "events")
        assert [(record.id, record.event, record.batch) for record in held] == [
            ("1", EVENT, "key-1"),
            ("2", EVENT, "key-1"),
        ]
        assert sink.counters["records"] == 2
        assert sink.counters["batch_bytes"] == len(body)
        assert not sink.violations


async def test_least_and_odd_envelopes_are_good():
    optional = [
        "_sourceCategory",
        "_messageTime",
        "_siemVendor",
        "_siemProduct",
        "_siemFormat",
        "_siemEventID",
        "fields",
    ]
    odd = {"fields": {"a": ',"event":{}', "event": "x"}, "_source": 'a","event":{"b'}
    async with listening() as (sink, post):
        await post(line(**dict.fromkeys(optional)), "1")
        await post(line(**odd), "2")
        await post(line(b'{"note":"\\ud800","deep":' + b"[" * 3000 + b"]" * 3000 + b"}", _stream="odd"), "3")
        assert not sink.violations
        assert sink.delivered(odd["_source"], "events")[0].event == EVENT


async def test_same_batch_again_is_stored_once_and_counted():
    async with listening() as (sink, post):
        for _ in range(3):
            assert (await post(lines("1", "2"))).status == 200
        assert len(sink.delivered("okta-prod", "events")) == 2
        assert sink.counters["redeliveries"] == 2
        assert sink.counters["batches"] == 1
        assert not sink.violations


async def test_streams_are_kept_apart_in_order_of_arrival():
    async with listening() as (sink, post):
        await post(lines("2"), "a")
        await post(lines("x", _stream="users"), "b")
        await post(lines("1"), "c")
        assert [record.id for record in sink.delivered("okta-prod", "events")] == ["2", "1"]
        assert [record.id for record in sink.delivered("okta-prod", "users")] == ["x"]


async def test_lines_are_appended_to_files_and_no_name_leads_out_of_the_directory(tmp_path: Path):
    inside = tmp_path / "inside"
    async with listening(directory=inside) as (_, post):
        await post(lines("1"), "a")
        await post(lines("2"), "b")
        await post(lines("2"), "b")
        await post(lines("3", _source="../../evil", _stream="..", fields=None), "c")
        await post(lines("4", _source="/etc", _stream="passwd"), "d")
        await post(lines("5", _source="..", _stream="."), "e")
    assert (inside / "okta-prod" / "events.ndjson").read_bytes() == lines("1") + lines("2")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert len([path for path in inside.rglob("*") if path.is_file()]) == 4


async def test_discard_counts_bytes_only():
    async with listening(discard=True) as (sink, post):
        assert (await post(b"x" * 300_000)).status == 200
        assert sink.counters == {"posts": 1, "bytes": 300_000}
        assert not sink.records


@pytest.mark.parametrize("layout", ["raw", "flat"])
async def test_other_layouts_need_only_be_ndjson(layout):
    async with listening(layout=layout) as (sink, post):
        await post(b'{"_source":"s","_stream":"t","_id":"1","a":1}\n')
        assert not sink.violations
        assert sink.delivered("s", "t")[0].event == b'{"_source":"s","_stream":"t","_id":"1","a":1}'
        await post(b"[1]\n", "2")
        assert "not a JSON object" in sink.violations[0]


# ----------------------------------------------------------------------------------------- what it complains of


@pytest.mark.parametrize(
    ("body", "headers", "complaint"),
    [
        pytest.param(line(), {"Content_Type": "application/json"}, "Content-Type is", id="type"),
        pytest.param(line(), {"Idempotency_Key": None}, "no Idempotency-Key", id="no key"),
        pytest.param(line(), {"Content_Encoding": "gzip"}, "cannot be read", id="not gzip"),
        pytest.param(igzip.compress(line())[:-9], {"Content_Encoding": "gzip"}, "cannot be read", id="cut gzip"),
        pytest.param(line(), {"Content_Encoding": "br"}, "Content-Encoding is", id="encoding"),
        pytest.param(line()[:-1], {}, "not ended", id="no line end"),
        pytest.param(line() + line()[:-1], {}, "not ended", id="no last line end"),
        pytest.param(b"", {}, "there is none", id="empty"),
        pytest.param(line() + b"\n", {}, "line 2", id="blank line"),
        pytest.param(line(b"[1]"), {}, "not a JSON object", id="event is no object"),
        pytest.param(line(b'{"a":1}}'), {}, "not JSON", id="event is no JSON"),
        pytest.param(line(b'{"a":\n1}'), {}, "line 1", id="line break in event"),
        pytest.param(b'{"a":1}\n', {}, "not an envelope", id="no envelope"),
        pytest.param(line()[:-2] + b',"more":1}\n', {}, "not a JSON object", id="event is not last"),
        pytest.param(line(_id=None), {}, "no _id", id="no id"),
        pytest.param(line(_source=None), {}, "no _source", id="no source"),
        pytest.param(line(_receiptTime=None), {}, "no _receiptTime", id="no receipt time"),
        pytest.param(line(_id=""), {}, "_id is not of its type, or empty", id="empty id"),
        pytest.param(line(_id=1), {}, "_id is not of its type", id="id type"),
        pytest.param(line(_messageTime="now"), {}, "_messageTime is not of its type", id="time type"),
        pytest.param(line(_messageTime=True), {}, "_messageTime is not of its type", id="time boolean"),
        pytest.param(line(_receiptTime=1.5), {}, "_receiptTime is not of its type", id="time fraction"),
        pytest.param(line(fields={"a": 1}), {}, "fields is not of its type", id="field type"),
        pytest.param(line(fields=["a"]), {}, "fields is not of its type", id="fields type"),
        pytest.param(line(unknown="x"), {}, "keys are not those", id="unknown key"),
        pytest.param(b'{"_id":"0",' + line()[1:], {}, "keys are not those", id="key twice"),
        pytest.param(
            line(_id=None, _source=None).replace(b"{", b'{"_source":"s","_id":"1",', 1), {}, "keys are not", id="order"
        ),
        pytest.param(line() + line(_stream="users"), {}, "records of 2 streams", id="two streams"),
        pytest.param(line() + line(_source="other"), {}, "records of 2 streams", id="two sources"),
    ],
)
async def test_violation(body, headers, complaint):
    async with listening() as (sink, post):
        await post(body, **headers)
        assert any(complaint in violation for violation in sink.violations), sink.violations
        assert len(sink.violations) <= 2


async def test_same_key_with_other_bytes_is_a_violation():
    async with listening() as (sink, post):
        await post(lines("1"))
        await post(igzip.compress(lines("1")), Content_Encoding="gzip")
        assert "same Idempotency-Key with other bytes" in sink.violations[0]
        assert len(sink.delivered("okta-prod", "events")) == 1


async def test_other_bytes_are_noticed_although_the_first_attempt_was_refused():
    async with listening() as (sink, post):
        sink.fail(Status(503))
        await post(lines("1"))
        await post(lines("1", "2"))
        assert "same Idempotency-Key with other bytes" in sink.violations[0]


async def test_two_batches_of_a_stream_at_once_are_a_violation_but_not_of_two_streams():
    async with listening() as (sink, post):
        sink.fail(Slow(before=0.3), times=None)
        async with anyio.create_task_group() as group:
            group.start_soon(post, lines("1"), "a")
            group.start_soon(post, lines("1", _stream="users"), "b")
        assert not sink.violations
        async with anyio.create_task_group() as group:
            group.start_soon(post, lines("2"), "c")
            await anyio.sleep(0.1)
            group.start_soon(post, lines("3"), "d")
        assert "at the same time" in sink.violations[0]


@pytest.mark.parametrize("fault", [Status(503), Status(408, vendor_acts=True), too_many(), Reset(vendor_acts=True)])
async def test_batch_that_overtakes_a_failed_one_is_a_violation(fault):
    async with listening() as (sink, post):
        sink.fail(fault)
        with suppress(aiohttp.ClientError):
            await post(lines("1"), "a")
        await post(lines("x", _stream="users"), "u")
        assert not sink.violations
        await post(lines("2"), "b")
        assert "overtook the batch a" in sink.violations[0]
        await post(lines("1"), "a")
        await post(lines("3"), "c")
        assert len(sink.violations) == 1


async def test_what_comes_again_from_further_back_overtakes_nothing():
    async with listening(max_batch_bytes=len(lines("1", "2")) - 1) as (sink, post):
        await post(lines("0"), "before")
        await post(lines("1", "2"), "a")
        await post(lines("1"), "aa")
        sink.fail(Status(503))
        await post(lines("2"), "ab")
        for key, ids in {"before": "0", "a": "12", "aa": "1"}.items():  # the sender died, and begins anew
            await post(lines(*ids), key)
        assert not sink.violations
        await post(lines("3"), "b")
        assert "overtook the batch ab" in sink.violations[0]


async def test_split_batch_overtakes_nothing():
    async with listening(max_batch_bytes=len(lines("1", "2")) - 1) as (sink, post):
        assert (await post(lines("1", "2"), "a")).status == 413
        assert (await post(lines("1"), "aa")).status == 200
        assert (await post(lines("2"), "ab")).status == 200
        assert not sink.violations


@pytest.mark.looptime
async def test_coming_back_too_early_is_a_violation():
    async with listening() as (sink, post):
        sink.fail(too_many("1"))
        await post(lines("1"))
        await anyio.sleep(0.2)
        await post(lines("1"))
        assert "told to wait 1.0 s" in sink.violations[0]


# --------------------------------------------------------------------------------------------------- what fails


async def test_refusals_by_knob():
    async with listening(authorization="Bearer x", poison=b"poison") as (sink, post):
        assert (await post(lines("1"), "a")).status == 401
        assert (await post(lines("1"), "a", Authorization="Bearer x")).status == 200
        assert (await post(line(b'{"a":"poison"}'), "b", Authorization="Bearer x")).status == 400
        assert [record.id for record in sink.delivered("okta-prod", "events")] == ["1"]
        sink.knobs.accepted_status = 202
        assert (await post(lines("2"), "c", Authorization="Bearer x")).status == 202
        assert sink.counters["status 401"] == sink.counters["status 400"] == sink.counters["status 202"] == 1


async def test_get_is_refused():
    async with listening() as (sink, _), aiohttp.ClientSession() as session:
        async with session.get(sink.base_url) as response:
            assert response.status == 405
        assert any("by POST" in violation for violation in sink.violations)


@pytest.mark.parametrize(
    ("fault", "is_stored"),
    [
        (Status(500), False),
        (Status(500, vendor_acts=True), True),
        (Status(408, vendor_acts=True), True),
        (Redirect("http://127.0.0.1:9/"), False),
        (Reset(vendor_acts=False), False),
        (Reset(vendor_acts=True), True),
        (Cut("length"), True),
        (Slow(before=30), True),
        (Slow(before=30, vendor_acts=False), False),
    ],
    ids=repr,
)
async def test_failed_post_was_stored_or_not(fault, is_stored):
    async with listening() as (sink, post):
        sink.fail(fault)
        with anyio.move_on_after(0.3), suppress(aiohttp.ClientError):
            assert (await post(lines("1"))).status in {200, 302, 408, 500}
        assert bool(sink.delivered("okta-prod", "events")) is is_stored
        await anyio.sleep(0.1)
        assert (await post(lines("1"))).status == 200
        assert len(sink.delivered("okta-prod", "events")) == 1
        assert sink.counters["redeliveries"] == is_stored
        assert not sink.violations


async def test_thin_line_takes_its_time_and_gets_everything():
    async with listening(read_bytes_per_second=20_000) as (sink, post):
        body = lines(*map(str, range(20)))
        started = time.monotonic()
        assert (await post(body)).status == 200
        assert time.monotonic() - started > len(body) / 20_000 * 0.9
        assert len(sink.delivered("okta-prod", "events")) == 20


async def test_outage_refuses_connections_and_ends_on_the_same_port():
    async with listening() as (sink, post):
        await post(lines("1"), "a")
        await sink.go_down()
        with pytest.raises(aiohttp.ClientError):
            await post(lines("2"), "b")
        await sink.come_back()
        assert (await post(lines("2"), "b")).status == 200
        assert [record.id for record in sink.delivered("okta-prod", "events")] == ["1", "2"]
