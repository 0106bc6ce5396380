"""Values as vendors write them: what a field takes, what it refuses, and that nothing is lost by it."""

import json

import pytest

from collectord.ecs import mapper
from tests.ecs.documents import STREAMS, field, mapped, record_of


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("203.0.113.7", ["203.0.113.7"]),
        ("2001:db8::7", ["2001:db8::7"]),
        ("null", []),
        ("", []),
        (None, []),
    ],
)
def test_an_address_is_taken_and_a_word_for_none_is_no_complaint(written, taken):
    document = mapped("okta.system", {"client": {"ipAddress": written}})
    assert field(document, "source.ip") == field(document, "client.ip") == taken
    assert "error" not in document


@pytest.mark.parametrize("written", ["203.0.113.x", "010.0.0.1", "1.2.3", "fe80::1%eth0", 7, ["203.0.113.7"]])
def test_what_is_no_address_stays_out_of_the_field_and_in_the_document(written):
    record = {"uuid": "u1", "client": {"ipAddress": written}}
    document = mapped("okta.system", record)
    assert field(document, "source.ip") == []
    assert document["error"]["message"] == [f"client.ipAddress: an IP address expected, not {written!r}"]
    assert json.loads(document["event"]["original"]) == record
    assert document["event"]["id"] == "u1"
    assert document["event"]["kind"] == "event"


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("2026-09-01T08:00:00.123Z", "2026-09-01T08:00:00.123Z"),
        ("2026-09-01T08:00:00.123456Z", "2026-09-01T08:00:00.123Z"),
        ("2026-09-01T08:00:00Z", "2026-09-01T08:00:00Z"),
        ("2026-09-01T08:00:00.123456", "2026-09-01T08:00:00.123Z"),
        ("2026-09-01T10:00:00+02:00", "2026-09-01T08:00:00.000Z"),
        ("2026-09-01 08:00:00Z", "2026-09-01T08:00:00.000Z"),
        ("2026-W36-2T08:00:00Z", "2026-09-01T08:00:00.000Z"),
        ("20260901T080000Z", "2026-09-01T08:00:00.000Z"),
        (1788249600, "2026-09-01T08:00:00.000Z"),
        (1788249600123, "2026-09-01T08:00:00.123Z"),
        (1788249600.25, "2026-09-01T08:00:00.250Z"),
        ("1788249600", "2026-09-01T08:00:00.000Z"),
        ("1788249600123", "2026-09-01T08:00:00.123Z"),
    ],
    ids=repr,
)
def test_a_time_is_written_as_elasticsearch_reads_it(written, taken):
    assert mapped("sentinel_one.activity", {"createdAt": written})["@timestamp"] == taken


@pytest.mark.parametrize(
    "written", ["yesterday", "2026-13-01T00:00:00Z", "2026-09-01T25:00:00Z", True, {}, [1], 10**400]
)
def test_a_record_without_a_readable_time_has_that_of_its_receipt(written):
    raw = json.dumps({"createdAt": written, "id": "1"}).encode()
    document = json.loads(mapper(*STREAMS["sentinel_one.activity"])(raw))
    assert document["@timestamp"] == "1970-01-01T00:00:00.000Z"


def test_an_id_of_64_bits_keeps_every_digit():
    for number in (2**53 + 1, 2**64 - 1, 2**64 + 1):
        document = mapped("netskope.events", {"_id": "a", "transaction_id": number})
        assert field(document, "netskope.events_v2.transaction_id") == [str(number)]


def test_numbers_beyond_64_bits_and_deep_objects_pass():
    deep = json.loads("[" * 300 + "1" + "]" * 300)
    document = mapped("netskope.events", {"_id": "a", "huge": 2**70, "deep": deep})
    assert document["netskope"]["events_v2"] == {"huge": 2**70, "deep": deep}
    assert "error" not in document


def test_words_for_nothing_of_netskope_are_dropped_at_any_depth():
    record = {
        "_id": "a",
        "device": "N/A",
        "site": "-",
        "supporting_data": {"data_values": ["NotChecked", "x"]},
        "org": "acme",
    }
    document = mapped("netskope.events", record)
    assert document["netskope"]["events_v2"] == {"supporting_data": {"data_values": ["x"]}, "org": "acme"}


def test_a_field_of_netskope_that_nobody_has_heard_of_is_kept():
    document = mapped("netskope.events", {"_id": "a", "app-gdpr-level": "High", "a.b": 1, " ": 2, "new": {"x.y": [1]}})
    kept = {"app-gdpr-level": "High", "a_b": 1, "_": 2, "new": {"x_y": [1]}}
    assert document["netskope"]["events_v2"] == kept


def test_two_keys_that_become_one_name_keep_both_values():
    document = mapped("sailpoint_identity_sc.events", {"attributes": {"a.b": 1, "aB": "", "a_b": {"c": 2}, "aB ": 3}})
    assert document["sailpoint_identity_sc"]["events"]["attributes"] == {"a_b": 1, "a_b_": {"c": 2}, "a_b__": 3}
    document = mapped("netskope.events", {"x.y": 1, "x_y": 2, "z": ""})
    assert document["netskope"]["events_v2"] == {"x_y": 1, "x_y_": 2}


def test_both_coordinates_in_one_text_go_to_a_field_for_text():
    document = mapped("netskope.events", {"src_latitude": "51.9|4.5", "dst_latitude": "35.6|139"})
    assert field(document, "source.geo.location.lat") == []
    assert field(document, "netskope.events_v2.src_latitude_keyword") == ["51.9|4.5"]
    assert field(document, "netskope.events_v2.dst_latitude") == []
    assert "error" not in document


@pytest.mark.parametrize(
    ("latitude", "longitude", "place"),
    [
        (51.92, 4.48, {"lat": 51.92, "lon": 4.48}),
        ("35.6", "-139.7", {"lat": 35.6, "lon": -139.7}),
        (0, 4.48, {"lat": 0, "lon": 4.48}),
        (0.0, 0.0, None),
        (51.92, None, None),
        ("51.9|4.5", 4.48, None),
        (91, 4.48, None),
        (51.92, 180.1, None),
        (True, [4], None),
        ({}, [], None),
    ],
)
def test_a_place_has_both_coordinates_or_is_none(latitude, longitude, place):
    document = mapped("netskope.events", {"src_latitude": latitude, "src_longitude": longitude})
    assert document.get("source", {}).get("geo", {}).get("location") == place


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (
            "https://a.test:8443/p?q=1#f",
            {"scheme": "https", "domain": "a.test", "port": 8443, "path": "/p", "query": "q=1"},
        ),
        ("a.test/p", {"domain": "a.test", "path": "/p"}),
        ("a.test", {"domain": "a.test"}),
    ],
)
def test_a_url_is_taken_apart(url, parts):
    document = mapped("netskope.events", {"url": url})
    assert document["url"] | parts == document["url"]
    assert document["url"]["original"] == url


@pytest.mark.parametrize("url", ["http://[::1", "http://a.test:port/"])
def test_a_url_that_cannot_be_taken_apart_is_kept_whole(url):
    document = mapped("netskope.events", {"url": url})
    assert document["url"]["original"] == url
    assert document["error"]["message"] == [f"url: a URL expected, not {url!r}"]


def test_addresses_parted_by_commas_are_addresses_each():
    document = mapped("sentinel_one.threat", {"agentDetectionInfo": {"agentIpV4": "10.0.0.5, 192.168.1.5"}})
    assert document["related"]["ip"] == ["10.0.0.5", "192.168.1.5"]


def test_a_value_of_any_type_becomes_text_where_a_vendor_changes_its_mind():
    values = {True: "true", "not inherited": "not inherited", 7: "7"}
    for value, text in values.items():
        document = mapped("sentinel_one.activity", {"data": {"newValue": value}})
        assert field(document, "sentinel_one.activity.data.new.value") == [text]
    document = mapped("sentinel_one.activity", {"data": {"newValue": {"on": 2**64}}})
    assert field(document, "sentinel_one.activity.data.new.value") == ['{"on":18446744073709551616}']


@pytest.mark.parametrize(
    ("said", "level", "reasons"),
    [
        (
            "{reasons=Anomalous Device, Anomalous Location, level=MEDIUM}",
            ["MEDIUM"],
            ["Anomalous Device", "Anomalous Location"],
        ),
        ("{level=LOW}", ["LOW"], []),
        ("{}", [], []),
        ("LOW", [], []),
        ({"level": "HIGH", "reasons": "x"}, ["HIGH"], ["x"]),
    ],
)
def test_the_risk_that_okta_writes_as_text_is_read(said, level, reasons):
    document = mapped("okta.system", {"debugContext": {"debugData": {"risk": said}}})
    assert field(document, "okta.debug_context.debug_data.risk_level") == level
    assert field(document, "okta.debug_context.debug_data.risk_reasons") == reasons


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff{}", "not readable as JSON"),
        (b"[1]", "not an object"),
        (b"null", "not an object"),
        (b'{"attributes":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deep"),
    ],
)
def test_what_is_no_record_at_all_still_becomes_a_document_that_holds_it(raw, why):
    document = mapped("sailpoint_identity_sc.events", raw)
    assert document["event"]["kind"] == "pipeline_error"
    assert document["event"]["original"] == raw.decode("utf-8", "replace")
    assert document["error"]["message"] == [f"record: {why}"]
    assert document["@timestamp"] == "1970-01-01T00:00:00.000Z"


def test_half_a_character_costs_that_character_alone():
    raw = rb'{"uuid":"u1","displayMessage":"a\ud83d b\ude00 \ud83d\ude00 \\ud800"}'
    document = mapped("okta.system", raw)
    assert document["event"]["id"] == "u1"
    assert document["message"] == "a\ufffd b\ufffd \U0001f600 \\ud800"
    assert document["error"]["message"] == ["record: half a character became U+FFFD"]
    assert document["event"]["original"] == raw.decode()


def test_a_number_that_no_double_holds_is_kept_as_its_text():
    document = mapped("netskope.events", b'{"_id":"a","score":1e400,"ratio":0.5}')
    assert document["netskope"]["events_v2"] == {"score": "1e400", "ratio": 0.5}
    assert document["error"]["message"] == ["record: no strict JSON"]


@pytest.mark.parametrize("dataset", sorted(STREAMS))
def test_every_member_of_a_full_record_may_be_of_the_wrong_type(dataset):
    record = record_of(dataset)
    for key in record:
        for wrong in (None, "", "text", 7, -0.5, True, [], ["text", None, [1]], {}, {"a": {"b": [1, "2"]}}):
            document = mapped(dataset, record | {key: wrong})
            assert document["event"]["kind"] != "pipeline_error", (key, wrong, document.get("error"))
