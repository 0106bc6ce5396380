"""States, errors and health events (INTERFACE section 6), by troubles of a real vendor and a real sink."""

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from collectord.demo.faults import Slow, Status
from collectord.demo.okta_knobs import LOGS, OktaKnobs
from tests.daemon.harness import Site
from tests.daemon.process import Daemon, eventually

UNAVAILABLE = Status(503, b'{"errorCode": "E0000009", "errorSummary": "Internal Server Error"}')
SHORT = {"initial": "50ms", "max": "100ms", "window": "1s"}
A_WHILE = 1.0
"""Seconds in which nothing must happen, at an interval of 0.2 s."""


def events_of(daemon: Daemon, name: str) -> list[dict]:
    """Closed health events of a resource, newest first."""
    recent = daemon.ask("/api/v1/health")["recent"]
    return [event for event in recent if event["resourceIdentity"]["name"] == name]


# ---------------------------------------------------------------------------------------------- third party


def test_source_goes_from_its_first_request_to_collecting(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.fail, Slow(before=1))
    daemon = site.start()
    assert daemon.state("okta-prod")["state"] in {"Pending", "Started", "Initialized"}
    assert daemon.wait_for_state("okta-prod", "Collecting") == {"state": "Collecting"}
    assert daemon.stream("okta-prod")["lag_seconds"] < 60


@pytest.mark.parametrize("by", ["reload", "restart"])
def test_refused_credential_is_not_tried_again_until_somebody_says_so(site, by):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start()
    site.wait_until_all_is_delivered()
    site.call(okta.revoke, okta.token)
    state = daemon.wait_for_state("okta-prod", "Error")
    assert (state["errorType"], state["errorCode"]) == ("THIRD-PARTY-CONFIG", 401)
    assert "E0000011" in state["errorInfo"]
    asked = okta.counters["requests"]
    site.call(okta.issue, 5)
    time.sleep(A_WHILE)
    assert okta.counters["requests"] == asked
    assert daemon.stream("okta-prod")["next_poll_at"] is None
    event = daemon.open_events("okta-prod")["ThirdPartyConfigError"]
    assert (event["severityLevel"], event["details"]["errorCode"], event["count"]) == ("Error", 401, 1)

    site.call(okta.accept_credential, okta.token)
    if by == "reload":
        daemon.reload()
    else:
        daemon.act("okta-prod", "restart")
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.open_events() == {}
    assert daemon.closed_events("okta-prod") == ["ThirdPartyConfigError"]


def test_refused_credential_stops_every_stream(site):
    site.source("okta-prod", okta := site.okta(), users=True, intervals={"events": "100ms", "users": "1h"})
    site.configure()
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Collecting")
    site.call(okta.revoke, okta.token)
    daemon.wait_for_state("okta-prod", "Error")
    eventually(lambda: [stream["state"] for stream in daemon.source("okta-prod")["streams"]] == ["Error", "Error"])
    asked = okta.counters["requests"]
    daemon.act("okta-prod", "poll")
    time.sleep(A_WHILE)
    assert okta.counters["requests"] == asked


def test_refused_stream_stops_alone(site):
    site.source("okta-prod", okta := site.okta(), users=True, intervals={"events": "100ms", "users": "100ms"})
    site.configure()
    site.call(okta.add_users, 3)
    okta.knobs.denied = {LOGS}
    daemon = site.start()
    state = daemon.wait_for_state("okta-prod", "Error")
    assert (state["errorType"], state["errorCode"]) == ("THIRD-PARTY-CONFIG", 403)
    eventually(lambda: len(site.sink.delivered("okta-prod", "users")) >= 3)
    assert daemon.stream("okta-prod", "users")["state"] == "Collecting"
    (event,) = daemon.open_events("okta-prod").values()
    assert event["details"]["stream"] == "events"
    asked = okta.counters[f"GET {LOGS}"]
    listed = okta.counters["GET /api/v1/users"]
    eventually(lambda: okta.counters["GET /api/v1/users"] > listed + 3)
    assert okta.counters[f"GET {LOGS}"] == asked

    # A stream that is not wanted any more takes its trouble along.
    okta.knobs.denied = set()
    daemon.act("okta-prod", "restart")
    daemon.wait_for_state("okta-prod", "Collecting")
    okta.knobs.denied = {"/api/v1/users"}
    daemon.wait_for_state("okta-prod", "Error")
    site.source("okta-prod", okta)
    daemon.reload()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.open_events() == {}


def test_vendor_in_trouble_is_tried_again_and_its_one_event_closes(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start()
    site.wait_until_all_is_delivered()
    site.call(okta.fail, UNAVAILABLE, times=None)
    site.call(okta.issue, 5)
    state = daemon.wait_for_state("okta-prod", "Error")
    assert (state["errorType"], state["errorCode"]) == ("THIRD-PARTY-GENERIC", 503)
    faults = okta.counters["faults"]
    eventually(lambda: okta.counters["faults"] >= faults + 5)
    assert daemon.open_events("okta-prod").keys() == {"ThirdPartyGenericError"}
    site.call(okta.faults.clear)
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.open_events() == {}
    (event,) = events_of(daemon, "okta-prod")
    assert event["count"] >= 5
    assert event["closedTime"] > event["eventTime"]
    assert len(daemon.log("health event opened")) == len(daemon.log("health event closed")) == 1


def test_pausing_ends_a_trouble(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.fail, UNAVAILABLE, times=None)
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Error")
    daemon.act("okta-prod", "pause")
    assert daemon.state("okta-prod") == {"state": "Paused"}
    assert daemon.open_events() == {}


def test_rate_limit_is_no_error(site):
    knobs = OktaKnobs(org_limits={LOGS: 60}, token_share=1.0, window_seconds=2)
    site.source("okta-prod", okta := site.okta(knobs=knobs))
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start()
    site.wait_until_all_is_delivered()
    site.call(okta.burn, LOGS, 1000)
    site.call(okta.issue, 5)
    eventually(lambda: okta.counters["rate_limited"])
    while not site.verdict().ok:
        assert daemon.state("okta-prod") == {"state": "Collecting"}
        time.sleep(0.05)
    assert daemon.open_events() == {}
    assert daemon.closed_events("okta-prod") == []


def test_source_whose_inventory_rests_over_a_restart_is_collecting(site):
    site.source("okta-prod", okta := site.okta(), users=True, intervals={"events": "100ms", "users": "1h"})
    site.configure()
    site.call(okta.add_users, 3)
    daemon = site.start()
    eventually(lambda: daemon.stream("okta-prod", "users").get("last_success_at"))
    daemon.wait_for_state("okta-prod", "Collecting")
    daemon.stop()
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Collecting")
    users = daemon.stream("okta-prod", "users")
    assert (users["state"], users["records_received"]) == ("Collecting", 0)
    assert users["last_success_at"] is not None


def test_rate_limit_at_the_first_request_is_no_error_either(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.fail, Status(429))
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.stream("okta-prod")["last_success_at"] is None
    assert daemon.stream("okta-prod")["last_success_at"] is None
    assert daemon.open_events() == {}


@pytest.mark.parametrize("by", ["reload", "restart"])
def test_source_that_starts_anew_still_waits_as_it_was_told(site, by):
    """The simulator takes a request that comes too early for a violation."""
    knobs = OktaKnobs(org_limits={LOGS: 60}, token_share=1.0, window_seconds=4)
    site.source("okta-prod", okta := site.okta(knobs=knobs))
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start("eager_collector")
    site.wait_until_all_is_delivered()
    site.call(okta.burn, LOGS, 1000)
    eventually(lambda: okta.counters["rate_limited"])
    site.call(okta.issue, 5)
    if by == "reload":
        site.source("okta-prod", okta, intervals={"events": "150ms"})
        daemon.reload()
    else:
        daemon.act("okta-prod", "restart")
    site.wait_until_all_is_delivered()
    assert okta.counters["rate_limited"] == 1


def test_after_the_window_a_source_quits(site):
    site.source("okta-prod", okta := site.okta(), retry={**SHORT, "then": "quit"})
    site.configure()
    site.call(okta.issue, 5)
    site.call(okta.fail, UNAVAILABLE, times=None)
    daemon = site.start(WATCHDOG_USEC="200000")
    eventually(lambda: daemon.stream("okta-prod") and daemon.stream("okta-prod")["next_poll_at"] is None)
    assert daemon.state("okta-prod")["errorType"] == "THIRD-PARTY-GENERIC"
    assert daemon.open_events("okta-prod").keys() == {"ThirdPartyGenericError"}
    asked = okta.counters["requests"]
    assert asked >= 5
    site.call(okta.faults.clear)
    time.sleep(A_WHILE)
    assert okta.counters["requests"] == asked
    fed = len(daemon.notify.with_key("WATCHDOG"))
    eventually(lambda: len(daemon.notify.with_key("WATCHDOG")) > fed)
    daemon.reload()
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.open_events() == {}


def test_after_the_window_a_source_goes_on_slowly(site):
    site.source("okta-prod", okta := site.okta(), retry={**SHORT, "then": "1s"})
    site.configure()
    site.call(okta.issue, 5)
    site.call(okta.fail, UNAVAILABLE, times=None)
    daemon = site.start()
    eventually(lambda: okta.counters["requests"] >= 5)
    time.sleep(1.5)
    asked = okta.counters["requests"]
    time.sleep(2.5)
    assert 1 <= okta.counters["requests"] - asked <= 4
    site.call(okta.faults.clear)
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")


def test_one_vendors_trouble_does_not_slow_another(site):
    for name in ("bad", "good"):
        site.source(name, site.okta(token=name), token=name)
    site.configure()
    site.call(site.vendors["bad"].fail, Slow(before=120), times=None)
    daemon = site.start()
    site.call(site.vendors["good"].issue, 5)
    eventually(lambda: len(site.sink.delivered("good", "events")) == 5)
    assert daemon.state("good")["state"] == "Collecting"


# ---------------------------------------------------------------------------------------------- first party


@pytest.mark.parametrize("trouble", ["refused", "5xx", "429"])
def test_sink_in_trouble_is_an_error_of_the_first_party_and_collecting_goes_on(site, trouble):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start()
    site.wait_until_all_is_delivered()
    if trouble == "refused":
        site.call_async(site.sink.go_down)
    else:
        site.call(site.sink.fail, UNAVAILABLE if trouble == "5xx" else Status(429), times=None)
    site.call(okta.issue, 5)
    eventually(lambda: daemon.sink()["state"] == "Error")
    assert daemon.open_events("default").keys() == {"FirstPartyGenericError"}
    assert daemon.open_events("okta-prod") == {}
    site.call(okta.issue, 5)
    eventually(lambda: daemon.stream("okta-prod")["records_received"] == 15)
    assert daemon.state("okta-prod") == {"state": "Collecting"}
    assert daemon.sink()["backlog_records"] == daemon.stream("okta-prod")["backlog_records"] == 10
    assert daemon.sink()["backlog_bytes"] > 0
    if trouble == "refused":
        site.call_async(site.sink.come_back)
    else:
        site.call(site.sink.faults.clear)
    site.wait_until_all_is_delivered()
    eventually(lambda: daemon.sink()["state"] == "Healthy" and daemon.sink()["backlog_records"] == 0)
    assert daemon.open_events() == {}
    assert daemon.closed_events("default") == ["FirstPartyGenericError"]
    assert site.sink.counters["redeliveries"] == 0


@pytest.mark.timeout(150)
def test_sink_that_is_away_costs_disk_up_to_the_buffer_and_no_memory(site):
    size, count = 10_000, 9_000
    site.source("okta-prod", okta := site.okta(event_bytes=size), page_size=200)
    site.configure(sink={"buffer_bytes": "64MiB", "compression": "none"})
    daemon = site.start()
    site.call(okta.issue, 200)
    site.wait_until_all_is_delivered()
    before = daemon.resident_bytes()
    site.call_async(site.sink.go_down)
    site.call(okta.issue, count)
    eventually(lambda: daemon.state("okta-prod")["state"] == "Error", 60, what=daemon.status)
    assert daemon.state("okta-prod")["errorType"] == "FIRST-PARTY-GENERIC"
    assert daemon.open_events("okta-prod").keys() == {"FirstPartyGenericError"}
    backlog = daemon.sink()["backlog_bytes"]
    assert 60 * 2**20 <= backlog <= 64 * 2**20
    asked = okta.counters["requests"]
    time.sleep(A_WHILE)
    assert okta.counters["requests"] == asked
    assert daemon.resident_bytes() - before < 40 * 2**20
    site.call_async(site.sink.come_back)
    eventually(lambda: site.sink.counters["records"] == count + 200, 90)
    site.wait_until_all_is_delivered()
    assert daemon.resident_bytes() - before < 60 * 2**20
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.open_events() == {}


def test_polling_that_waits_for_room_in_the_buffer_says_so(site):
    """The page in hand would pass the limit, though what waits does not reach it."""
    site.source("okta-prod", okta := site.okta(event_bytes=10_000), page_size=8)
    site.configure(sink={"buffer_bytes": "128KiB", "max_batch_bytes": "64KiB", "compression": "none"})
    daemon = site.start()
    site.call_async(site.sink.go_down)
    site.call(okta.issue, 100)
    state = daemon.wait_for_state("okta-prod", "Error")
    assert state["errorType"] == "FIRST-PARTY-GENERIC"
    assert "buffer" in state["errorInfo"]
    assert daemon.sink()["backlog_bytes"] <= 128 * 2**10
    site.call_async(site.sink.come_back)
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")
    eventually(lambda: daemon.open_events() == {})


@pytest.mark.parametrize("by", ["a larger buffer", "no such sink any more"])
def test_polling_goes_on_when_a_reload_makes_room(site, by):
    site.sinks["other"] = other = site.open_sink()
    site.source("okta-prod", okta := site.okta(event_bytes=10_000), page_size=8)
    options = {"buffer_bytes": "128KiB", "max_batch_bytes": "64KiB", "compression": "none"}
    first, second = site.sink_settings(site.sink), site.sink_settings(other, **options)
    site.configure(sinks={"default": first, "other": second})
    daemon = site.start()
    site.call_async(other.go_down)
    site.call(okta.issue, 60)
    daemon.wait_for_state("okta-prod", "Error")
    delivered = len(site.sink.delivered("okta-prod", "events"))
    assert delivered < 60
    if by == "a larger buffer":
        site.configure(sinks={"default": first, "other": second | {"buffer_bytes": "8MiB"}})
    else:
        site.configure(sinks={"default": first})
    daemon.reload()
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")


@pytest.mark.parametrize("by", ["reload", "restart"])
def test_after_the_window_a_sink_quits(site, by):
    site.source("okta-prod", okta := site.okta())
    site.configure(sink={"retry": {**SHORT, "then": "quit"}})
    site.call(site.sink.fail, UNAVAILABLE, times=None)
    site.call(okta.issue, 5)
    daemon = site.start()
    eventually(lambda: daemon.sink()["state"] == "Error")
    time.sleep(2)
    posts = site.sink.counters["posts"]
    assert posts >= 5
    site.call(site.sink.faults.clear)
    site.call(okta.issue, 5)
    time.sleep(A_WHILE)
    assert site.sink.counters["posts"] == posts
    assert daemon.open_events("default").keys() == {"FirstPartyGenericError"}
    if by == "reload":
        daemon.reload()
    else:
        daemon.act("okta-prod", "restart")
    site.wait_until_all_is_delivered()
    eventually(lambda: daemon.open_events() == {})


def test_after_the_window_a_sink_is_asked_slowly(site):
    site.source("okta-prod", okta := site.okta())
    site.configure(sink={"retry": {**SHORT, "then": "1s"}})
    site.call(site.sink.fail, UNAVAILABLE, times=None)
    site.call(okta.issue, 5)
    site.start()
    eventually(lambda: site.sink.counters["posts"] >= 5)
    time.sleep(1.5)
    posts = site.sink.counters["posts"]
    time.sleep(2.5)
    assert 1 <= site.sink.counters["posts"] - posts <= 4
    site.call(site.sink.faults.clear)
    site.wait_until_all_is_delivered()


def test_sink_that_refuses_everything_is_left_alone_until_a_reload(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    right = site.sink.knobs.authorization
    site.sink.knobs.authorization = "another"
    site.call(okta.issue, 5)
    daemon = site.start()
    eventually(lambda: daemon.sink()["state"] == "Error")
    assert daemon.sink()["error"]["code"] == 401
    posts = site.sink.counters["posts"]
    site.call(okta.issue, 5)
    eventually(lambda: daemon.stream("okta-prod")["records_received"] == 10)
    time.sleep(A_WHILE)
    assert site.sink.counters["posts"] == posts
    site.sink.knobs.authorization = right
    daemon.reload()
    site.wait_until_all_is_delivered()
    eventually(lambda: daemon.sink()["state"] == "Healthy")


def test_poison_record_becomes_a_dead_letter_and_the_others_are_delivered(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.sink.knobs.poison = b"poison.of.a.kind"
    site.call(okta.issue, 20)
    site.call(okta.issue, 1, event_type="poison.of.a.kind")
    site.call(okta.issue, 20)
    daemon = site.start()
    eventually(lambda: daemon.sink()["dead_letters"] == 1)
    eventually(lambda: len(site.sink.delivered("okta-prod", "events")) == 40)
    assert daemon.sink()["state"] == "Healthy"
    eventually(lambda: daemon.sink()["backlog_records"] == 0)  # acknowledged a moment after it arrived


@pytest.fixture
def small_disk(site: Site):
    """The state directory on a disk of its own, which is soon full."""
    site.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", site.state], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield
    site.close()
    site.runtime.mkdir()
    subprocess.run(["umount", site.state], check=True)


def test_full_disk_is_told_and_nothing_is_lost(site, small_disk):
    site.source("okta-prod", okta := site.okta(event_bytes=10_000), page_size=50)
    site.configure(sink={"compression": "none"})
    daemon = site.start("quick_housekeeping")
    site.call_async(site.sink.go_down)
    site.call(okta.issue, 1900)
    state = daemon.wait_for_state("okta-prod", "Error")
    assert state["errorType"] == "FIRST-PARTY-GENERIC"
    assert "disk" in state["errorInfo"]
    assert "FirstPartyGenericError" in daemon.open_events("okta-prod")
    time.sleep(A_WHILE)
    site.call_async(site.sink.come_back)
    eventually(lambda: daemon.sink()["backlog_records"] == 0)
    assert site.sink.counters["redeliveries"] == 0
    eventually((site.state / "ballast").exists)  # the room that was taken is given back
    daemon.act("okta-prod", "restart")
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.stop() == 0
    shutil.copytree(site.state, site.folder / "copy")


def fill(disk: Path) -> Path:
    """Take the last byte of a disk."""
    junk = disk / "junk"
    with junk.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**16)):
            pass
    return junk


def test_start_and_reload_on_a_full_disk_deliver_what_waits(site, small_disk):
    """Nobody can collect now, but what was collected goes out, and its acknowledgements make room."""
    site.source("okta-prod", okta := site.okta(event_bytes=10_000), page_size=50)
    site.configure(sink={"compression": "none"})
    daemon = site.start()
    site.call_async(site.sink.go_down)
    site.call(okta.issue, 1900)
    daemon.wait_for_state("okta-prod", "Error")
    backlog = daemon.sink()["backlog_records"]
    fill(site.state)
    daemon.kill()
    junk = fill(site.state)

    daemon = site.start("quick_housekeeping")
    assert daemon.sink()["backlog_records"] == backlog
    other = site.okta(token="other")
    site.source("okta-other", other, token="other")
    daemon.reload()
    assert len(daemon.status()["sources"]) == 2
    site.call_async(site.sink.come_back)
    eventually(lambda: daemon.sink()["backlog_records"] == 0)
    assert site.sink.counters["redeliveries"] == 0

    junk.unlink()
    eventually((site.state / "ballast").exists)
    site.call(other.issue, 3)
    daemon.reload()
    site.wait_until_all_is_delivered()
    eventually(lambda: daemon.open_events() == {})
    assert daemon.stop() == 0
