"""The Splunk sink: events as HEC wants them, its codes judged, and acknowledgement by the indexers."""

from dataclasses import replace

import anyio
import pytest

from collectord.demo.faults import HtmlPage, JsonObject, Reset, Rewrite, Status
from collectord.errors import BatchRejected, SinkRefused, SinkUnavailable
from collectord.records import Record
from tests.sinks.sending import METADATA, delivered, near, one_batch, raw, records
from tests.sinks.splunk_hec import SplunkHec, said
from tests.sinks.stand_in import SECRET


@pytest.fixture
async def far():
    stand_in = SplunkHec()
    async with stand_in.serve():
        yield stand_in


@pytest.fixture
async def acknowledging():
    stand_in = SplunkHec(acknowledgement=True)
    async with stand_in.serve():
        yield stand_in


def saying(code, **more):
    return Rewrite(lambda _: said(code, **more), vendor_acts=False)


async def test_an_event_says_when_where_and_what_it_is(far, session):
    sink = near(far, session, index="security")
    await sink.send(one_batch(sink, 1))
    (event,) = far.held
    assert event.pop("raw") == records(1)[0].raw
    assert event == {
        "time": 1_789_999_000.0,
        "host": "soc-1",
        "source": "okta-prod",
        "sourcetype": "okta:events",
        "index": "security",
        "event": {"uuid": "id-0", "filler": ""},
        "fields": {"category": "sec/okta", "stream": "events", "env": "prod", "record_id": "id-0"},
    }


@pytest.mark.parametrize(
    ("source_type", "stream", "sourcetype"),
    [
        ("SentinelOne Mgmt API", "threats", "sentinelone:threats"),
        ("Netskope", "alert", "netskope:alert"),
        ("SailPoint", "users", "sailpoint:users"),
        ("", "health", "collectord:health"),
        ("Acme Corp", "Big events", "acme_corp:big_events"),
    ],
)
async def test_the_source_type_tells_vendor_and_stream(far, session, source_type, stream, sourcetype):
    sink = near(far, session)
    (batch,) = sink.encode(records(1), replace(METADATA, source_type=source_type, stream=stream, category=None))
    await sink.send(batch)
    assert far.held[0]["sourcetype"] == sourcetype
    assert "category" not in far.held[0]["fields"]


async def test_what_the_options_say_goes_before(far, session):
    sink = near(far, session, host="h", source="s", sourcetype="t")
    (batch,) = sink.encode([Record(b'{"a":"\\u00e9\xc3\xa9"}', 'i"d')], METADATA)
    await sink.send(batch)
    (event,) = far.held
    assert (event["host"], event["source"], event["sourcetype"]) == ("h", "s", "t")
    assert "index" not in event
    assert event["time"] == 1_790_000_000.0
    assert event["raw"] == b'{"a":"\\u00e9\xc3\xa9"}'
    assert event["fields"]["record_id"] == 'i"d'


@pytest.mark.parametrize(
    ("code", "means", "hint"),
    [
        *((code, SinkRefused, "check its token") for code in (1, 2, 3, 4)),
        (7, SinkRefused, "check index"),
        (10, SinkRefused, "acknowledgement: true"),
        *((code, SinkRefused, "check token") for code in (21, 22)),
        *((code, BatchRejected, "cannot read the event") for code in (5, 6, 12, 13, 15)),
        *((code, SinkUnavailable, "answered") for code in (8, 9, 23, 26)),
    ],
)
async def test_each_code_has_its_meaning(far, session, code, means, hint):
    sink = near(far, session)
    far.fail(saying(code))
    with pytest.raises(means, match=hint) as caught:
        await sink.send(one_batch(sink, 2))
    assert SECRET not in f"{caught.value!r} {caught.value.info}"


async def test_a_queue_that_fills_up_has_taken_the_batch(far, session):
    sink = near(far, session)
    far.fail(saying(24))
    assert await sink.send(one_batch(sink, 2)) is None


async def test_of_a_poison_record_the_number_is_believed_and_the_others_follow_at_once(far, session, tmp_path):
    sink = near(far, session)
    sent = records(100)
    sent[30].raw = b'{"poison":"pill"}'
    sent[60].raw = b"{}"  # "Event field cannot be blank"
    far.poison = b"pill"
    async with delivered(tmp_path, sink, *sink.encode(sent, METADATA)) as outbox:
        assert outbox.dead_letters["default"].records == 2
    assert len(far.posts) == 3
    assert set(far.events()) == set(raw([*sent[:30], *sent[31:60], *sent[61:]]))


@pytest.mark.parametrize("number", [-1, 2, "1", None])
async def test_a_number_that_is_none_of_ours_is_not_believed(far, session, number):
    sink = near(far, session)
    far.fail(saying(6, **{"invalid-event-number": number}))
    with pytest.raises(BatchRejected):
        await sink.send(one_batch(sink, 2))


@pytest.mark.parametrize(
    "fault", [HtmlPage(), JsonObject(), JsonObject(b"[]"), Status(200), Status(204), saying(5)], ids=repr
)
async def test_a_success_that_is_not_hecs_is_none(far, session, fault):
    sink = near(far, session)
    far.fail(fault if not isinstance(fault, Rewrite) else JsonObject(b'{"text":"No data","code":5}'))
    with pytest.raises(SinkUnavailable, match="is its url right"):
        await sink.send(one_batch(sink, 2))


@pytest.mark.parametrize("path", ["", "/", "/services/collector", "/services/collector/event"])
async def test_the_address_may_hold_the_endpoints_path_or_not(far, session, path):
    sink = near(far, session, url=far.base_url + path)
    assert await sink.send(one_batch(sink, 1)) is None
    assert far.calls[-1].path == "/services/collector/event"


async def test_a_path_before_it_is_kept(far, session):
    sink = near(far, session, url=f"{far.base_url}/splunk/")
    with pytest.raises(SinkRefused, match="check its url"):
        await sink.send(one_batch(sink, 1))
    assert far.calls[-1].path == "/splunk/services/collector/event"


# ------------------------------------------------------------------------------------------ indexer acknowledgement


async def test_what_the_indexers_have_is_acknowledged_and_nothing_before(acknowledging, session):
    sink = near(acknowledging, session)
    for _ in range(3):
        await sink.send(one_batch(sink, 2))
    polls = [call for call in acknowledging.calls if call.path.endswith("/ack")]
    assert len(polls) == 9
    channels = {call.headers["X-Splunk-Request-Channel"] for call in acknowledging.calls}
    assert len(channels) == 1


async def test_what_the_indexers_never_have_is_unavailable(acknowledging, session):
    acknowledging.polls_until_indexed = 10**9
    sink = near(acknowledging, session, acknowledgement_timeout=0.3)
    with anyio.fail_after(5), pytest.raises(SinkUnavailable, match=r"acknowledged nothing within 0\.3 s"):
        await sink.send(one_batch(sink, 1))


async def test_a_question_that_fails_is_asked_again_and_the_batch_is_not_sent_twice(acknowledging, session):
    sink = near(acknowledging, session)
    acknowledging.fail(Reset(), path="*/ack")
    acknowledging.fail(Status(503), path="*/ack")
    acknowledging.fail(HtmlPage(), path="*/ack")
    await sink.send(one_batch(sink, 1))
    assert len(acknowledging.held) == 1


async def test_a_token_that_is_withdrawn_while_we_wait_is_refused(acknowledging, session):
    sink = near(acknowledging, session)
    acknowledging.fail(saying(1), path="*/ack")
    with pytest.raises(SinkRefused, match="check its token"):
        await sink.send(one_batch(sink, 1))


async def test_settings_that_do_not_fit_the_token_are_refused_with_the_way_out(far, acknowledging, session):
    sink = near(far, session, acknowledgement=True)
    with pytest.raises(SinkRefused, match="set acknowledgement: false"):
        await sink.send(one_batch(sink, 1))
    sink = near(acknowledging, session, acknowledgement=False)
    with pytest.raises(SinkRefused, match="set acknowledgement: true"):
        await sink.send(one_batch(sink, 1))


async def test_a_check_sees_whether_the_token_acknowledges(far, acknowledging, session):
    assert await near(acknowledging, session).check() == "127.0.0.1 knows the token"
    with pytest.raises(SinkRefused, match="set acknowledgement: false"):
        await near(far, session, acknowledgement=True).check()
    with pytest.raises(SinkRefused, match="set acknowledgement: true"):
        await near(acknowledging, session, acknowledgement=False).check()


async def test_a_check_of_something_else_says_so(far, session):
    for fault in (HtmlPage(), Status(400, b"what?")):
        far.fail(fault)
        with pytest.raises(SinkUnavailable, match="is its url right"):
            await near(far, session).check()
