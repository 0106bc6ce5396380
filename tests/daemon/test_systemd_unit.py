"""The unit: what systemd thinks of it, and what it does with the real daemon under a real systemd."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.demo.sink import NdjsonSink, SinkKnobs
from collectord.settings import DaemonSettings
from tests.daemon.machine import UNIT, Machine, booted, cannot, eventually, install, interpreter, need
from tests.daemon.unit_service import STATUS, Service

pytestmark = pytest.mark.timeout(300)  # installing takes a quarter of a minute, with a slow network longer

MAX_EXPOSURE = 1.5
TOKEN = "00canaryCANARYcanary0123456789AB"
SINK_TOKEN = "sinkCANARYsinkCANARY-abcdef"


# ------------------------------------------------------------------------------------------ the file by itself


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        cannot("not installed: systemd-analyze (Debian, Ubuntu: apt install systemd)")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def option(name: str) -> str:
    """The value of an option that stands once in the unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return value


def test_systemd_has_nothing_to_say_about_the_unit(tmp_path):
    """Its exit code is 0 for much that it ignores: what counts is that it is silent."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/collectord/bin/collectord", "/bin/true"))
    checked = analyze("verify", copy)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_sandbox_is_tight():
    found = analyze("security", "--offline=true", "--no-pager", UNIT)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", found.stdout)
    assert exposure, found
    assert float(exposure[1]) <= MAX_EXPOSURE


def test_systemd_waits_longer_for_the_end_than_the_daemon_takes():
    grace = DaemonSettings.model_fields["stop_grace"].default
    assert float(option("TimeoutStopSec").removesuffix("s")) >= 2 * grace


# --------------------------------------------------------------------------------------- under a real systemd


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Machine]:
    need("systemd-nspawn", "nsenter", "setpriv", "unshare")
    folder = tmp_path_factory.mktemp("machine")
    for name in ("program", "etc", "etc/credentials"):
        (folder / name).mkdir(mode=0o755)
    for name, secret in (("okta", TOKEN), ("sink_token", SINK_TOKEN)):
        (folder / "etc/credentials" / name).write_text(secret)
        (folder / "etc/credentials" / name).chmod(0o600)
    python = interpreter()
    install(folder / "program", python)
    (folder / "program").chmod(0o755)
    with booted(folder / "program", python, folder / "etc", folder / "console") as machine:
        yield machine


@pytest.fixture
def service(machine) -> Iterator[Service]:
    """Configured, with some events waiting, not yet started."""
    shutil.rmtree(machine.configuration / "sources.d", ignore_errors=True)
    okta = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    sink = NdjsonSink(SinkKnobs(authorization=f"Bearer {SINK_TOKEN}"))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(okta.serve()),
        portal.wrap_async_context_manager(sink.serve()),
    ):
        service = Service(machine, portal, okta, sink)
        service.configure()
        service.add_source("okta-prod")
        service.issue(25)
        try:
            yield service
        finally:
            print(*(entry.get("MESSAGE") for entry in machine.journal()), sep="\n")  # shown when the test fails
            machine.forget()


@pytest.fixture
def running(service) -> Service:
    service.machine.systemctl("start")
    return service


def test_start_returns_when_the_daemon_is_ready(running):
    machine = running.machine
    assert (machine.show("ActiveState"), machine.show("SubState")) == ("active", "running")
    assert running.sources() == {"okta-prod"}
    assert "1" in machine.show("StatusText")
    assert running.delivers_everything()


def test_systemd_has_nothing_to_say_about_the_installed_unit(running):
    assert running.machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT.name}", check=False) == ""


def test_the_daemon_lives_in_a_sandbox(running):
    machine = running.machine
    facts = dict(re.findall(r"^(\w+):\s+(.*)$", machine.run("cat", f"/proc/{machine.main_pid()}/status"), re.MULTILINE))
    assert "0" not in facts["Uid"].split()
    assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    limits = machine.run("cat", f"/proc/{machine.main_pid()}/limits")
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert machine.run("stat", "-Lc", "%a", "/var/lib/collectord").strip() == "700"
    modes = machine.run("sh", "-c", "stat -c %a /var/lib/collectord/*").split()
    assert modes
    assert all(int(mode, 8) & 0o077 == 0 for mode in modes), modes


def test_no_secret_is_seen_from_outside(running):
    assert running.delivers_everything()
    machine = running.machine
    seen = "".join(machine.run("cat", f"/proc/{machine.main_pid()}/{name}") for name in ("cmdline", "environ"))
    seen += machine.run("systemctl", "show", UNIT.name) + machine.run(*STATUS) + json.dumps(machine.journal())
    assert TOKEN not in seen
    assert SINK_TOKEN not in seen


def test_the_journal_holds_an_object_a_line_with_its_priority(running):
    ours = [
        entry
        for entry in running.machine.journal()
        if entry["_COMM"] != "systemd" and entry.get("_PID") == str(running.machine.main_pid())
    ]
    assert ours
    for entry in ours:
        line = json.loads(entry["MESSAGE"])
        assert {"timestamp", "level", "event"} <= set(line)
        assert (
            entry["PRIORITY"]
            == {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}[line["level"]]
        )


def test_the_socket_is_for_root_and_the_group(service):
    machine = service.machine
    machine.run("useradd", "--system", "--user-group", "--no-create-home", "collectord")
    machine.run("useradd", "--user-group", "--groups", "collectord", "member")
    machine.run("useradd", "--user-group", "stranger")
    machine.systemctl("start")
    assert machine.succeeds(*STATUS)
    assert machine.succeeds("setpriv", "--reuid=member", "--regid=member", "--init-groups", *STATUS)
    assert not machine.succeeds("setpriv", "--reuid=stranger", "--regid=stranger", "--init-groups", *STATUS)
    machine.systemctl("stop")
    machine.run("sh", "-c", "userdel member; userdel collectord; groupdel collectord 2>&1 || true")


def test_reload_returns_when_the_change_is_in_effect(running):
    pid = running.machine.main_pid()
    for number in range(5):
        running.add_source(f"okta-{number}")
        running.machine.systemctl("reload")
        assert f"okta-{number}" in running.sources()
    assert running.machine.main_pid() == pid
    assert "6" in running.machine.show("StatusText")


def test_reload_of_a_faulty_configuration_changes_nothing_and_says_so(running):
    pid = running.machine.main_pid()
    running.configure("            nonsense: 1")
    began = time.monotonic()
    running.machine.run("systemctl", "reload", UNIT.name, check=False)
    assert time.monotonic() - began < 10, "READY=1 must be said all the same"
    assert running.machine.main_pid() == pid
    assert "refused" in running.machine.show("StatusText")
    assert any("nonsense" in str(entry["MESSAGE"]) for entry in running.machine.journal())
    running.issue(5)
    assert running.delivers_everything()
    running.configure()
    running.machine.systemctl("reload")
    assert "refused" not in running.machine.show("StatusText")


def test_a_faulty_configuration_at_start_is_not_tried_again(service):
    service.machine.drop_in("RestartSec=100ms")
    service.configure("            nonsense: 1")
    assert not service.machine.succeeds("systemctl", "start", UNIT.name)
    time.sleep(1)
    assert service.machine.show("ActiveState") == "failed"
    assert service.machine.show("ExecMainStatus") == "78"
    assert service.machine.show("NRestarts") == "0"
    assert any("nonsense" in str(entry["MESSAGE"]) for entry in service.machine.journal())


def test_killed_in_the_middle_it_comes_back_and_loses_nothing(service):
    service.machine.drop_in("RestartSec=100ms")
    service.sink.knobs.read_bytes_per_second = 300_000
    service.issue(2_000)
    service.machine.systemctl("start")
    for kills in (1, 2, 3):
        posts = service.sink.counters["posts"]
        assert service.posts_more_than(posts + 1)
        pid = service.machine.kill("KILL")
        assert service.comes_back_after(pid)
        assert service.machine.show("NRestarts") == str(kills)
    service.sink.knobs.read_bytes_per_second = None
    assert service.delivers_everything(), service.verdict()


def test_a_reload_too_early_does_not_end_it_for_good(service):
    service.machine.drop_in("RestartSec=100ms")
    service.machine.run("systemctl", "start", "--no-block", UNIT.name)
    assert eventually(lambda: service.machine.main_pid() != 0)
    service.machine.kill("HUP")
    assert service.delivers_everything()


def test_the_watchdog_ends_a_hung_daemon(service):
    service.machine.drop_in("WatchdogSec=2s\nTimeoutAbortSec=1s\nRestart=no")
    service.machine.systemctl("start")
    time.sleep(5)
    assert service.machine.show("ActiveState") == "active", "it must be fed"
    service.machine.kill("STOP")
    assert eventually(lambda: service.machine.show("ActiveState") == "failed")
    assert service.machine.show("Result") == "watchdog"


def test_after_the_watchdog_the_daemon_is_started_again(service):
    service.machine.drop_in("WatchdogSec=2s\nTimeoutAbortSec=1s\nRestartSec=100ms")
    service.machine.systemctl("start")
    service.machine.kill("STOP")
    assert eventually(lambda: service.machine.show("NRestarts") == "1")
    assert service.delivers_everything()


def test_stop_keeps_its_grace_while_the_sink_is_dead(running):
    assert running.delivers_everything()
    running.portal.call(running.sink.go_down)
    running.issue(50)
    time.sleep(1)
    began = time.monotonic()
    running.machine.systemctl("stop")
    assert time.monotonic() - began < 12
    assert (running.machine.show("Result"), running.machine.show("ExecMainStatus")) == ("success", "0")
    running.portal.call(running.sink.come_back)
    running.machine.systemctl("start")
    assert running.delivers_everything(), running.verdict()


def test_stop_cuts_a_batch_that_a_stalling_sink_does_not_take(running):
    assert running.delivers_everything()
    running.sink.knobs.read_bytes_per_second = 1
    running.issue(50)
    time.sleep(1)
    began = time.monotonic()
    running.machine.systemctl("stop")
    assert time.monotonic() - began < 20
    assert running.machine.show("Result") == "success"
    running.sink.knobs.read_bytes_per_second = None
    running.machine.systemctl("start")
    assert running.delivers_everything(), running.verdict()


def manual(command: str) -> str:
    """The block of systemd/README.md in which this command stands."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (UNIT.parent / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if command in block]
    return str(block)


def test_check_works_as_the_manual_says(running):
    assert "okta-prod" in running.machine.run("sh", "-ec", manual("check --connect"))


def test_backup_and_restore_work_as_the_manual_says(running):
    """Afterwards nothing is collected twice."""
    assert running.delivers_everything()
    running.machine.run("sh", "-ec", manual("tar -C /var/lib/private -czf"))
    before = running.sink.counters["records"]
    assert running.sources() == {"okta-prod"}
    running.machine.run("sh", "-ec", manual("tar -C /var/lib/private -xzf"))
    running.issue(5)
    assert running.delivers_everything()
    assert running.sink.counters["records"] == before + 5
