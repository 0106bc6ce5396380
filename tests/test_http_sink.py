"""The HTTP sink and its delivery against a strict local sink: what each answer means for a batch."""

import anyio
import pytest
from pydantic import SecretStr

from collectord.client import open_session
from collectord.demo.canary import Canary
from collectord.demo.faults import Redirect, Reset, Slow, Status
from collectord.demo.sink import NdjsonSink, SinkKnobs
from collectord.errors import BatchRejected, BatchTooLarge, SinkRefused, SinkUnavailable
from collectord.records import Metadata, Record
from collectord.settings import HttpSinkSettings
from collectord.sinks import open_sink

SECRET = "sink-canary-token"
METADATA = Metadata("soc-1", "okta-prod", "sec/okta", "events", 1_790_000_000_000)


@pytest.fixture
async def session():
    async with open_session() as opened:
        yield opened


@pytest.fixture
async def far():
    sink = NdjsonSink(SinkKnobs(authorization=f"Bearer {SECRET}"))
    async with sink.serve():
        yield sink


def near(far, session, **options):
    headers = {"Authorization": SecretStr(f"Bearer {SECRET}")}
    given = {"type": "http", "url": SecretStr(f"{far.base_url}/ingest?key={SECRET}"), "headers": headers, **options}
    return open_sink(HttpSinkSettings.model_validate(given), session)


def records(count, size=20):
    return [Record(b'{"n":%d,"pad":"%s"}' % (number, b"x" * size), f"id-{number}") for number in range(count)]


async def test_a_batch_arrives_as_it_was_finished(far, session):
    sink = near(far, session)
    (batch,) = sink.encode(records(3), METADATA)
    await sink.send(batch)
    assert [each.id for each in far.delivered("okta-prod", "events")] == ["id-0", "id-1", "id-2"]
    assert far.violations == []


@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_batches_keep_to_their_size_before_compression(far, session, compression):
    sink = near(far, session, max_batch_bytes=2048, compression=compression)
    batches = sink.encode(records(100), METADATA)
    assert len(batches) > 3
    assert all(len(batch.lines()) <= 2048 for batch in batches)


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (400, BatchRejected),
        (422, BatchRejected),
        (413, BatchTooLarge),
        *((status, SinkRefused) for status in (401, 403, 404, 405, 402, 410, 451)),
        *((status, SinkUnavailable) for status in (408, 409, 425, 429, 500, 502, 503, 504)),
    ],
)
async def test_each_status_has_its_class_and_no_message_holds_the_secret(far, session, status, means):
    sink = near(far, session)
    (batch,) = sink.encode(records(1), METADATA)
    far.fail(Status(status, b"no: " + b"y" * 2000))
    with pytest.raises(means) as caught:
        await sink.send(batch)
    assert caught.value.code == status
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.info}"


async def test_a_wait_that_the_sink_asks_for_is_told(far, session):
    sink = near(far, session)
    (batch,) = sink.encode(records(1), METADATA)
    far.fail(Status(429, headers=(("Retry-After", "7"),)))
    with pytest.raises(SinkUnavailable) as caught:
        await sink.send(batch)
    assert caught.value.retry_after == 7


async def test_the_same_batch_again_has_the_same_key_and_the_same_bytes(far, session):
    sink = near(far, session)
    (batch,) = sink.encode(records(5), METADATA)
    far.fail(Status(503, vendor_acts=True))  # stored, and the answer says otherwise
    with pytest.raises(SinkUnavailable):
        await sink.send(batch)
    await sink.send(batch)
    assert far.counters["posts"] == 2
    assert len(far.delivered("okta-prod", "events")) == 5
    assert far.violations == []


async def test_a_sink_that_is_silent_is_unavailable_after_the_time_out(far, session):
    sink = near(far, session, timeout=0.3)
    (batch,) = sink.encode(records(1), METADATA)
    far.fail(Slow(before=30))
    with anyio.fail_after(5), pytest.raises(SinkUnavailable, match=r"0\.3 s"):
        await sink.send(batch)


async def test_a_connection_that_breaks_is_unavailable(far, session):
    sink = near(far, session)
    (batch,) = sink.encode(records(1), METADATA)
    far.fail(Reset())
    with pytest.raises(SinkUnavailable):
        await sink.send(batch)


async def test_a_sink_that_is_not_there_is_unavailable(far, session):
    sink = near(far, session)
    (batch,) = sink.encode(records(1), METADATA)
    await far.go_down()
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await sink.send(batch)
    await far.come_back()
    await sink.send(batch)


async def test_a_redirect_is_refused_and_carries_no_credential_away(far, session):
    sink = near(far, session)
    (batch,) = sink.encode(records(1), METADATA)
    canary = Canary([SECRET])
    async with canary.serve() as elsewhere:
        far.fail(Redirect(f"{elsewhere}/x"))
        with pytest.raises(SinkRefused):
            await sink.send(batch)
    assert canary.requests == []


async def test_too_large_makes_the_next_batches_smaller_and_never_larger(far, session):
    sink = near(far, session, max_batch_bytes=200_000)
    big = sink.encode(records(900, size=100), METADATA)[0]
    far.knobs.max_batch_bytes = 50_000
    with pytest.raises(BatchTooLarge):
        await sink.send(big)
    smaller = sink.encode(records(900, size=100), METADATA)
    assert max(len(batch.lines()) for batch in smaller) <= len(big.lines()) // 2
    tiny = near(far, session, max_batch_bytes=2048)
    (batch, *_) = tiny.encode(records(100), METADATA)
    far.fail(Status(413))
    with pytest.raises(BatchTooLarge):
        await tiny.send(batch)
    assert all(len(batch.lines()) <= 2048 for batch in tiny.encode(records(100), METADATA))
