"""The Elasticsearch sink: documents judged one by one, none twice, in the data stream where they belong."""

import base64
from dataclasses import replace

import orjson
import pytest

from collectord.demo.exchange import Answer
from collectord.demo.faults import HtmlPage, JsonObject, Rewrite, Status
from collectord.errors import SinkRefused, SinkUnavailable
from collectord.records import Record
from collectord.sources import SOURCE_TYPES
from tests.sinks.elasticsearch import Elasticsearch
from tests.sinks.sending import METADATA, delivered, near, one_batch, raw, records
from tests.sinks.stand_in import SECRET


@pytest.fixture(params=[False, True], ids=["elasticsearch", "opensearch"])
async def far(request):
    stand_in = Elasticsearch(opensearch=request.param)
    async with stand_in.serve():
        yield stand_in
    assert stand_in.violations == []


def saying(verdicts):
    """Documents that hold these bytes get this verdict, as often as it stands there; then they are taken."""
    left = {text: list(given) for text, given in verdicts.items()}

    def verdict(document):
        for text, given in left.items():
            if text in document and given:
                return given.pop(0)
        return None

    return verdict


BUSY = (429, "es_rejected_execution_exception", "rejected execution of coordinating operation")
BROKEN = (503, "unavailable_shards_exception", "primary shard is not active")
ODD = (302, "found", "elsewhere")
BAD = (400, "document_parsing_exception", "failed to parse field [x]")


async def test_each_document_is_judged_by_itself(far, session, tmp_path):
    sink = near(far, session)
    far.verdict = saying(
        {b"id-3\\": [BUSY, BUSY], b"id-4\\": [BAD], b"id-5\\": [BROKEN], b"id-6\\": [BUSY, BAD], b"id-7\\": [ODD]}
    )
    sent = records(10)
    async with delivered(tmp_path, sink, *sink.encode(sent, METADATA)) as outbox:
        assert outbox.dead_letters["default"].records == 2
    assert sorted(far.events()) == sorted(raw([*sent[:4], sent[5], *sent[7:]]))
    lines = [call.body for call in far.posts]
    assert len(lines) == 3  # all ten; then the four that were put off; then the one that was put off again


async def test_what_is_there_already_is_done_whatever_stands_beside_it(far, session, tmp_path):
    sink = near(far, session)
    first, second = one_batch(sink, 5), one_batch(sink, 10)
    async with delivered(tmp_path, sink, first, second) as outbox:
        assert outbox.dead_letters["default"].records == 0
    assert far.events() == raw(records(10))


async def test_a_page_collected_again_changes_nothing(far, session):
    sink = near(far, session, format="ecs")
    await sink.send(one_batch(sink, 10))
    before = dict(far.documents)
    (again,) = sink.encode(records(10), replace(METADATA, receipt_ms=METADATA.receipt_ms + 86_400_000))
    assert await sink.send(again) is None
    assert far.documents == before


async def test_ids_differ_by_source_and_by_stream(far, session):
    sink = near(far, session)
    for metadata in (METADATA, replace(METADATA, source="okta-eu"), replace(METADATA, stream="users")):
        for batch in sink.encode(records(1), metadata):
            await sink.send(batch)
    assert len({id_ for _, id_ in far.documents}) == 3


@pytest.mark.parametrize("verdict", [(403, "security_exception", "unauthorized"), (401, "security_exception", "who?")])
async def test_what_is_not_the_documents_fault_buries_nothing(far, session, verdict):
    sink = near(far, session)
    far.verdict = lambda _: verdict
    with pytest.raises(SinkRefused, match="create_doc") as caught:
        await sink.send(one_batch(sink, 10))
    assert caught.value.code == verdict[0]


async def test_the_wait_of_a_part_is_that_of_the_answer(far, session):
    sink = near(far, session)
    far.verdict = saying({b"id-3\\": [BUSY]})
    far.fail(Rewrite(lambda answer: answer.adding(("Retry-After", "9"))))
    outcome = await sink.send(one_batch(sink, 5))
    assert outcome.because.retry_after == 9
    assert "1 of 5 documents: 429 es_rejected_execution_exception" in outcome.because.message
    assert b"id-3" in outcome.rest.lines()
    assert outcome.rest.count == 1


@pytest.mark.parametrize(
    "fault",
    [
        HtmlPage(),
        JsonObject(),
        JsonObject(b'{"items":[]}'),
        JsonObject(b'{"items":[{"create":{"status":201}}]}'),
        JsonObject(b'{"errors":false}'),
        Status(200, b""),
        Status(204),
    ],
    ids=repr,
)
async def test_a_success_that_does_not_speak_of_each_document_is_none(far, session, fault):
    sink = near(far, session)
    far.fail(fault)
    with pytest.raises(SinkUnavailable, match="did not answer as _bulk does; is its url right"):
        await sink.send(one_batch(sink, 2))


async def test_a_result_that_is_longer_than_asked_for_is_read_as_well(far, session):
    def with_more(answer):
        items = orjson.loads(answer.body)["items"]
        full = [{"create": {**item["create"], "_index": "x", "_shards": {}, "result": "created"}} for item in items]
        return Answer.json({"took": 1, "errors": False, "items": full})

    sink = near(far, session)
    far.fail(Rewrite(with_more))
    assert await sink.send(one_batch(sink, 1000)) is None
    assert len(far.events()) == 1000


@pytest.mark.parametrize(
    ("source_type", "stream", "name"),
    [
        ("Okta", "events", "okta.system"),
        ("Okta", "users", "okta.users"),
        ("SailPoint", "events", "sailpoint_identity_sc.events"),
        ("SailPoint", "users", "sailpoint_identity_sc.identities"),
        ("SentinelOne Mgmt API", "activities", "sentinel_one.activity"),
        ("SentinelOne Mgmt API", "threats", "sentinel_one.threat"),
        ("SentinelOne Mgmt API", "agents", "sentinel_one.agent"),
        ("Netskope", "alert", "netskope.alerts"),
        ("Netskope", "page", "netskope.events"),
        ("Acme", "Big events", "acme.big_events"),
        ("", "health", "collectord.health"),
    ],
)
@pytest.mark.parametrize("form", ["ecs", "original"])
async def test_every_stream_has_its_data_stream(far, session, source_type, stream, name, form):
    sink = near(far, session, format=form, namespace="prod")
    # Netskope's own `_id` and SailPoint's `_type` and `_version` must not come to stand at the top of a document.
    record = Record(b'{"_id":"a","_type":"event","_version":"v2","id":"1","uuid":"1"}', "1", 1_789_999_000_123)
    for batch in sink.encode([record], replace(METADATA, source_type=source_type, stream=stream)):
        assert await sink.send(batch) is None
    if form == "original" and name.startswith("netskope"):
        name += "_v2"
    (((index, _), document),) = far.documents.items()
    assert index == f"logs-{name}-prod"
    assert document["event"]["dataset"] == name
    assert document["labels"]["env"] == "prod"
    if form == "original" or source_type in {"Acme", ""}:
        assert document["message"].encode() == record.raw
        assert document["@timestamp"] == "2026-09-21T13:56:40.123Z"


async def test_every_stream_of_every_source_type_is_taken_in_both_formats(far, session):
    for form in ("ecs", "original"):
        sink = near(far, session, format=form)
        for kind in SOURCE_TYPES.values():
            for stream in kind.streams:
                for batch in sink.encode(records(2), replace(METADATA, source_type=kind.name, stream=stream)):
                    assert await sink.send(batch) is None


@pytest.mark.parametrize("time_ms", [None, 10**18, -(10**18)])
async def test_a_record_without_a_time_that_can_be_is_as_old_as_its_receipt(far, session, time_ms):
    sink = near(far, session)
    (batch,) = sink.encode([Record(b'{"x":"\xff"}', "1", time_ms)], METADATA)
    await sink.send(batch)
    (document,) = far.documents.values()
    assert document["@timestamp"] == "2026-09-21T14:13:20.000Z"
    assert document["message"] == '{"x":"\ufffd"}'


async def test_the_original_is_kept_beside_ecs_when_asked_for(far, session):
    sink = near(far, session, format="ecs", preserve_original_event=True)
    await sink.send(one_batch(sink, 1))
    (document,) = far.documents.values()
    assert document["event"]["original"].encode() == records(1)[0].raw


async def test_a_pipeline_is_asked_for_by_name(far, session):
    sink = near(far, session, pipeline="my-pipeline")
    await sink.send(one_batch(sink, 1))
    assert far.posts[0].query["pipeline"] == "my-pipeline"


async def test_a_key_is_taken_encoded_as_well(session):
    far = Elasticsearch()
    async with far.serve():
        sink = near(far, session, api_key=base64.b64encode(f"id:{SECRET}".encode()).decode())
        assert await sink.send(one_batch(sink, 1)) is None


async def test_the_address_may_have_a_path(far, session):
    sink = near(far, session, url=f"{far.base_url}/elastic/")
    with pytest.raises(SinkRefused, match="check its url"):
        await sink.send(one_batch(sink, 1))
    assert far.posts[0].path == "/elastic/_bulk"


async def test_a_check_names_product_and_version(far, session):
    name = "OpenSearch 2.17.0" if far.opensearch else "Elasticsearch 8.15.0"
    assert await near(far, session).check() == f"127.0.0.1 is {name}"


async def test_a_credential_that_may_only_write_passes_the_check(far, session):
    far.may_monitor = False
    assert "knows the credential" in await near(far, session).check()


async def test_a_check_of_something_else_says_so(far, session):
    far.fail(HtmlPage())
    with pytest.raises(SinkUnavailable, match="is no Elasticsearch, nor OpenSearch"):
        await near(far, session).check()


async def test_a_pipeline_that_is_not_there_buries_nothing_and_a_check_finds_it(far, session):
    sink = near(far, session, pipeline="other")
    with pytest.raises(SinkRefused, match="check pipeline"):
        await sink.send(one_batch(sink, 10))
    with pytest.raises(SinkRefused, match="has no ingest pipeline other"):
        await sink.check()
    far.may_monitor = False
    assert await sink.check()
    for name in ("my-pipeline", "_none"):
        far.may_monitor = True
        assert await near(far, session, pipeline=name).check()
