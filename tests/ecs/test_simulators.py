"""What the simulated vendors send, odd records included: no operator is to drown in complaints about it."""

import json
from random import Random

import orjson
import pytest

from collectord.demo import netskope_odd, okta_odd, sailpoint_odd, sentinelone_odd
from collectord.demo.netskope_events import NetskopeEvents
from collectord.demo.okta_events import OktaEvents
from collectord.demo.okta_users import Directory
from collectord.demo.sailpoint_objects import SailPointObjects
from collectord.demo.sentinelone_objects import SentinelOneObjects
from collectord.ecs import DATASETS, mapper

NOW_MS = 1_788_249_600_123
OKTA, NETSKOPE, SAILPOINT = OktaEvents(1), NetskopeEvents(1), SailPointObjects(1, 900)
SENTINELONE = SentinelOneObjects(1, {"activities": 900, "threats": 3000, "agents": 3000})
DIRECTORY = Directory(1)
DIRECTORY.add(50, NOW_MS)


def event_of(source_type, stream):
    if source_type == "Netskope":
        return NETSKOPE.event(stream, NOW_MS // 1000)
    if source_type == "SentinelOne Mgmt API":
        return SENTINELONE.make(stream, "2535991889744749120", NOW_MS * 1000)
    if source_type == "SailPoint":
        return SAILPOINT.identity() if stream == "users" else SAILPOINT.event(SAILPOINT.event_id(), NOW_MS)
    if stream == "users":
        return json.loads(Random(1).choice([*DIRECTORY.users.values()]).render(omit_credentials=False))
    return OKTA.event(NOW_MS)


@pytest.mark.parametrize(("source_type", "stream"), DATASETS)
def test_usual_records_map_without_a_complaint_and_are_known(source_type, stream):
    to_document = mapper(source_type, stream)
    before = dict(to_document.unknown)
    for _ in range(100):
        document = json.loads(to_document(orjson.dumps(event_of(source_type, stream))))
        assert "error" not in document
        assert document["@timestamp"] >= (
            "1970" if (source_type, stream) == ("SailPoint", "users") else "2026-09-01T08"
        )
    assert to_document.unknown == before


COMPLAINED_OF = {"word_timestamp", "infinite_number", "huge_exponent", "lone_surrogate"}
"""Kinds that lose a field, or were no strict JSON."""
ODD = [
    (source_type, stream, kind, make)
    for source_type, stream, module in (
        ("Okta", "events", okta_odd),
        ("Netskope", "application", netskope_odd),
        ("SailPoint", "events", sailpoint_odd),
        ("SentinelOne Mgmt API", "activities", sentinelone_odd),
    )
    for kind, make in module.ODD.items()
]


@pytest.mark.parametrize(("source_type", "stream", "kind", "make"), ODD, ids=[f"{one[0]}-{one[2]}" for one in ODD])
def test_odd_records_keep_their_fields(source_type, stream, kind, make):
    raw = make(event_of(source_type, stream))
    document = json.loads(mapper(source_type, stream)(raw))
    assert document["event"]["kind"] in {"event", "alert"}
    assert document["event"].get("category")
    if "error" in document:
        assert document["event"]["original"] == raw.decode()
    has_reason = kind in COMPLAINED_OF or (source_type, kind) == ("SailPoint", "type_drift")
    assert ("error" in document) == has_reason, document.get("error")
