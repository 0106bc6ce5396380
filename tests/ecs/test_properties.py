"""Whatever a vendor sends, there is one document, and Elasticsearch can take it."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from collectord.ecs import allowed, mapper, tables
from tests.ecs.documents import STREAMS, leaves

WORDS = (
    "SUCCESS",
    "User",
    "yes",
    "203.0.113.7",
    "null",
    "{a=b, c}",
    '{"a":1}',
    "a@b.test",
    "2026-09-01T08:00:00Z",
    "https://a/",
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(WORDS)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPES = {
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "flag": lambda value: isinstance(value, bool),
    "time": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", value),
    "text": lambda value: isinstance(value, str),
    "lower": lambda value: value == value.lower(),
    "ip": lambda value: re.fullmatch(r"[\d.]+|[\da-fA-F:.]+", value),
    "ips": lambda value: re.fullmatch(r"[\d.]+|[\da-fA-F:.]+", value),
    "texts": lambda value: isinstance(value, str) and value,
}


@st.composite
def records(draw, dataset):
    """Records whose members stand where the table looks for them, and hold anything at all."""
    table = tables.read(dataset)
    paths = sorted(
        {path for row in table.rows for path in row.sources} | {path for one in table.decisions for path in one.sources}
    )
    paths.remove(".") if "." in paths else None
    record = draw(st.dictionaries(st.text(max_size=5), VALUES, max_size=3))
    for path in draw(st.lists(st.sampled_from(paths), max_size=15)):
        put(record, [step for step in re.split(r"\.(?![^\[]*\])", path) if step], draw(VALUES))
    return record


def put(place, steps, value):
    for step in steps[:-1]:
        key, bracket, condition = step.partition("[")
        inner = place.get(key)
        if bracket:
            inner = inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], dict) else {}
            place[key] = [inner]
            if condition != "]":
                member, _, wanted = condition[:-1].partition("=")
                inner[member] = wanted
        elif not isinstance(inner, dict):
            inner = place[key] = {}
        place = inner
    place[steps[-1].partition("[")[0]] = value


@given(st.data(), st.sampled_from(sorted(STREAMS)))
def test_no_record_is_dropped_and_every_document_is_one_that_elasticsearch_takes(data, dataset):
    record = data.draw(records(dataset))
    raw = json.dumps(record).encode()
    line = mapper(*STREAMS[dataset])(raw)
    assert b"\n" not in line
    document = json.loads(line)
    event = document["event"]
    assert event["dataset"] == dataset
    assert TYPES["time"](document["@timestamp"])
    assert event["kind"] in allowed.KINDS - {"pipeline_error"}, (record, document["error"])
    assert event.get("outcome", "unknown") in allowed.OUTCOMES
    assert allowed.faults(event.get("category", ()), event.get("type", ())) == []
    assert ("error" in document) == ("original" in event)
    if "error" in document:
        assert event["original"] == raw.decode()
    assert all(all(part.strip() for part in name.split(".")) for name, _ in leaves(document) if name)


@given(st.data(), st.sampled_from(sorted(STREAMS)))
def test_a_field_has_values_of_one_type_whatever_came(data, dataset):
    document = json.loads(mapper(*STREAMS[dataset])(json.dumps(data.draw(records(dataset))).encode()))
    types = {target.replace("[]", ""): row.operation for row in tables.read(dataset).rows for target in row.targets}
    for name, value in leaves(document):
        if check := TYPES.get(types.get(name, "")):
            assert check(value), (name, value)


@given(st.binary(max_size=200), st.sampled_from(sorted(STREAMS)))
def test_bytes_that_are_nothing_become_a_document_too(raw, dataset):
    document = json.loads(mapper(*STREAMS[dataset])(raw))
    assert document["event"]["original"] == raw.decode("utf-8", "replace")
    assert document["error"]["message"]


@given(st.data(), st.sampled_from(sorted(STREAMS)))
def test_a_document_does_not_depend_on_what_was_mapped_before(data, dataset):
    map_one = mapper(*STREAMS[dataset])
    first, other = (json.dumps(data.draw(records(dataset))).encode() for _ in range(2))
    alone = map_one(first)
    map_one(other)
    assert map_one(first) == alone
