"""Health events in both of Sumo's forms (sumo-c2c.md section 3), delivered, and opened by the clock alone."""

from __future__ import annotations

import json
import re
import time
import uuid

import anyio
import pytest

from collectord.backlog import Backlog
from collectord.errors import SinkUnavailable, SourceRefused, SourceUnavailable
from collectord.health import WATCHED, HealthEvent, Resource, State, StreamStatus
from collectord.management import Plant
from collectord.records import Notice
from collectord.reporting import MAX_WAITING, Reporter
from collectord.settings import DAY, HOUR, CollectorSettings
from collectord.watching import troubles, watch, watch_dead_letters
from tests.fakes import RecordingSink
from tests.management.conftest import eventually

OKTA = Resource("Source", 10, "okta-prod")
ALL = "/api/v1/healthEvents"
REFUSED = SourceRefused("the credential is refused", code=401, info='{"errorCode":"E0000011"}')


# ------------------------------------------------------------------------------------------------------ the API


async def test_an_open_event_has_the_form_of_the_api(site):
    await site.plant.health.open(OKTA, REFUSED, place="events")
    body = await site.get(ALL)
    assert body.keys() == {"data", "next"}
    assert body["next"] is None
    (event,) = body["data"]
    assert event.keys() == {
        "eventId", "eventName", "details", "resourceIdentity", "eventTime", "subsystem", "severityLevel",
    }  # fmt: skip
    assert (event["eventName"], event["severityLevel"], event["subsystem"]) == (
        "ThirdPartyConfigError",
        "Error",
        "Collection",
    )
    assert event["details"] == {
        "trackerId": "ThirdPartyConfigError",
        "error": "the credential is refused",
        "description": event["details"]["description"],
        "stream": "events",
        "errorCode": "401",
        "errorInfo": '{"errorCode":"E0000011"}',
    }
    assert "until the source is changed or restarted" in event["details"]["description"]
    assert event["resourceIdentity"] == {
        "id": "000000000000000A",
        "name": "okta-prod",
        "type": "Source",
        "collectorId": "0000000000000001",
        "collectorName": "soc-1",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["eventTime"])


async def test_a_repeated_failure_is_counted_and_a_recovery_closes_it(site):
    for _ in range(3):
        await site.plant.health.open(OKTA, SourceUnavailable("503", code=503), place="events")
    (event,) = (await site.get(ALL))["data"]
    assert event["details"]["count"] == "3"
    await site.plant.health.close(OKTA, place="events")
    assert (await site.get(ALL))["data"] == []


async def test_pages_hold_every_event_once_whatever_opens_and_closes_meanwhile(site):
    resources = [Resource("Source", number, f"s{number}") for number in range(7)]
    for resource in resources:
        await site.plant.health.open(resource, REFUSED)
    found, path = [], f"{ALL}?limit=3"
    while True:
        page = await site.get(path)
        assert len(page["data"]) <= 3
        found += [event["resourceIdentity"]["name"] for event in page["data"]]
        if page["next"] is None:
            break
        path = f"{ALL}?limit=3&token={page['next']}"
        await site.plant.health.close_all(resources[0])
    assert sorted(found) == [f"s{number}" for number in range(7)]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "token=x"])
async def test_a_wrong_page_is_refused(site, query):
    refused = await site.get(f"{ALL}?{query}", 400)
    assert refused["code"] == "badrequest"


async def test_events_of_some_resources_alone(site):
    for number in (1, 2, 3):
        await site.plant.health.open(Resource("Source", number, f"s{number}"), REFUSED)
    body = {"data": [{"id": "0000000000000002", "type": "Source"}, {"id": "3", "type": "Collector"}]}
    reply = await site.ask("POST", f"{ALL}/resources", body)
    assert [event["resourceIdentity"]["name"] for event in reply.json["data"]] == ["s2"]
    wrongs: list[object] = [{}, {"data": [{}]}, {"data": 1}, {"data": [{"id": 2, "type": "Source"}]}, []]
    for wrong in wrongs:
        assert (await site.ask("POST", f"{ALL}/resources", wrong)).status == 400


# -------------------------------------------------------------------------------------------------- delivered


@pytest.fixture
async def reporter(site):
    reporter = Reporter(site.plant.outbox, {"default": site.sink})
    reporter.follow(CollectorSettings(name="soc-1"), ("default",))
    site.plant.health.on_change.append(reporter.note)
    return reporter


def delivered(plant: Plant, sink: RecordingSink):
    return [json.loads(line) for line in sink.lines]


async def test_beginning_and_end_are_delivered_in_the_form_of_the_log(site, reporter):
    await site.plant.health.open(OKTA, REFUSED, place="events")
    await site.plant.health.open(OKTA, REFUSED, place="events")
    await site.plant.health.close(OKTA, place="events")
    await reporter.finish()
    await eventually(lambda: len(site.sink.lines) == 2)
    began, ended = delivered(site.plant, site.sink)
    assert list(began) == [
        "status", "details", "eventType", "severityLevel", "accountId", "eventId", "eventName", "eventTime",
        "eventFormatVersion", "subsystem", "resourceIdentity",
    ]  # fmt: skip
    assert (began["status"], ended["status"]) == ("UnHealthy", "Healthy")
    assert began["eventType"] == "Health-Change"
    assert began["eventFormatVersion"] == "1.0"
    assert began["details"]["name"] == "the credential is refused"
    assert all(isinstance(value, str) for value in (*began["details"].values(), *ended["details"].values()))
    assert began["resourceIdentity"]["type"] == "SourceResource"
    assert str(uuid.UUID(began["eventId"])) == began["eventId"] != ended["eventId"]
    assert ended["details"]["openedEventId"] == began["eventId"]
    assert "seen 2 times" in ended["details"]["description"]


async def test_nothing_is_delivered_where_no_sink_is_named(site, reporter):
    reporter.follow(CollectorSettings(name="soc-1"), ())
    await site.plant.health.open(OKTA, REFUSED)
    await reporter.finish()
    assert site.plant.outbox.by_sink["default"].records == 0


async def test_a_sink_in_trouble_gets_to_hear_of_it_afterwards(site, reporter):
    """The report waits in the outbox of the very sink that is away, and holds nobody up."""
    site.sink.script.extend([SinkUnavailable("away"), SinkUnavailable("away")])
    await site.start("a")
    await eventually(lambda: "a" in site.streams)
    site.streams["a"].issue(1)
    await site.poll_until("a", lambda: site.plant.deliveries["default"].status.error is not None)
    await reporter.finish()
    site.plant.retry_sinks()
    await eventually(lambda: site.plant.deliveries["default"].status.error is None)
    events: list[dict[str, object]] = []
    with anyio.fail_after(10):  # the end is noted a moment after the sink is well
        while len(events) < 2:
            await reporter.finish()
            await anyio.sleep(0.005)
            events = [each for each in delivered(site.plant, site.sink) if "status" in each]
    assert events[-1]["eventName"] == "FirstPartyGenericError"
    assert events[-1]["status"] == "Healthy"


async def test_noting_an_event_never_waits_for_room_and_is_bounded(site, reporter):
    site.plant.outbox.limit("default", 1)
    site.sink.script.extend([SinkUnavailable("away")] * 100)
    with anyio.fail_after(30):
        for number in range(MAX_WAITING + 10):
            await reporter.note(an_event(number))
        await reporter.finish()
        await reporter.note(an_event(0))
        await reporter.finish()  # there is no room: given up after a second
    assert len(reporter._waiting) <= MAX_WAITING


def an_event(number: int):
    return HealthEvent(uuid.uuid4().hex, "X", "Error", Resource("Source", number, "s"), "", "e", "d", None, "", 1)


# --------------------------------------------------------------------------------------------- told by the clock

NOW = time.time_ns() // 1_000_000


def stream(**changes) -> StreamStatus:
    healthy = {"last_success_ms": NOW - 1000, "complete_to_ms": NOW - 1000, "retention_seconds": 90 * DAY}
    return StreamStatus("events", 300.0, State.COLLECTING, **{**healthy, **changes})


def ago(seconds: float) -> int:
    return NOW - int(1000 * seconds)


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (stream(), []),
        (stream(last_success_ms=ago(890)), []),
        (stream(last_success_ms=ago(910)), ["StreamSilent"]),
        (stream(last_success_ms=None, started_ms=ago(910)), ["StreamSilent"]),
        (stream(last_success_ms=None, complete_to_ms=None, started_ms=ago(10)), []),
        (stream(complete_to_ms=ago(HOUR + 590)), []),
        (stream(complete_to_ms=ago(HOUR + 610)), ["StreamLagging"]),
        (stream(complete_to_ms=ago(46 * DAY)), ["StreamLagging", "RetentionAtRisk"]),
        (stream(complete_to_ms=ago(46 * DAY), retention_seconds=None), ["StreamLagging"]),
        (stream(complete_to_ms=None, saved_ms=ago(46 * DAY)), ["StreamLagging", "RetentionAtRisk"]),
    ],
)
def test_silence_lag_and_retention_are_told_in_time(status, names):
    assert [notice.name for notice in troubles(status, NOW)] == names


async def test_what_the_clock_opened_the_clock_closes_and_nobody_else(site):
    await site.start("a")
    running = site.plant.supervisor.running["a"]
    await eventually(lambda: running.status.state is State.COLLECTING)
    health, status = site.plant.health, running.status.streams[0]

    async def names() -> set[str]:
        await watch(health, running.resource, running.status)
        return {event["eventName"] for event in (await site.get(ALL))["data"]}

    status.last_success_ms = ago(10 * HOUR)
    assert await names() == {"StreamSilent"}
    await health.warn(running.resource, [Notice("Odd", "something odd")], place="events")
    assert await names() == {"StreamSilent", "Odd"}
    await health.warn(running.resource, [], place="events")
    assert await names() == {"StreamSilent"}
    status.last_success_ms = NOW
    assert await names() == set()
    assert set(WATCHED) == {"StreamSilent", "StreamLagging", "RetentionAtRisk", "DeadLetters"}


async def test_dead_letters_are_told_of_until_there_are_none(site):
    await site.start("a")
    sink = Resource("Sink", 0, "default")

    async def told(records: int) -> list[str]:
        await watch_dead_letters(site.plant.health, sink, Backlog(records, 100 * records))
        return [event["eventName"] for event in (await site.get(ALL))["data"] if event["eventName"] == "DeadLetters"]

    assert await told(0) == []
    assert await told(3) == ["DeadLetters"]
    (event,) = [event for key, event in site.plant.health.open_events.items() if key.name == "DeadLetters"]
    assert event.severity == "Warning"
    assert "3 records" in event.error
    assert "collectord dead-letters list" in event.error
    await site.plant.health.warn(sink, [])
    assert await told(2) == ["DeadLetters"]
    assert await told(0) == []


async def test_a_paused_source_is_not_silent(site):
    await site.start("a")
    running = site.plant.supervisor.running["a"]
    await eventually(lambda: running.status.state is State.COLLECTING)
    await site.ask("POST", "/api/v1/collectors/1/sources/a/action/pause")
    running.status.streams[0].last_success_ms = ago(10 * HOUR)
    await watch(site.plant.health, running.resource, running.status)
    assert (await site.get(ALL))["data"] == []
