"""What every document has, and what the streams' own rules make of their records."""

import json

import pytest

from collectord.ecs import UnknownStream, dataset, mapper
from collectord.records import Metadata
from tests.ecs.documents import STREAMS, field, mapped, record_of

METADATA = Metadata("soc-1", "okta-prod", "sec/okta", "events", 1_788_249_600_000, fields={"team.name": "iam"})


def test_source_and_collector_stand_in_the_document():
    document = mapped("okta.system", {"uuid": "1"}, metadata=METADATA, namespace="prod")
    assert document["@timestamp"] == document["event"]["created"] == "2026-09-01T08:00:00.000Z"
    assert document["event"]["ingested"] == "2026-09-01T08:00:00.000Z"
    assert document["data_stream"] == {"type": "logs", "dataset": "okta.system", "namespace": "prod"}
    assert document["agent"] == {"name": "soc-1", "type": "collectord"}
    assert document["labels"] == {"source": "okta-prod", "source_category": "sec/okta", "team_name": "iam"}
    assert document["tags"] == ["forwarded", "okta-system"]


def test_the_original_is_kept_when_asked_for_byte_for_byte():
    raw = '{"uuid" : "1", "displayMessage":"Łódź"}'.encode()
    document = mapped("okta.system", raw, original=True)
    assert document["event"]["original"] == raw.decode()
    assert document["tags"] == ["preserve_original_event", "forwarded", "okta-system"]
    assert "original" not in mapped("okta.system", raw)["event"]


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_the_same_record_gives_the_same_bytes_on_one_line(name):
    raw = json.dumps(record_of(name)).encode()
    first, again = (mapper(*STREAMS[name])(raw) for _ in range(2))
    assert first == again
    assert b"\n" not in first


def test_a_stream_without_a_table_is_named_with_those_that_have_one():
    with pytest.raises(UnknownStream, match="'groups' of 'Okta'; there is: Okta events, Okta users, SailPoint events"):
        mapper("Okta", "groups")
    with pytest.raises(UnknownStream):
        dataset("Oktopus", "events")


def test_an_event_type_that_no_table_knows_is_mapped_and_counted():
    okta = mapper("Okta", "events")
    before = okta.unknown.get("spaceship.launch", 0)
    document, *_ = [json.loads(okta(b'{"eventType":"spaceship.launch"}')) for _ in range(3)]
    assert document["event"]["category"] == ["iam"]
    assert document["event"]["type"] == ["info"]
    assert document["event"]["action"] == "spaceship.launch"
    assert mapper("Okta", "events").unknown["spaceship.launch"] == before + 3


def test_the_count_of_unknown_event_types_is_bounded():
    sailpoint = mapper("SailPoint", "events")
    for number in range(1000):
        sailpoint(b'{"type":"KIND %d"}' % number)
    assert len(sailpoint.unknown) <= 257
    assert sum(sailpoint.unknown.values()) >= 1000


@pytest.mark.parametrize(
    ("event_type", "category", "types"),
    [
        ("user.session.start", ["authentication", "session"], ["start", "info"]),
        ("user.session.end", ["authentication", "session"], ["end", "info"]),
        ("user.authentication.sso", ["authentication"], ["info"]),
        ("user.authentication.auth_via_mfa", ["authentication"], ["info"]),
        ("user.authentication.verify", ["authentication"], ["info"]),
        ("policy.evaluate_sign_on", ["authentication"], ["info"]),
        ("group.user_membership.add", ["iam"], ["group", "change"]),
        ("user.lifecycle.create", ["iam"], ["user", "creation"]),
        ("policy.lifecycle.delete", ["configuration"], ["deletion"]),
        ("app.user_management", ["iam"], ["user", "change"]),
        ("device.user.add", ["host", "iam"], ["change", "user"]),
        ("security.request.blocked", ["intrusion_detection"], ["denied"]),
        ("security.threat.detected", ["threat"], ["indicator"]),
        ("system.api_token.create", ["iam", "configuration"], ["admin", "creation"]),
    ],
)
def test_okta_event_types_are_classified(event_type, category, types):
    event = mapped("okta.system", {"eventType": event_type})["event"]
    assert (event["category"], event["type"]) == (category, types)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [("SUCCESS", "success"), ("ALLOW", "success"), ("FAILURE", "failure"), ("DENY", "failure"), ("SKIPPED", "unknown")],
)
def test_okta_outcomes_are_words_of_ecs(result, outcome):
    assert mapped("okta.system", {"outcome": {"result": result}})["event"]["outcome"] == outcome


def test_okta_targets_are_sorted_by_their_type():
    people = [{"type": "UserGroup", "id": "g"}, {"type": "User", "id": "u1"}, {"type": "User", "id": "u2"}]
    document = mapped("okta.system", {"target": people})
    assert document["user"]["target"] == {"id": "u1", "group": {"id": "g"}}
    assert [target["id"] for target in document["okta"]["target"]] == ["g", "u1", "u2"]


@pytest.mark.parametrize(
    ("record", "category", "types", "outcome"),
    [
        ({"type": "AUTH", "status": "PASSED"}, ["iam", "authentication"], ["info", "start"], "success"),
        ({"type": "AUTH", "status": "FAILED"}, ["iam", "authentication"], ["info", "start"], "failure"),
        ({"type": "PASSWORD_ACTIVITY", "status": "STARTED"}, ["iam"], ["info", "user", "change"], "unknown"),
        (
            {"type": "USER_MANAGEMENT", "technicalName": "USER_CREATE_PASSED", "status": "PASSED"},
            *(["iam"], ["info", "user", "creation"], "success"),
        ),
        ({}, ["iam"], ["info"], "unknown"),
    ],
)
def test_sailpoint_events_are_classified_beside_what_elastic_says_of_all_of_them(record, category, types, outcome):
    event = mapped("sailpoint_identity_sc.events", record)["event"]
    assert (event["category"], event["type"], event["outcome"]) == (category, types, outcome)


def test_a_sailpoint_event_without_an_actor_maps_like_any_other():
    document = mapped("sailpoint_identity_sc.events", {"id": "1", "name": "Nobody did it", "ipAddress": ""})
    assert document["event"]["id"] == "1"
    assert "error" not in document
    assert "related" not in document


def test_the_address_of_a_sailpoint_event_is_the_clients_and_stands_where_elastic_puts_it():
    document = mapped("sailpoint_identity_sc.events", {"ipAddress": "203.0.113.7"})
    assert document["source"]["ip"] == "203.0.113.7"
    assert document["host"]["ip"] == ["203.0.113.7"]


def test_both_shapes_of_a_sailpoint_identity_map():
    public = {"id": "1", "name": "Ada", "attributes": [{"key": "department", "name": "Department", "value": "Finance"}]}
    searched = {"id": "1", "name": "Ada", "attributes": {"department": "Finance"}}
    for record in (public, searched):
        document = mapped("sailpoint_identity_sc.identities", record)
        assert document["sailpoint_identity_sc"]["identity"]["attributes"] == {"department": "Finance"}
        assert document["user"]["id"] == "1"
        assert "error" not in document


@pytest.mark.parametrize(
    ("record", "category", "types", "outcome"),
    [
        ({"activityType": 27}, ["authentication", "session"], ["start", "info"], "success"),
        ({"primaryDescription": "Ann failed to log in."}, ["authentication"], ["start", "info"], "failure"),
        ({"primaryDescription": "Ann logged out."}, ["authentication"], ["end", "info"], "success"),
        ({"primaryDescription": "Ann deleted the group."}, ["configuration"], ["deletion"], "success"),
        ({"activityType": 19, "data": {"threatClassification": "Exploit"}}, ["threat"], ["indicator"], None),
        ({"activityType": 19, "data": {"threatClassification": "Trojan"}}, ["malware"], ["info"], None),
        ({"activityType": 987654}, ["host"], ["info"], None),
    ],
)
def test_sentinelone_activities_are_classified_by_number_then_by_words(record, category, types, outcome):
    event = mapped("sentinel_one.activity", record)["event"]
    assert (event["category"], event["type"], event.get("outcome")) == (category, types, outcome)


def test_what_an_activity_tells_beside_what_is_known_is_kept():
    document = mapped("sentinel_one.activity", {"data": {"role": "Admin", "unheardOf": {"a": [1]}}})
    assert document["sentinel_one"]["activity"]["data"] == {"role": "Admin", "flattened": {"unheardOf": {"a": [1]}}}


@pytest.mark.parametrize(
    ("classification", "category", "types"),
    [("Trojan", ["malware"], ["info"]), ("PUA", ["threat"], ["indicator"]), ("Exploit", ["threat"], ["indicator"])],
)
def test_sentinelone_threats_are_alerts(classification, category, types):
    event = mapped("sentinel_one.threat", {"threatInfo": {"classification": classification}})["event"]
    assert (event["kind"], event["category"], event["type"]) == ("alert", category, types)


@pytest.mark.parametrize(
    ("record", "kind", "category", "types"),
    [
        ({"record_type": "application"}, "event", ["web"], ["info"]),
        ({"record_type": "page"}, "event", ["web"], ["info"]),
        ({"record_type": "network", "action": "allow"}, "event", ["network"], ["allowed"]),
        ({"record_type": "network", "action": "block"}, "event", ["network"], ["denied"]),
        ({"record_type": "audit"}, "event", ["configuration"], ["info"]),
        ({"record_type": "incident"}, "event", ["intrusion_detection"], ["info"]),
        ({"record_type": "application", "alert": "yes"}, "alert", ["intrusion_detection"], ["info"]),
        ({"record_type": "hologram"}, "event", None, ["info"]),
    ],
)
def test_netskope_events_are_classified(record, kind, category, types):
    event = mapped("netskope.events", record)["event"]
    assert (event["kind"], event.get("category"), event["type"]) == (kind, category, types)


@pytest.mark.parametrize(("text", "outcome"), [("Login Successful", "success"), ("Login Failed", "failure")])
def test_a_login_to_netskopes_console_is_an_authentication(text, outcome):
    event = mapped("netskope.events", {"record_type": "audit", "audit_log_event": text})["event"]
    assert event["category"] == ["configuration", "authentication"]
    assert (event["outcome"], event["action"]) == (outcome, text.lower().replace(" ", "-"))


@pytest.mark.parametrize(
    ("word", "severity"), [("low", [21]), ("Medium", [47]), ("high", [73]), ("critical", [99]), ("?", [])]
)
def test_the_word_for_a_severity_becomes_its_number(word, severity):
    assert field(mapped("netskope.alerts", {"severity": word}), "event.severity") == severity


def test_every_event_type_of_netskope_has_the_events_table():
    for stream in ("application", "audit", "infrastructure", "network", "page", "connection", "incident", "endpoint"):
        assert dataset("Netskope", stream) == "netskope.events"
    assert dataset("Netskope", "alert") == "netskope.alerts"
