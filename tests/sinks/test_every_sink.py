"""What is true of every sink, by one suite over the table of sink types."""

from dataclasses import replace
from functools import partial

import anyio
import pytest
from isal import igzip

from collectord.demo.canary import Canary
from collectord.demo.faults import Cut, Redirect, Reset, Slow, Status
from collectord.errors import BatchRejected, BatchTooLarge, SinkRefused, SinkUnavailable
from collectord.records import Record
from collectord.sinks import SINK_TYPES
from tests.sinks.elasticsearch import Elasticsearch
from tests.sinks.http import Http
from tests.sinks.sending import METADATA, delivered, near, one_batch, raw, records
from tests.sinks.splunk_hec import SplunkHec
from tests.sinks.sumologic import SumoLogic

STAND_INS = {stand_in.type: stand_in for stand_in in (Http, Elasticsearch, SplunkHec, SumoLogic)}
VARIANTS = {
    **STAND_INS,
    "elasticsearch with ECS documents": partial(Elasticsearch, form="ecs"),
    "opensearch": partial(Elasticsearch, opensearch=True),
    "splunk_hec with acknowledgement": partial(SplunkHec, acknowledgement=True),
}
KILOBYTE = b"x" * 1000


def test_every_type_has_a_stand_in():
    assert STAND_INS.keys() == SINK_TYPES.keys()


@pytest.fixture(params=sorted(SINK_TYPES.keys() | VARIANTS.keys()))
async def far(request):
    stand_in = VARIANTS[request.param]()
    async with stand_in.serve():
        yield stand_in
    assert stand_in.violations == []


def messages(error):
    return f"{error!r} {error} {error.message} {error.info}"


@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_every_record_arrives_once_and_in_order(far, session, tmp_path, compression):
    sink = near(far, session, compression=compression)
    sent = records(3000, filler=KILOBYTE)
    batches = sink.encode(sent, METADATA)
    assert len(batches) > 1
    async with delivered(tmp_path, sink, *batches) as outbox:
        assert outbox.dead_letters["default"].records == 0
    assert far.events() == raw(sent)
    assert {call.headers.get("Content-Encoding") for call in far.posts} == {"gzip" if compression == "gzip" else None}
    assert all(call.headers["Accept-Encoding"] == "identity" for call in far.posts)


async def test_batches_keep_to_their_size_before_compression(far, session):
    sink = near(far, session, max_batch_bytes=100_000)
    batches = sink.encode(records(1000, filler=KILOBYTE), METADATA)
    assert max(len(batch.lines()) for batch in batches) <= 100_000
    (large,) = sink.encode(records(1, filler=b"x" * 150_000), METADATA)
    assert large.count == 1


async def test_the_same_batch_again_is_the_same_request_to_the_byte(far, session):
    sink = near(far, session)
    batch = one_batch(sink, 50)
    far.fail(Status(503, vendor_acts=True))
    with pytest.raises(SinkUnavailable):
        await sink.send(batch)
    assert await sink.send(batch) is None
    first, second = far.posts
    assert (first.target, first.body, dict(first.headers)) == (second.target, second.body, dict(second.headers))
    assert set(far.events()) == set(raw(records(50)))
    if far.is_idempotent:
        assert far.events() == raw(records(50))


@pytest.mark.parametrize(
    "fault", [Slow(before=30, vendor_acts=True), Reset("before_status"), Cut("length"), Cut("close", keep=0)], ids=repr
)
async def test_an_answer_that_is_lost_costs_nothing(far, session, tmp_path, fault):
    sink = near(far, session, timeout=0.3)
    far.fail(fault)
    batch = one_batch(sink, 50)
    async with delivered(tmp_path, sink, batch) as outbox:
        assert outbox.dead_letters["default"].records == 0
    assert set(far.events()) == set(raw(records(50)))
    if far.is_idempotent:
        assert len(far.events()) == 50


async def test_a_sink_that_is_away_is_unavailable_and_said_to_be_so(far, session):
    sink = near(far, session, timeout=0.3)
    batch = one_batch(sink, 1)
    far.fail(Slow(before=30))
    with anyio.fail_after(5), pytest.raises(SinkUnavailable, match=r"did not answer within 0\.3 s"):
        await sink.send(batch)
    await far.go_down()
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await sink.send(batch)
    await far.come_back()
    await sink.send(batch)


async def test_too_large_is_split_and_later_batches_are_smaller(far, session, tmp_path):
    sink = near(far, session)
    sent = records(400, filler=KILOBYTE)
    batches = sink.encode(sent, METADATA)
    far.largest = 200_000
    async with delivered(tmp_path, sink, *batches) as outbox:
        assert outbox.dead_letters["default"].records == 0
    assert sorted(far.events()) == sorted(raw(sent))
    assert len(far.events()) == 400
    later = sink.encode(sent, METADATA)
    assert max(len(batch.lines()) for batch in later) < max(len(batch.lines()) for batch in batches)


@pytest.mark.parametrize("position", [0, 17, 49])
async def test_a_poison_record_is_buried_alone(far, session, tmp_path, position):
    sink = near(far, session)
    sent = records(50)
    sent[position].raw = b'{"poison":"pill"}'
    far.poison = b"pill"
    async with delivered(tmp_path, sink, *sink.encode(sent, METADATA)) as outbox:
        assert outbox.dead_letters["default"].records == 1
    expected = raw(sent[:position] + sent[position + 1 :])
    assert set(far.events()) == set(expected)
    if far.is_idempotent:
        assert far.events() == expected


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (400, BatchRejected),
        (413, BatchTooLarge),
        *((status, SinkRefused) for status in (301, 401, 403, 404)),
        *((status, SinkUnavailable) for status in (429, 500, 502, 503, 504)),
    ],
)
async def test_each_status_has_its_class_and_no_message_holds_a_credential(far, session, status, means):
    sink = near(far, session)
    batch = one_batch(sink, 1)
    far.fail(Status(status, " ".join(far.secrets()).encode() + b" no " + b"y" * 2000))
    with pytest.raises(means) as caught:
        await sink.send(batch)
    assert caught.value.code == status
    assert " no yyy" in caught.value.info
    assert not [secret for secret in far.secrets() if secret in messages(caught.value)]


async def test_a_wait_that_the_sink_asks_for_is_told(far, session):
    sink = near(far, session)
    far.fail(Status(429, headers=(("Retry-After", "7"),)))
    with pytest.raises(SinkUnavailable) as caught:
        await sink.send(one_batch(sink, 1))
    assert caught.value.retry_after == 7


async def test_a_redirect_is_refused_and_carries_no_credential_away(far, session):
    sink = near(far, session)
    canary = Canary(far.secrets())
    async with canary.serve() as elsewhere:
        far.fail(Redirect(f"{elsewhere}/x", 307))
        with pytest.raises(SinkRefused, match="check its url"):
            await sink.send(one_batch(sink, 1))
    assert canary.requests == []


async def test_a_check_reaches_the_sink_and_delivers_nothing(far, session):
    assert await near(far, session).check()
    assert far.events() == []


async def test_a_check_with_a_wrong_credential_says_so_and_not_which(far, session):
    options = far.wrong_credential()
    with pytest.raises(SinkRefused) as caught:
        await near(far, session, **options).check()
    assert caught.value.code in {401, 403}
    assert not [secret for secret in far.secrets() if secret in messages(caught.value)]


async def test_a_check_of_a_sink_that_is_away_says_so(far, session):
    await far.go_down()
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await near(far, session).check()


async def test_the_same_lines_are_the_same_bytes_in_every_process(far, session):
    sink = near(far, session)
    batch = one_batch(sink, 20)
    first, second = batch.split()
    assert igzip.decompress(first.body) + igzip.decompress(second.body) == batch.lines()
    assert one_batch(near(far, session), 20).body == batch.body


async def test_what_waited_while_its_sink_became_another_is_kept_as_dead_letters(far, session, tmp_path):
    others = [stand_in for name, stand_in in STAND_INS.items() if name != far.type]
    batches = []
    for make in others:
        async with (other := make()).serve():
            batches += near(other, session).encode(records(10), METADATA)
    if far.type == "http":
        pytest.skip("it takes whatever its layout is, so it cannot tell")
    async with delivered(tmp_path, near(far, session), *batches) as outbox:
        assert outbox.dead_letters["default"].records == 30
    assert far.posts == []


async def test_a_credential_in_the_url_gives_way_to_that_of_the_options(far, session):
    sink = near(far, session, url=far.settings()["url"].replace("//", "//somebody:geheimnis@"))
    assert await sink.send(one_batch(sink, 1)) is None
    far.fail(Status(500, b"geheimnis c29tZWJvZHk6Z2VoZWltbmlz somebody"))
    with pytest.raises(SinkUnavailable) as caught:
        await sink.send(one_batch(sink, 1))
    assert "geheimnis" not in messages(caught.value)


async def test_a_credential_in_the_url_is_one(session):
    far = Http()
    async with far.serve():
        far.knobs.authorization = "Basic d3JpdGVyOmdlaGVpbQ=="
        sink = near(far, session, url=far.base_url.replace("//", "//writer:geheim@"), headers={})
        assert await sink.send(one_batch(sink, 1)) is None


@pytest.mark.parametrize("time_ms", [None, 0, -1, 10**18, -(10**18)])
@pytest.mark.parametrize("metadata", [METADATA, replace(METADATA, source_type="", stream="health", category=None)])
async def test_no_record_is_too_odd_to_be_finished_and_taken(far, session, time_ms, metadata):
    sink = near(far, session)
    odd = [
        Record(b'{"a":1e999,"a":2,"big":123456789012345678901234567890}', "i" * 2000, time_ms, "\r\n"),
        Record(
            b'{"\\u0000":"\\ud800","_id":"x","data_stream":1,"@timestamp":2,"fields":3}', "\x00\x7f\u2028", time_ms, ""
        ),
        Record(b'{"text":"\xf0\x9f\x92\xa9"}', "\U0001f4a9", time_ms, "\U0001f4a9"),
    ]
    for batch in sink.encode(odd, metadata):
        assert await sink.send(batch) is None
    assert len(far.events()) == 3
