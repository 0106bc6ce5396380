"""Start, reload and stop of the daemon as systemd and an operator see them."""

import json
import re
import signal
import stat
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from collectord.demo.faults import Slow, Status
from tests.daemon.harness import Site, source_document
from tests.daemon.process import Daemon, eventually

UNAVAILABLE = Status(503)
FOR_EVER = {"times": None}
RESTARTED = "1 restarted"


@pytest.fixture
def running(site: Site) -> Daemon:
    """A daemon with one source that has delivered its first events."""
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start()
    site.wait_until_all_is_delivered()
    return daemon


def received(daemon: Daemon, name: str) -> int:
    count: int = daemon.stream(name).get("records_received", 0)
    return count


# --------------------------------------------------------------------------------------------------- start


def test_start_says_ready_and_what_runs(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.launch().wait_until_ready()
    (ready,) = daemon.notify.with_key("READY")
    assert re.fullmatch("1 sources?, 0 in error", ready.values["STATUS"])
    site.wait_until_all_is_delivered()
    assert daemon.stop() == 0


def test_log_is_one_json_object_a_line(running):
    running.stop()
    lines = running.log()
    assert {"configuration applied", "ready", "stopping"} <= {line["event"] for line in lines}
    assert all(line.keys() >= {"timestamp", "level", "event"} for line in lines)


def test_no_event_is_ever_logged(site):
    """PAN-SP logged every one in a debug build; here the level is debug, too."""
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5, event_type="marker.in.the.payload")
    daemon = site.start()
    site.wait_until_all_is_delivered()
    daemon.stop()
    assert daemon.log("ready")
    assert "marker" not in daemon.log_path.read_text()


def test_second_daemon_on_the_same_state_directory_is_refused(site, running):
    other = site.launch(RUNTIME_DIRECTORY=str(site.folder))
    assert other.wait() == 78
    assert "in use by another collectord" in other.log()[-1]["reason"]
    assert not other.is_ready()
    site.call(site.vendors["okta-prod"].issue, 5)
    site.wait_until_all_is_delivered()


def test_bad_configuration_ends_with_78_and_names_every_fault(site):
    site.source("okta-a", okta := site.okta())
    site.source("okta-b", okta, intervals={"events": "soon"}, colour="red")
    site.configure(stop_grace="never")
    site.source_file("okta-c").write_text("source: [")
    daemon = site.launch()
    assert daemon.wait() == 78
    faults = {(line["file"], line["place"].partition(" ")[0]) for line in daemon.log("configuration fault")}
    assert faults >= {
        ("collectord.yaml", "stop_grace"),
        ("sources.d/okta-b.yaml", "source.collectord.intervals.events"),
        ("sources.d/okta-b.yaml", "source.collectord.colour"),
    }
    assert any(file == "sources.d/okta-c.yaml" for file, _ in faults)
    assert not daemon.notify.datagrams


def test_missing_configuration_ends_with_78(site):
    assert site.launch().wait() == 78


@pytest.mark.parametrize("kind", ["below a file", "read-only", "a foreign database", "a newer state store"])
def test_state_directory_that_cannot_be_used_ends_with_78_and_one_clear_line(site, kind):
    site.source("okta-prod", site.okta())
    site.state.mkdir()
    directory = site.state
    if kind == "below a file":
        (site.folder / "file").write_text("")
        directory = site.folder / "file" / "state"
    elif kind == "read-only":
        directory = Path("/sys/collectord")
    else:
        import sqlite3

        with sqlite3.connect(site.state / "state.db") as database:
            database.execute("CREATE TABLE other(x)")
            if kind == "a newer state store":
                database.execute("PRAGMA application_id = 0x436f6c64")
                database.execute("PRAGMA user_version = 999")
        database.close()
    site.configure(state={"directory": str(directory)})
    daemon = site.launch()
    assert daemon.wait() == 78
    (line,) = daemon.log()
    assert str(directory) in line["reason"]


def test_socket_that_cannot_be_made_ends_with_78_and_one_clear_line(site):
    site.source("okta-prod", site.okta())
    site.configure(management={"socket": str(site.folder / ("long" * 30))})
    daemon = site.launch()
    assert daemon.wait() == 78
    (line,) = daemon.log("configuration fault")
    assert line["place"] == "management.socket"


def test_socket_is_for_owner_and_group_and_takes_the_place_of_a_stale_one(site, running):
    mode = site.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    running.kill()
    assert site.socket.exists()
    again = site.start()
    assert again.status()["collector"]["name"] == "soc-1"
    assert again.stop() == 0
    assert not site.socket.exists()


def test_state_directory_is_for_the_owner_alone(site, running):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [site.state, *site.state.iterdir()]}
    assert not {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


@pytest.mark.timeout(120)
def test_thousand_sources_do_not_begin_in_the_same_second(site):
    okta = site.okta()
    names = [f"okta-{number}" for number in range(1000)]
    sources = [source_document(name, okta, "okta", intervals={"events": "5m"}) for name in names]
    (site.config.parent / "sources.d" / "all.json").write_text(json.dumps({"sources": sources}))
    site.configure()
    site.vendors["okta-0"] = okta
    daemon = site.start()

    def plan() -> list[str]:
        streams = [stream for source in daemon.status()["sources"] for stream in source["streams"]]
        return [stream["next_poll_at"] for stream in streams if stream["next_poll_at"]]

    planned = eventually(lambda: len(found := plan()) == 1000 and found) or []
    seconds = Counter(at[:19] for at in planned)
    assert len(seconds) >= 40
    assert max(seconds.values()) <= 60
    time.sleep(2)
    assert 1 <= okta.counters["requests"] <= 200

    site.source("one-more", okta)
    asked_at = time.monotonic()
    daemon.reload()
    assert time.monotonic() - asked_at < 10
    assert daemon.log("configuration applied")[-1]["sources"].startswith("1 started, 0 restarted")
    assert daemon.stop() == 0


# ---------------------------------------------------------------------------------------------------- stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_daemon_stops_at_once(running, number):
    asked_at = time.monotonic()
    running.send(number)
    assert running.wait() == 0
    assert time.monotonic() - asked_at < 5
    assert running.notify.datagrams[-1].text == "STOPPING=1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_it_is_still_loading_is_a_stop_like_any_other(site, number):
    site.configure()
    daemon = site.launch()
    status = Path(f"/proc/{daemon.pid}/status")
    listens = 1 << (signal.SIGTERM - 1)  # Python itself listens to SIGINT from the beginning
    eventually(lambda: int(re.findall(r"SigCgt:\s+(\w+)", status.read_text())[0], 16) & listens)
    daemon.send(number)
    assert daemon.wait() == 0
    assert "Traceback" not in daemon.log_path.read_text()


def test_stop_waits_for_a_sink_that_hangs_no_longer_than_the_grace(site, running):
    site.configure(stop_grace="1s")
    running.reload()
    site.call(site.sink.fail, Slow(before=60))
    posts = site.sink.counters["posts"]
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: site.sink.counters["posts"] > posts)
    asked_at = time.monotonic()
    assert running.stop() == 0
    assert 0.5 < time.monotonic() - asked_at < 8
    site.start()
    site.wait_until_all_is_delivered()


def test_batch_that_arrives_within_the_grace_is_acknowledged(site, running):
    site.call(site.sink.fail, Slow(before=1))
    posts = site.sink.counters["posts"]
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: site.sink.counters["posts"] > posts)
    assert running.stop() == 0
    assert site.verdict().ok
    again = site.start()
    eventually(lambda: again.stream("okta-prod").get("last_success_at"))
    assert again.sink()["backlog_records"] == 0
    assert site.sink.counters["redeliveries"] == 0


def test_second_signal_stops_at_once(site, running):
    site.configure(stop_grace="1h")
    running.reload()
    site.call(site.sink.fail, Slow(before=60))
    posts = site.sink.counters["posts"]
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: site.sink.counters["posts"] > posts)
    running.send(signal.SIGTERM)
    eventually(lambda: running.notify.with_key("STOPPING"))
    with pytest.raises(Exception, match="timed out"):
        running.wait(1)
    running.send(signal.SIGTERM)
    assert running.wait(5) == 0
    site.start()
    site.wait_until_all_is_delivered()


def test_stop_ends_the_waiting_of_sources_and_sinks_in_trouble(site):
    slow = {"initial": "1h", "max": "1h"}
    site.source("okta-prod", okta := site.okta(), retry=slow)
    site.source("okta-other", other := site.okta(token="other"), token="other")
    site.configure(sink={"retry": slow})
    site.call(okta.fail, UNAVAILABLE, times=None)
    site.call(site.sink.fail, UNAVAILABLE, times=None)
    site.call(other.issue, 3)
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Error")
    eventually(lambda: daemon.sink()["state"] == "Error")
    asked_at = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - asked_at < 5


def test_stop_during_a_reload(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    site.call(okta.issue, 5)
    daemon = site.start("slow_reload")
    site.source("okta-new", okta)
    daemon.send(signal.SIGHUP)
    eventually(lambda: daemon.log("reloading"))
    assert daemon.stop() == 0
    assert daemon.notify.datagrams[-1].text == "STOPPING=1"


def test_stop_while_a_reload_waits_for_a_sink_that_hangs(site, running):
    """The reload waits for the batch in flight to the sink that changed; the stop's own grace is shorter."""
    site.configure(stop_grace="500ms")
    running.reload()
    site.call(site.sink.fail, Slow(before=60))
    posts = site.sink.counters["posts"]
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: site.sink.counters["posts"] > posts)
    site.configure(stop_grace="500ms", sink={"compression": "none"})
    running.send(signal.SIGHUP)
    eventually(lambda: len(running.notify.with_key("RELOADING")) == 2)
    asked_at = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - asked_at < 4
    site.start()
    site.wait_until_all_is_delivered()


# -------------------------------------------------------------------------------------------------- reload


def test_reload_is_told_in_one_datagram_with_its_time(running):
    running.reload()
    (reloading,) = running.notify.with_key("RELOADING")
    told = int(reloading.values["MONOTONIC_USEC"]) / 1_000_000
    assert reloading.values["RELOADING"] == "1"
    assert reloading.at - 5 < told <= reloading.at
    assert [next(iter(each.values)) for each in running.notify.datagrams] == ["READY", "RELOADING", "READY"]


def test_reload_without_a_change_touches_nothing(site, running):
    vendor = site.vendors["okta-prod"]
    running.reload()
    site.call(vendor.issue, 5)
    site.wait_until_all_is_delivered()
    eventually(lambda: received(running, "okta-prod") == 10)
    assert (site.connections(vendor), site.connections(site.sink)) == (1, 1)
    assert running.log("configuration applied")[-1]["sources"] == "0 started, 0 restarted, 0 stopped, 1 untouched"


def test_reload_is_a_difference(site):
    """One source changes, one goes, one is new, and one does not notice."""
    vendors = {name: site.okta(token=name) for name in ("stays", "changes", "goes", "comes")}
    for name in ("stays", "changes", "goes"):
        site.source(name, vendors[name], token=name)
    site.configure()
    for vendor in vendors.values():
        site.call(vendor.issue, 3)
    daemon = site.start()
    site.wait_until_all_is_delivered()

    site.source("changes", vendors["changes"], token="changes", intervals={"events": "100ms"})
    site.source("comes", vendors["comes"], token="comes")
    site.source_file("goes").unlink()
    assert daemon.reload() == "3 sources, 0 in error"
    assert daemon.log("configuration applied")[-1]["sources"] == "1 started, 1 restarted, 1 stopped, 1 untouched"
    asked = vendors["goes"].counters["requests"]
    for name in ("stays", "changes", "comes"):
        site.call(vendors[name].issue, 2)
    site.wait_until_all_is_delivered()
    assert received(daemon, "stays") == 5
    assert received(daemon, "changes") == 2  # counted anew, collected from its checkpoint
    assert daemon.stream("changes")["interval_seconds"] == 0.1
    assert {source["name"] for source in daemon.status()["sources"]} == {"stays", "changes", "comes"}
    assert vendors["goes"].counters["requests"] == asked
    assert site.connections(vendors["stays"]) == 1


def test_what_a_removed_source_collected_is_still_delivered(site, running):
    vendor = site.vendors["okta-prod"]
    site.call_async(site.sink.go_down)
    site.call(vendor.issue, 5)
    eventually(lambda: running.sink()["backlog_records"] == 5)
    site.source_file("okta-prod").unlink()
    running.reload()
    assert running.status()["sources"] == []
    site.call_async(site.sink.come_back)
    site.wait_until_all_is_delivered()


def test_rotated_credential_restarts_its_source_alone(site, running):
    other = site.okta(token="other")
    site.source("okta-other", other, token="other")
    running.reload()
    site.call(other.issue, 5)
    site.wait_until_all_is_delivered()
    site.call(other.revoke, other.token)
    site.call(other.accept_credential, site.secret("other", "rotated"))
    running.reload()
    assert running.log("configuration applied")[-1]["sources"] == "0 started, 1 restarted, 0 stopped, 1 untouched"
    site.call(other.issue, 5)
    site.wait_until_all_is_delivered()


def test_changed_collector_restarts_every_source(site, running):
    site.configure(collector={"name": "soc-2"})
    running.reload()
    assert RESTARTED in running.log("configuration applied")[-1]["sources"]
    assert running.status()["collector"]["name"] == "soc-2"


def test_change_that_needs_a_restart_is_said_until_it_is_undone(site, running):
    site.configure(management={"socket": str(site.folder / "other.sock")})
    running.reload()
    running.reload()
    assert running.open_events("soc-1").keys() == {"RestartNeeded"}
    site.configure()
    running.reload()
    assert running.open_events() == {}


@pytest.mark.parametrize("fault", ["broken", "unknown key", "gone credential"])
def test_invalid_file_keeps_what_runs(site, running, fault):
    vendor = site.vendors["okta-prod"]
    file = site.source_file("okta-prod")
    right = file.read_text()
    if fault == "broken":
        file.write_text(right[:-9])
    elif fault == "unknown key":
        site.source("okta-prod", vendor, colour="red")
    else:
        site.source("okta-prod", vendor, token="nobody-has-it")
    assert "refused" in running.reload()
    assert running.open_events("soc-1").keys() == {"ConfigurationRefused"}
    assert running.log("configuration fault")[-1]["file"] == "sources.d/okta-prod.yaml"
    site.call(vendor.issue, 5)
    site.wait_until_all_is_delivered()
    assert site.connections(vendor) == 1

    file.write_text(right)
    assert re.fullmatch("1 sources?, 0 in error", running.reload())
    assert running.open_events() == {}
    assert running.closed_events("soc-1") == ["ConfigurationRefused"]
    assert received(running, "okta-prod") == 10


def test_changed_sink_is_opened_anew_and_sources_do_not_notice(site, running):
    vendor = site.vendors["okta-prod"]
    site.sinks["new"] = new = site.open_sink()
    site.configure(sinks={"default": site.sink_settings(new)})
    running.reload()
    assert "1 untouched" in running.log("configuration applied")[-1]["sources"]
    site.call(vendor.issue, 5)
    eventually(lambda: len(new.delivered("okta-prod", "events")) == 5)
    assert len(site.sink.delivered("okta-prod", "events")) == 5
    assert received(running, "okta-prod") == 10
    assert site.connections(vendor) == 1


def test_what_waits_for_a_sink_goes_to_its_new_address(site, running):
    site.call_async(site.sink.go_down)
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: running.sink()["backlog_records"] == 5)
    site.sinks["new"] = new = site.open_sink()
    site.configure(sinks={"default": site.sink_settings(new)})
    running.reload()
    eventually(lambda: len(new.delivered("okta-prod", "events")) == 5)


def test_reload_that_changes_a_sink_with_a_batch_in_flight_ends_within_ten_seconds(site, running):
    site.call(site.sink.fail, Slow(before=60))
    posts = site.sink.counters["posts"]
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: site.sink.counters["posts"] > posts)
    site.configure(sink={"timeout": "30s"})
    asked_at = time.monotonic()
    running.reload()
    assert time.monotonic() - asked_at < 10
    site.wait_until_all_is_delivered()


def test_hundred_hangups_are_a_few_reloads_and_the_last_files_win(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    daemon = site.start("slow_reload")
    for number in range(100):
        if number == 95:
            site.source("okta-new", okta)
        daemon.send(signal.SIGHUP)
        time.sleep(0.01)
    eventually(lambda: len(daemon.status()["sources"]) == 2)
    reloads = daemon.notify.with_key("RELOADING")
    eventually(lambda: len(daemon.notify.with_key("READY")) > len(daemon.notify.with_key("RELOADING")))
    assert 2 <= len(reloads) <= 8
    assert daemon.notify.datagrams[-1].values["READY"] == "1"
    site.call(okta.issue, 3)
    site.wait_until_all_is_delivered()


def test_hangup_during_the_start_is_a_reload_after_it(site):
    site.source("okta-prod", okta := site.okta())
    site.configure()
    daemon = site.fork(tamper=["slow_start"])
    eventually(lambda: daemon.log("opening"))
    site.source("okta-new", okta)
    daemon.send(signal.SIGHUP)
    daemon.wait_until_ready()
    daemon.wait_until_reloaded()
    assert len(daemon.status()["sources"]) == 2


def test_hangup_during_the_stop_changes_nothing(site, running):
    site.call(site.sink.fail, Slow(before=1))
    posts = site.sink.counters["posts"]
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: site.sink.counters["posts"] > posts)
    running.send(signal.SIGTERM)
    eventually(lambda: running.notify.with_key("STOPPING"))
    running.send(signal.SIGHUP)
    assert running.wait() == 0
    assert not running.notify.with_key("RELOADING")
    assert site.verdict().ok


def test_hangup_while_the_sink_fails_asks_it_again_and_loses_nothing(site, running):
    site.configure(sink={"retry": {"initial": "1h", "max": "1h"}})
    running.reload()
    site.call(site.sink.fail, UNAVAILABLE, times=None)
    site.call(site.vendors["okta-prod"].issue, 5)
    eventually(lambda: running.sink()["state"] == "Error")
    running.reload()
    eventually(lambda: running.sink()["state"] == "Error")
    site.call(site.sink.faults.clear)
    running.reload()
    site.wait_until_all_is_delivered()
    eventually(lambda: running.sink()["state"] == "Healthy")
    assert running.open_events() == {}


def test_hangup_while_a_source_waits_starts_it_anew(site):
    site.source("okta-prod", okta := site.okta(), retry={"initial": "1h", "max": "1h"})
    site.configure()
    site.call(okta.issue, 5)
    site.call(okta.fail, UNAVAILABLE, times=None)
    daemon = site.start()
    assert daemon.wait_for_state("okta-prod", "Error")["errorType"] == "THIRD-PARTY-GENERIC"
    site.call(okta.faults.clear)
    daemon.reload()
    site.wait_until_all_is_delivered()
    daemon.wait_for_state("okta-prod", "Collecting")
    assert daemon.open_events() == {}


def test_reloads_and_restarts_at_the_same_time_leave_one_task_for_each_source(site, running):
    vendor = site.vendors["okta-prod"]
    site.source("okta-prod", vendor, intervals={"events": "500ms"})
    running.reload()
    hurry = threading.Event()

    def hang_up() -> None:
        while not hurry.wait(0.005):
            site.source("okta-other", vendor, intervals={"events": f"{time.monotonic_ns() % 1000 + 500}ms"})
            running.send(signal.SIGHUP)

    hanging_up = threading.Thread(target=hang_up)
    hanging_up.start()
    with ThreadPoolExecutor(8) as pool:
        for action in ["restart", "pause", "resume", "poll"] * 12:
            pool.submit(running.act, "okta-prod", action)
    hurry.set()
    hanging_up.join()
    running.act("okta-prod", "restart")
    site.call(vendor.issue, 5)
    site.wait_until_all_is_delivered()
    asked = vendor.counters["requests"]
    time.sleep(2)
    assert vendor.counters["requests"] - asked <= 10
    assert running.stop() == 0


# ------------------------------------------------------------------------------------------------- watchdog


def test_watchdog_is_fed(site):
    site.source("okta-prod", site.okta())
    site.configure()
    daemon = site.start(WATCHDOG_USEC="200000")
    eventually(lambda: len(daemon.notify.with_key("WATCHDOG")) >= 5)


def test_without_a_watchdog_nothing_is_fed(running):
    assert not running.notify.with_key("WATCHDOG")


@pytest.mark.parametrize("mistake", ["blocking_stream", "hanging_stream"])
def test_watchdog_starves_when_a_stream_hangs(site, mistake):
    site.source("okta-prod", site.okta(), intervals={"events": "100ms"})
    site.configure()
    daemon = site.start(mistake, WATCHDOG_USEC="200000")
    eventually(lambda: daemon.notify.with_key("WATCHDOG"))
    eventually(lambda: daemon.log("it happens"))
    happened_at = time.monotonic()
    time.sleep(2)
    assert not [each for each in daemon.notify.with_key("WATCHDOG") if each.at > happened_at + 1]
    daemon.send(signal.SIGKILL)


def test_mistake_in_one_source_leaves_the_others_alone(site):
    """What the program does not expect is shown, and the source is tried again later; the watchdog is content."""
    site.source("okta-bad", bad := site.okta(token="bad"), token="bad", intervals={"events": "50ms"})
    site.source("okta-good", good := site.okta(token="good"), token="good", intervals={"events": "1s"})
    site.configure()
    site.allowed.append("a mistake of ours")
    daemon = site.start("failing_stream", WATCHDOG_USEC="200000")
    state = daemon.wait_for_state("okta-bad", "Error")
    assert (state["errorType"], state.get("errorInfo", "")[:17]) == ("FIRST-PARTY-GENERIC", "an internal error")
    assert daemon.open_events("okta-bad").keys() == {"FirstPartyGenericError"}
    fed = len(daemon.notify.with_key("WATCHDOG"))
    site.call(good.issue, 3)
    eventually(lambda: len(site.sink.delivered("okta-good", "events")) == 3)
    eventually(lambda: len(daemon.notify.with_key("WATCHDOG")) > fed)
    daemon.act("okta-bad", "restart")
    site.call(bad.issue, 3)
    site.wait_until_all_is_delivered()
    eventually(lambda: daemon.open_events() == {})


# ------------------------------------------------------------------------------------------------- commands


def test_status_and_health_as_commands(site, running):
    said = site.command("status", "--json")
    assert said.returncode == 0
    status = json.loads(said.stdout)
    (source,) = status["sources"]
    (stream,) = source["streams"]
    assert (source["name"], source["type"], source["state"]) == ("okta-prod", "Okta", {"state": "Collecting"})
    assert (stream["name"], stream["records_received"], stream["records_delivered"]) == ("events", 5, 5)
    assert status["sinks"][0]["state"] == "Healthy"
    assert status["collector"]["name"] == "soc-1"
    assert json.loads(site.command("health", "--json").stdout) == {"open": [], "recent": []}
    assert "okta-prod" in site.command("status").stdout
    assert "All is well" in site.command("health").stdout


def test_pause_resume_poll_and_restart_as_commands(site):
    site.source("okta-prod", okta := site.okta(), intervals={"events": "1h"})
    site.configure()
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Collecting")
    site.call(okta.issue, 3)
    assert site.command("poll", "okta-prod").returncode == 0
    site.wait_until_all_is_delivered()
    assert site.command("pause", "okta-prod").stdout.split() == ["okta-prod:", "Paused"]
    asked = okta.counters["requests"]
    site.call(okta.issue, 3)
    site.command("poll", "okta-prod")
    daemon.reload()
    assert daemon.state("okta-prod")["state"] == "Paused"
    assert okta.counters["requests"] == asked
    assert site.command("resume", "okta-prod").returncode == 0
    site.wait_until_all_is_delivered()
    site.call(okta.issue, 3)
    assert site.command("restart", "okta-prod").returncode == 0
    site.wait_until_all_is_delivered()


def test_commands_that_cannot_be_done_say_why(site, running):
    unknown = site.command("restart", "okta-dev")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "okta-dev" in unknown.stderr
    assert "okta-prod" in unknown.stderr
    assert site.command("restart").returncode == 2
    assert site.command("dance").returncode == 2
    running.stop()
    silent = site.command("status", "--json")
    assert (silent.returncode, silent.stdout) == (1, "")
    assert "no collectord answers" in silent.stderr
