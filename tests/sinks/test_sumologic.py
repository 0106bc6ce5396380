"""The Sumo Logic sink: metadata in headers, right for each record, and no more requests than it takes."""

import random
from dataclasses import replace

import pytest

from collectord.demo.faults import Status
from collectord.errors import SinkRefused, SinkUnavailable
from collectord.records import Record
from tests.fakes import acceptance, open_outbox
from tests.sinks.sending import METADATA, delivered, near, one_batch, raw, records
from tests.sinks.stand_in import SECRET
from tests.sinks.sumologic import Message, SumoLogic
from tests.test_delivering import delivering, drained

SIEM = {"_siemVendor": "Okta", "_siemProduct": "SSO", "_siemFormat": "JSON"}
FORWARDED = replace(METADATA, siem=SIEM)


@pytest.fixture
async def far():
    stand_in = SumoLogic()
    async with stand_in.serve():
        yield stand_in
    assert stand_in.violations == []


def of_kinds(*kinds):
    return [Record(b'{"n":%d}' % at, f"id-{at}", 1_789_999_000_000 + at, kind) for at, kind in enumerate(kinds)]


async def sent(sink, these, metadata=FORWARDED):
    batches = sink.encode(these, metadata)
    for batch in batches:
        await sink.send(batch)
    return batches


async def test_a_message_is_the_vendors_object_and_the_headers_say_the_rest(far, session):
    await sent(near(far, session), of_kinds("user.session.start"))
    fields = {**SIEM, "_siemForward": "true", "_siemEventID": "user.session.start", "env": "prod"}
    assert far.messages == [Message(b'{"n":0}', "okta-prod", "soc-1", "sec/okta", fields)]
    assert far.posts[0].headers["X-Sumo-Client"] == "collectord"


async def test_without_forwarding_there_is_nothing_for_the_siem(far, session):
    batches = await sent(near(far, session), of_kinds("a", "b", "a"), METADATA)
    assert len(batches) == 1
    assert far.messages[0].fields == {"env": "prod"}
    plain = replace(METADATA, category=None, fields={})
    await sent(near(far, session), of_kinds("a"), plain)
    assert not {"X-Sumo-Fields", "X-Sumo-Category"} & set(far.posts[-1].headers)


async def test_the_data_type_of_an_inventory_is_said(far, session):
    await sent(near(far, session), of_kinds(None), replace(FORWARDED, data_type="Inventory"))
    assert far.messages[0].fields["_siemDataType"] == "Inventory"
    assert "_siemEventID" not in far.messages[0].fields


async def test_each_record_has_its_own_event_id_and_those_of_one_share_a_request(far, session):
    kinds = random.Random(1).choices([f"user.kind.{number}" for number in range(20)], k=1000)
    these = of_kinds(*kinds)
    batches = await sent(near(far, session), these)
    assert len(batches) == len(far.posts) == 20
    kind_of = {bytes(record.raw): record.event_id for record in these}
    assert len(far.messages) == 1000
    assert all(message.fields["_siemEventID"] == kind_of[message.text] for message in far.messages)
    for kind in set(kinds):  # of one kind, in the vendor's order
        got = [message.text for message in far.messages if message.fields["_siemEventID"] == kind]
        assert got == raw(record for record in these if record.event_id == kind)


async def test_a_request_for_each_record_can_be_avoided(far, session):
    these = of_kinds(*(f"activities - {number}" for number in range(300)))
    assert len(await sent(near(far, session), these)) == 300
    far.messages.clear()
    assert len(await sent(near(far, session, siem_event_id=False), these)) == 1
    assert "_siemEventID" not in far.messages[0].fields
    assert far.messages[0].fields["_siemVendor"] == "Okta"


async def test_what_a_vendor_writes_cannot_become_a_header_or_a_field_of_its_own(far, session):
    nasty = "a\r\nX-Evil: 1\x00, _siemVendor=Evil\u2028" + "y" * 500
    metadata = replace(FORWARDED, source="okta\nprod", category="ö, ä = ü", fields={"te,am=": "x=1,y=2", "none": " "})
    await sent(near(far, session), of_kinds(nasty), metadata)
    (message,) = far.messages
    assert message.name == "okta_prod"
    assert message.category == "ö, ä = ü"
    assert message.fields["te_am:"] == "x:1_y:2"
    assert message.fields["_siemVendor"] == "Okta"
    assert message.fields["_siemEventID"].startswith("a_X-Evil: 1_")
    assert len(message.fields["_siemEventID"]) == 200
    assert "none" not in message.fields
    assert "X-Evil" not in far.posts[0].headers


async def test_a_batch_that_was_kept_and_split_still_knows_its_metadata(far, session, tmp_path):
    sink = near(far, session)
    these = of_kinds(*["a", "b"] * 50)
    batches = sink.encode(these, FORWARDED)
    far.largest = 100
    async with delivered(tmp_path, sink, *batches) as outbox:
        assert outbox.dead_letters["default"].records == 0
    assert len(far.messages) == 100
    kind_of = {bytes(record.raw): record.event_id for record in these}
    assert all(message.fields["_siemEventID"] == kind_of[message.text] for message in far.messages)


async def test_a_success_with_a_problem_is_delivered_and_warns_until_there_is_none(far, session, tmp_path):
    sink = near(far, session)
    far.problem = b'{"status":200,"id":"X","code":"fields.dropped","message":"key %s"}' % SECRET.encode()
    async with open_outbox(tmp_path) as outbox, delivering(outbox, sink) as delivery:
        await outbox.accept(acceptance(1, one_batch(sink, 2)))
        await drained(outbox, 20)
        (event,) = delivery._health.open_events.values()
        assert (event.name, event.severity) == ("SinkWarned", "Warning")
        assert "fields.dropped" in event.error
        assert SECRET not in event.error
        assert delivery.status.state == "Healthy"
        far.problem = b""
        await outbox.accept(acceptance(2, one_batch(sink, 2)))
        await drained(outbox, 20)
        assert not delivery._health.open_events
    assert len(far.messages) == 4


async def test_a_request_that_took_too_long_makes_the_next_ones_smaller(far, session):
    sink = near(far, session)
    large = sink.encode(records(2000, filler=b"x" * 1000), METADATA)
    far.fail(Status(408))
    with pytest.raises(SinkUnavailable):
        await sink.send(large[0])
    assert len(sink.encode(records(2000, filler=b"x" * 1000), METADATA)) > len(large)


async def test_a_url_that_is_not_known_any_more_is_refused(far, session):
    sink = near(far, session, **far.wrong_credential())
    with pytest.raises(SinkRefused, match="check its url") as caught:
        await sink.send(one_batch(sink, 1))
    assert SECRET not in f"{caught.value!r} {caught.value.info}"
