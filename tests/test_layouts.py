"""What stands on a line: INTERFACE section 4, with the event's own bytes."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.demo.envelope import read_line
from collectord.layouts import batches
from collectord.records import Metadata, Record, Repaired
from collectord.splitting import slices
from tests.fakes import METADATA

EVENT = b'{"uuid": "1","n":123456789012345678901234567890,"n":1e400,"s":"\\ud800"}'
SIEM = {"_siemVendor": "Okta", "_siemProduct": "SSO", "_siemFormat": "JSON"}
FULL = Metadata(
    collector="soc-1",
    source="okta-prod",
    category="sec/okta",
    stream="users",
    receipt_ms=1788220802000,
    siem=SIEM,
    data_type="Inventory",
    fields={"team": "iam", "env": "prod"},
)


def lines(layout: Any, records: list[Record], metadata: Metadata = METADATA, *, max_bytes: int = 2**20) -> list[bytes]:
    finished = batches(layout, records, metadata, max_bytes=max_bytes, compress=False)
    return [line for batch in finished for line in batch.lines().splitlines(keepends=True)]


def line(layout: Any, record: Record, metadata: Metadata = METADATA) -> bytes:
    (only,) = lines(layout, [record], metadata)
    assert only.endswith(b"\n")
    return only[:-1]


def members(raw: bytes) -> list[tuple[str, Any]]:
    """Names and values in order; a name that comes twice is there twice."""
    return json.loads(raw, object_pairs_hook=list)


# ------------------------------------------------------------------------------------------------------------- envelope


def test_envelope_has_every_key_in_its_order():
    record = Record(Repaired(EVENT), "id-1", 1788220801234, "user.session.start")
    head = (
        b'{"_collector":"soc-1","_source":"okta-prod","_sourceCategory":"sec/okta","_stream":"users","_id":"id-1",'
        b'"_messageTime":1788220801234,"_receiptTime":1788220802000,"_repaired":true,"_siemVendor":"Okta",'
        b'"_siemProduct":"SSO","_siemFormat":"JSON","_siemEventID":"user.session.start","_siemDataType":"Inventory",'
        b'"fields":{"team":"iam","env":"prod"},"event":'
    )
    assert line("envelope", record, FULL) == head + EVENT + b"}"


def test_envelope_leaves_out_what_there_is_nothing_to_say_of():
    head = b'{"_collector":"soc-1","_source":"okta-prod","_stream":"events","_id":"id-1","_receiptTime":1788220802000,'
    assert line("envelope", Record(EVENT, "id-1")) == head + b'"event":' + EVENT + b"}"


def test_event_id_is_for_the_siem_alone():
    assert b"_siemEventID" not in line("envelope", Record(EVENT, "1", None, "user.session.start"))
    assert b"_siemEventID" not in line("envelope", Record(EVENT, "1"), replace(METADATA, siem=SIEM))
    assert b"_siemEventID" not in line("envelope", Record(EVENT, "1", None, ""), replace(METADATA, siem=SIEM))


def test_time_before_1970_and_time_zero_are_times():
    assert b'"_messageTime":0,' in line("envelope", Record(EVENT, "1", 0))
    assert b'"_messageTime":-1,' in line("envelope", Record(EVENT, "1", -1))


events = st.dictionaries(
    st.text(st.characters(exclude_categories=[]), max_size=6), st.integers() | st.text() | st.none(), max_size=4
).map(lambda value: json.dumps(value, indent=None, ensure_ascii=bool(len(value) % 2)).encode("utf-8", "surrogatepass"))
names = st.text(min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=[]), max_size=8)
metadatas = st.builds(
    Metadata,
    collector=names,
    source=names,
    category=st.none() | names,
    stream=names,
    receipt_ms=st.integers(0, 2**45),
    siem=st.sampled_from([{}, SIEM]),
    data_type=st.sampled_from([None, "Inventory"]),
    fields=st.dictionaries(names, st.text(max_size=8), max_size=4),
)


@given(metadatas, st.lists(st.tuples(events, names, st.none() | st.integers(-(2**40), 2**45), st.none() | texts)))
def test_every_line_is_an_envelope_that_holds_the_events_exact_bytes(metadata, drawn):
    page = b"[" + b",".join(event for event, *_ in drawn) + b"]"
    records = [Record(raw, *rest) for raw, (_, *rest) in zip(slices(page), drawn, strict=True)]
    for written, record in zip(lines("envelope", records, metadata), records, strict=True):
        read, complaints = read_line(written[:-1])
        assert not complaints
        assert read.event == bytes(record.raw)
        assert (read.source, read.stream, read.id) == (metadata.source, metadata.stream, record.id)
        envelope = dict(members(written))
        assert envelope.get("_messageTime") == record.time_ms
        assert envelope.get("_repaired", False) is record.repaired
        assert dict(envelope.get("fields", [])) == metadata.fields
        assert written.count(b"\n") == 1


# ----------------------------------------------------------------------------------------------------------------- flat


def test_flat_is_one_object_with_ours_first_then_custom_fields_then_the_events_own():
    record = Record(b'{ "uuid": "1", "n":  123456789012345678901234567890, "deep": {"a": [1, 2]} }', "id-1", 5)
    assert line("flat", record, replace(FULL, siem={}, data_type=None)) == (
        b'{"_collector":"soc-1","_source":"okta-prod","_sourceCategory":"sec/okta","_stream":"users","_id":"id-1",'
        b'"_messageTime":5,"_receiptTime":1788220802000,"team":"iam","env":"prod",'
        b'"uuid":"1","n":123456789012345678901234567890,"deep":{"a": [1, 2]}}'
    )


def test_flat_marks_a_repaired_record():
    assert (b"_repaired", True) in [
        (name.encode(), value) for name, value in members(line("flat", Record(Repaired(b"{}"), "1")))
    ]


def test_flat_moves_an_events_key_that_is_one_of_ours():
    record = Record(b'{"_id":"theirs","event._id":"x","event.event._id":"y","_sourceCategory":1,"_ids":2}', "ours")
    flat = dict(members(line("flat", record)))
    assert flat["_id"] == "ours"
    assert flat["event._id"] == "theirs"
    assert flat["event.event._id"] == "x"
    assert flat["event.event.event._id"] == "y"
    assert flat["event._sourceCategory"] == 1
    assert flat["_ids"] == 2


def test_flat_prefers_the_events_own_key_to_a_custom_field_and_ours_to_both():
    custom = {"team": "iam", "uuid": "custom", "_source": "custom", "event._id": "custom"}
    flat = members(line("flat", Record(b'{"uuid":"own","_id":"theirs"}', "1"), replace(METADATA, fields=custom)))
    assert dict(flat) | {"_receiptTime": 0} == {
        "_collector": "soc-1",
        "_source": "okta-prod",
        "_stream": "events",
        "_id": "1",
        "_receiptTime": 0,
        "team": "iam",
        "uuid": "own",
        "event._id": "theirs",
    }


@pytest.mark.parametrize(
    "odd",
    [b"[1,2]", b'"text"', b"null", b'{"\\ud800":1}', b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"],
    ids=lambda raw: repr(raw[:9]),
)
def test_flat_delivers_what_is_no_readable_object_whole_and_keeps_the_custom_fields(odd):
    written = line("flat", Record(odd, "1"), replace(METADATA, fields={"team": "iam", "event": "x"}))
    assert written.endswith(b',"team":"iam","event":' + odd + b"}")


ours = ["_id", "event._id", "event.event._id", "_repaired", "_siemVendor", "event", "fields", "team"]
keys = st.sampled_from(ours) | st.text(max_size=4)


@given(
    st.dictionaries(keys, st.integers() | st.text() | st.lists(st.integers())),
    st.dictionaries(keys, st.text()),
    metadatas,
)
def test_flat_never_has_a_key_twice_and_loses_no_value_of_the_event(event, fields, metadata):
    record = Record(msgspec.Raw(json.dumps(event).encode()), "id", 1, "kind")
    pairs = members(line("flat", record, replace(metadata, fields=fields)))
    flat = dict(pairs)
    assert len(flat) == len(pairs)
    assert (flat["_source"], flat["_id"], flat["_messageTime"]) == (metadata.source, "id", 1)
    for key, value in event.items():
        moved = key if key in flat and flat[key] == value else f"event.{key}"
        assert flat[moved] == value
    for key, value in fields.items():
        assert flat.get(key) == value or key in event or "_" in key


# ------------------------------------------------------------------------------------------------------------------ raw


@given(st.lists(events, min_size=1))
def test_raw_is_the_events_alone(drawn):
    split = slices(b"[" + b",".join(drawn) + b"]")
    written = lines("raw", [Record(raw, "1") for raw in split])
    assert written == [bytes(raw) + b"\n" for raw in split]


# -------------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("layout", ["envelope", "flat", "raw"])
@pytest.mark.parametrize("compress", [True, False])
@given(st.lists(st.integers(0, 400), max_size=30), st.integers(1, 2000))
def test_no_batch_is_larger_than_allowed_unless_it_is_a_single_record(layout, compress, sizes, max_bytes):
    records = [Record(b'{"n":%d,"x":"%s"}' % (number, b"x" * size), str(number)) for number, size in enumerate(sizes)]
    finished = batches(layout, records, METADATA, max_bytes=max_bytes, compress=compress)
    assert b"".join(batch.lines() for batch in finished) == b"".join(lines(layout, records))
    for batch in finished:
        assert batch.count == batch.lines().count(b"\n") > 0
        assert len(batch.lines()) <= max_bytes or batch.count == 1
        assert batch.encoding == ("gzip" if compress else "identity")


def test_batches_are_as_few_as_can_be():
    records = [Record(b"{}", "1")] * 10
    assert [batch.count for batch in batches("raw", records, METADATA, max_bytes=9, compress=False)] == [3, 3, 3, 1]


@pytest.mark.parametrize("layout", ["envelope", "flat", "raw"])
def test_no_records_are_no_batches(layout):
    assert batches(layout, [], METADATA, max_bytes=1000, compress=True) == []
