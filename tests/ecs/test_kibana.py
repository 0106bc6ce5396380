"""The files for Elastic's side name only fields that the mapping makes, of types that fit what is done with them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectord.ecs import dataset
from tests.ecs.documents import leaves, mapped, record_of

CONFIG = Path(__file__).parents[2] / "config"
OBJECTS: list[dict[str, Any]] = [
    json.loads(line) for line in (CONFIG / "kibana-sailpoint.ndjson").read_text(encoding="utf-8").splitlines()
]
EVENTS = dataset("SailPoint", "events")
FIELDS = dict(leaves(mapped(EVENTS, record_of(EVENTS))))
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
QUERIED = re.compile(r"([@\w.]+) *: *(?:\"([^\"]*)\"|(\S+))")
KINDS: dict[str, Callable[[Any], Any]] = {
    "date_histogram": TIME.fullmatch,
    "terms": lambda value: isinstance(value, str),
}


def of_type(name):
    return {one["id"]: one for one in OBJECTS if one["type"] == name}


def state_of(visualization):
    return json.loads(visualization["attributes"]["visState"])


def query_of(visualization):
    return json.loads(visualization["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]


@pytest.mark.parametrize("name", sorted(of_type("visualization")))
def test_a_panel_uses_fields_that_the_mapping_makes(name):
    for aggregation in state_of(of_type("visualization")[name])["aggs"]:
        if aggregation["type"] == "count":
            continue
        field = aggregation["params"]["field"]
        assert field in FIELDS
        assert KINDS.get(aggregation["type"], KINDS["terms"])(FIELDS[field]), (field, FIELDS[field])


@pytest.mark.parametrize("name", sorted(of_type("visualization")))
def test_a_panels_query_finds_what_the_mapping_writes(name):
    event = {"type": "CERTIFICATION", "status": "PASSED"} if "certif" in name else {"type": "AUTH", "status": "FAILED"}
    written: dict[str, list[str]] = {}
    for field, value in leaves(mapped(EVENTS, event)):
        written.setdefault(field, []).append(value)
    for field, quoted, word in QUERIED.findall(query_of(of_type("visualization")[name])):
        pattern = re.escape(quoted or word).replace(r"\*", ".*")
        assert any(re.fullmatch(pattern, value) for value in written[field]), (field, written[field])


def test_what_objects_refer_to_is_in_the_file():
    there = {(one["type"], one["id"]) for one in OBJECTS}
    for one in OBJECTS:
        for reference in one["references"]:
            assert (reference["type"], reference["id"]) in there


def test_the_dashboard_shows_every_panel_once_and_none_upon_another():
    (dashboard,) = of_type("dashboard").values()
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    named = {reference["name"]: reference["id"] for reference in dashboard["references"]}
    shown = [named[f"{panel['panelIndex']}:{panel['panelRefName']}"] for panel in panels]
    assert sorted(shown) == sorted(of_type("visualization"))
    cells = [
        (x, y)
        for grid in (panel["gridData"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 48  # columns of a dashboard


def test_the_data_view_is_of_the_streams_that_the_sink_writes():
    (view,) = of_type("index-pattern").values()
    assert view["attributes"] == {"title": f"logs-{EVENTS}-*", "timeFieldName": "@timestamp"}


@pytest.mark.parametrize(
    "topic", ["Audit actions over time", "Authentication failures", "Top actors", "Sources", "Certif"]
)
def test_the_dashboard_has_what_was_asked_for(topic):
    assert any(one["attributes"]["title"].startswith(topic) for one in of_type("visualization").values())


def test_the_geoip_pipeline_reads_addresses_that_the_mapping_writes():
    pipeline = json.loads((CONFIG / "elasticsearch-geoip.json").read_text(encoding="utf-8"))
    written = {
        name
        for stream in ("okta.system", "netskope.events", EVENTS)
        for name, _ in leaves(mapped(stream, record_of(stream)))
    }
    for processor in pipeline["processors"]:
        assert processor["geoip"]["field"] in written
        assert processor["geoip"]["ignore_missing"] is True
