"""The oracle notices every kind of wrong, in one process and across processes."""

import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import aiohttp
import anyio
import orjson
import pytest

from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.demo.okta_odd import ODD
from collectord.demo.oracle import (
    Expectation,
    expect,
    expectations_from_json,
    expectations_to_json,
    judge,
    on_one_line,
    records_from_json,
    records_to_json,
)
from collectord.demo.sink import Delivered

FEED = ("okta-prod", "events")
MANNERS = {"User-Agent": "collectord/0.1", "Accept": "application/json", "Authorization": "SSWS 00t"}


def expected(*ids, **more):
    issued = {key: b'{"uuid":"%s"}' % key.encode() for key in ids}
    return Expectation(**{"source": FEED[0], "stream": FEED[1], "issued": issued, "order": list(ids), **more})


def delivered(*ids, batch="b1"):
    return [Delivered(key, b'{"uuid":"%s"}' % key.encode(), batch) for key in ids]


def verdict(expectation, records):
    return judge([expectation], {FEED: records}).of(*FEED)


def test_all_is_well():
    found = verdict(expected("a", "b"), delivered("a", "b"))
    assert found.ok
    assert str(found) == "okta-prod/events: 2 issued, 2 delivered, all as issued"


@pytest.mark.parametrize(
    ("records", "wrong", "ids"),
    [
        pytest.param(delivered("a", "c"), "missing", ["b"], id="missing"),
        pytest.param([], "missing", ["a", "b", "c"], id="nothing came"),
        pytest.param(delivered("a", "b", "c", "d"), "unexpected", ["d"], id="unexpected"),
        pytest.param(delivered("a", "c", "b"), "out_of_order", ["b"], id="order"),
        pytest.param([*delivered("a", "b", "c"), *delivered("b", batch="b2")], "duplicates", ["b"], id="other batch"),
        pytest.param(delivered("a", "b", "b", "c"), "duplicates", ["b"], id="twice in a batch"),
        pytest.param(
            [*delivered("a", "b"), Delivered("x", b'{"uuid":"c"}', "b")], "misnamed", ["x for c"], id="other name"
        ),
        pytest.param(
            [*delivered("a", "b"), Delivered("c", b'{"uuid": "c"}', "b")],
            "altered",
            ["""c (at byte 8: b'"c"}' became b' "c"}')"""],
            id="one byte more",
        ),
        pytest.param(
            [*delivered("a", "b"), Delivered("c", b'{"uuid":"c"}}', "b")],
            "altered",
            ["c (12 bytes issued, 13 delivered)"],
            id="longer",
        ),
    ],
)
def test_each_wrong_is_noticed_and_nothing_else(records, wrong, ids):
    found = verdict(expected("a", "b", "c"), records)
    assert {name: names for name, names in found.wrongs.items() if names} == {wrong: ids}
    assert not found.ok
    assert f"{len(ids)} {wrong}: " in str(found)


def test_altered_record_is_not_missing_too():
    found = verdict(expected("a"), [Delivered("a", b'{"uuid":"A"}', "b")])
    assert (found.missing, len(found.altered), found.unexpected) == ([], 1, [])


def test_stream_nobody_expected_is_wrong():
    found = judge([], {FEED: delivered("a")})
    assert not found.ok
    assert found.of(*FEED).unexpected == ["a"]
    assert judge([], {FEED: []}).ok


def test_stream_without_order_may_come_in_any():
    assert verdict(expected("a", "b", order=None), delivered("b", "a")).ok


def test_optional_records_may_come_or_not():
    expectation = expected("a", optional={"b": b'{"uuid":"b"}'})
    assert verdict(expectation, delivered("a")).ok
    assert verdict(expectation, delivered("a", "b")).ok
    assert verdict(expectation, [*delivered("a"), Delivered("b", b'{"uuid":"B"}', "x")]).altered


def test_inventory_may_come_again_under_the_same_name_only():
    expectation = expected("a", is_inventory=True, order=None)
    again = delivered("a", batch="b2")
    assert verdict(expectation, [*delivered("a"), *again]).ok
    renamed = Expectation(**{**vars(expectation), "issued": {"a@1": b"{}"}})
    assert verdict(renamed, [Delivered("a@1", b"{}", "b1"), Delivered("a@2", b"{}", "b2")]).misnamed == ["a@2 for a@1"]


def test_pretty_record_loses_the_white_space_that_holds_a_line_break_and_no_other():
    pretty = b'{\r\n    "a": "x \\n  y",\n\t"b" : [ 1,\n 2 ]\n}'
    assert on_one_line(pretty) == b'{"a": "x \\n  y","b" : [ 1,2 ]}'
    expectation = expected(issued={"a": pretty}, order=None)
    assert verdict(expectation, [Delivered("a", on_one_line(pretty), "b")]).ok
    assert verdict(expectation, [Delivered("a", orjson.dumps(orjson.loads(pretty)), "b")]).altered


def test_record_without_an_id_is_known_by_its_bytes():
    expectation = expected(issued={"digest:1": b'{"n":1}'}, order=None)
    assert verdict(expectation, [Delivered("anything", b'{"n":1}', "b")]).ok
    assert verdict(expectation, [Delivered("", b'{"n":1}', "b")]).misnamed
    assert verdict(expectation, [Delivered("anything", b'{"n":2}', "b")]).missing == ["digest:1"]


@pytest.mark.parametrize(
    ("event", "wrong"),
    [
        (b'{"id":"u1","n":1.50,"groups":[{"id":"g"}]}', None),
        (b'{"id":"u1","n":1.50,"groups":[]}', "altered"),
        (b'{"id":"u1","n":1.50}', "altered"),
        (b'{"id":"u1","n":2,"groups":[{"id":"g"}]}', "altered"),
        (b'{"id":"u2","n":1,"groups":[{"id":"g"}]}', "altered"),
        (b'{"id":"u2","n":1}', None),
        (b"nonsense", "altered"),
    ],
)
def test_joined_member_must_be_what_the_vendor_said(event, wrong):
    user = "u2" if b"u2" in event else "u1"
    issued = {"u1@7": b'{"id":"u1","n":1.50}', "u2@7": b'{"id":"u2","n":1}'}
    expectation = expected(
        issued={f"{user}@7": issued[f"{user}@7"]}, order=None, join="groups", joins={"u1": b'[{"id":"g"}]'}
    )
    found = verdict(expectation, [Delivered(f"{user}@7", event, "b")])
    assert [name for name, names in found.wrongs.items() if names] == ([wrong] if wrong else [])


def test_only_the_newest_version_must_come_when_pages_were_cut():
    okta = OktaSimulator()
    for version in ("u@1", "v@1", "u@2", "v@1"):
        okta.record_issued("users", version, version.encode())
    (strict,) = expect("o", okta)
    (lenient,) = expect("o", okta, every_version=False)
    assert (list(strict.issued), list(strict.optional)) == (["u@1", "u@2", "v@1"], [])
    assert (set(lenient.issued), set(lenient.optional)) == ({"u@2", "v@1"}, {"u@1"})


def test_order_expected_of_okta_is_that_of_commit_and_unwanted_ids_are_left_out():
    okta = OktaSimulator()
    (pending,) = okta.issue(1, commit_after_seconds=5)
    first, second = okta.issue(2)
    (expectation,) = expect("o", okta, wanted=lambda stream, key: key != second)
    assert expectation.order == [first, pending]
    assert set(expectation.issued) == {first, pending}


def test_what_crosses_to_another_process_comes_back_the_same():
    expectation = expected("a", "b", optional={"c": b"\xff\x00"}, is_inventory=True, join="groups", joins={"a": b"[]"})
    assert expectations_from_json(expectations_to_json([expectation])) == [expectation]
    records = {FEED: delivered("a", "b"), ("s", "t"): [Delivered("x", b"\xff", "k")]}
    assert records_from_json(records_to_json(records)) == records


def envelope(record_id, event):
    head = {"_collector": "c", "_source": "okta-prod", "_stream": "events", "_id": record_id, "_receiptTime": 1}
    return orjson.dumps(head)[:-1] + b',"event":' + event + b"}\n"


@asynccontextmanager
async def process(*words):
    command = [sys.executable, "-m", "collectord.demo.serve", *words]
    async with await anyio.open_process(command, stderr=subprocess.PIPE) as running:
        try:
            assert running.stdout
            yield orjson.loads(await running.stdout.receive())["base_url"], running
        finally:
            if running.returncode is None:
                running.terminate()
            await running.wait()


async def test_vendor_and_sink_in_processes_of_their_own_are_driven_and_judged():
    options = ["--option", 'token="00t"', "--knob", "org_limits=null", "--knob", 'links={"separate":false}']
    issue = ["--do", f"issue={json.dumps({'count': len(ODD), 'odd': sorted(ODD)})}"]
    async with (
        process("okta", *options, *issue) as (vendor, _),
        process("sink") as (store, running),
        aiohttp.ClientSession() as session,
    ):

        async def control(base, method, path, body=None):
            async with session.request(method, f"{base}/_sim/{path}", data=orjson.dumps(body or {})) as response:
                assert response.status == 200, await response.text()
                return await response.read()

        (extra,) = orjson.loads(await control(vendor, "POST", "do/issue", {"count": 1}))
        await control(vendor, "POST", "faults", {"fault": {"kind": "status", "status": 503}, "times": 2})
        await control(vendor, "POST", "chaos", {"rate": 1.0, "seed": 1})
        async with session.get(vendor + "/api/v1/logs", headers=MANNERS) as response:
            assert response.status == 503
        await control(vendor, "DELETE", "faults")
        await control(vendor, "PATCH", "knobs", {"gzip": False})
        async with session.get(vendor + "/api/v1/logs", headers=MANNERS) as response:
            assert (response.status, response.headers.get("Content-Encoding")) == (200, None)
            assert len(response.headers.getall("Link")) == 1
        issued = expectations_from_json(await control(vendor, "GET", "expectations?source=okta-prod"))
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "1"}
        body = b"".join(envelope(key, payload) for key, payload in issued[0].issued.items() if key != extra)
        async with session.post(store, data=body, headers=headers) as response:
            assert response.status == 200
        held = records_from_json(await control(store, "GET", "records"))
        assert judge(issued, held).of("okta-prod", "events").missing == [extra]
        assert not judge(issued, held).of("okta-prod", "events").altered

        state = orjson.loads(await control(vendor, "GET", "state"))
        assert (state["violations"], state["issued"]) == (0, {"events": len(ODD) + 1})
        assert orjson.loads(await control(vendor, "GET", "violations")) == []
        assert extra in orjson.loads(await control(vendor, "GET", "issued"))["events"]
        await control(vendor, "POST", "steady", {"rate": 100})
        await anyio.sleep(0.4)
        await control(vendor, "POST", "steady", {"rate": 0})
        grown = orjson.loads(await control(vendor, "GET", "state"))["issued"]["events"]
        assert grown > len(ODD) + 10
        await anyio.sleep(0.2)
        assert orjson.loads(await control(vendor, "GET", "state"))["issued"]["events"] == grown

        await control(store, "POST", "down", {"seconds": 0.3})
        await anyio.sleep(0.2)
        with pytest.raises(aiohttp.ClientError):
            await control(store, "GET", "state")
        await anyio.sleep(0.3)
        assert orjson.loads(await control(store, "GET", "state"))["counters"]["records"] == len(ODD)

        for method, path, words in [
            ("GET", "nonsense", b""),
            ("POST", "do/now", b"{}"),
            ("POST", "faults", b'{"fault":{"kind":"x"}}'),
            ("PATCH", "knobs", b'{"colour":1}'),
            ("GET", "records", b""),
        ]:
            async with session.request(method, f"{vendor}/_sim/{path}", data=words) as response:
                assert response.status in {400, 404}
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0


async def test_wrong_words_end_with_a_reason():
    for words in (["--knob", "colour=1"], ["--do", "explode={}"], ["--knob", "gzip=maybe"], ["--option", "colour=1"]):
        done = await anyio.run_process([sys.executable, "-m", "collectord.demo.serve", "okta", *words], check=False)
        assert done.returncode != 0
        assert words[1].split("=")[0].encode() in done.stderr


async def test_okta_and_oracle_agree_on_what_a_good_client_delivers():
    okta = OktaSimulator("00t", OktaKnobs(org_limits=None))
    okta.issue(len(ODD) * 3, odd=sorted(ODD))
    okta.issue(5, pretty=True)
    records = []
    async with (
        okta.serve() as base,
        aiohttp.ClientSession() as session,
        session.get(base + "/api/v1/logs?limit=1000", headers=MANNERS) as response,
    ):
        page = await response.read()
    for key, payload in okta.issued["events"].items():
        assert payload in page
        records.append(Delivered(key, on_one_line(payload), "b"))
    assert judge(expect(FEED[0], okta), {FEED: records}).ok
    assert not judge(expect(FEED[0], okta), {FEED: records[1:]}).ok
    assert not okta.violations
