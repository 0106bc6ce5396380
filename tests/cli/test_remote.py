"""`status`, `health`, `restart`, `pause`, `resume`, `poll`: what an operator reads, and how it ends."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from functools import partial

import pytest
from rich.console import Console

from collectord.cli import tables
from collectord.demo.faults import Status, VendorError
from tests.daemon.forkserver import ROOT
from tests.daemon.process import eventually


@pytest.fixture
def daemon(site):
    self_of = site.okta()
    site.source("okta-prod", self_of)
    site.source("okta-test", self_of)
    site.configure()
    site.vendors.clear()  # what is said is looked at here, not what is delivered
    daemon = site.start()
    for name in ("okta-prod", "okta-test"):
        daemon.wait_for_state(name, "Collecting")
    site.tenant = self_of
    return daemon


def revoke(site, daemon):
    site.allowed.append("401|revoked|rejected")
    site.call(site.tenant.revoke, site.tenant.token)
    daemon.act("okta-prod", "poll")
    daemon.wait_for_state("okta-prod", "Error")


class TestStatus:
    def test_of_one_source_shows_no_other(self, site, daemon):
        said = site.command("status", "okta-prod")
        assert "okta-prod" in said.stdout, said.stderr
        assert "okta-test" not in said.stdout
        assert [
            each["name"] for each in json.loads(site.command("status", "okta-prod", "--json").stdout)["sources"]
        ] == ["okta-prod"]

    @pytest.mark.parametrize("words", [["status"], ["status", "--watch"], ["health"], ["health", "--json"]])
    def test_and_health_of_a_source_that_is_not_there_name_those_that_are(self, site, daemon, words):
        done = site.command(words[0], "okta", *words[1:])
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is: okta-prod, okta-test" in done.stderr

    def test_tells_times_from_now_and_how_much_room_there_is(self, site, daemon):
        said = site.command("status").stdout
        assert re.search(r"okta-prod +events +Collecting +\d+ s +\d+ s ago +in \d+", said)
        assert re.search(r"sink default: Healthy, 0 B of [\d.]+ [KMG]iB waiting, 0 dead letters", said)

    def test_points_to_health_when_something_is_the_matter(self, site, daemon):
        assert "collectord health" not in site.command("status").stdout
        revoke(site, daemon)
        eventually(lambda: "collectord health" in site.command("status").stdout)

    def test_watched_on_a_terminal_ends_by_ctrl_c_with_0(self, site, daemon):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "collectord", "status", "--watch", "--config", site.config]
        watching = subprocess.Popen(command, cwd=ROOT, env=site.environment(), stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while b"okta-prod" not in shown:
            shown += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=20) == 0
        os.close(ours)


def test_on_a_narrow_terminal_whole_columns_are_left_out_and_none_is_cut():
    stream = {"name": "infrastructure", "state": "Collecting", "lag_seconds": 57_605.0, "backlog_records": 12}
    source = {"name": "netskope-prod", "state": {"state": "Collecting"}, "health": {}, "streams": [stream]}
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(tables.of_status({"sources": [source], "sinks": []}, wide=False))
    assert "…" not in captured.get()
    assert "netskope-prod  infrastructure  Collecting  16 h" in captured.get()


def test_on_a_low_terminal_the_streams_are_cut_off_and_not_the_troubles():
    streams = [{"name": f"s{number}", "state": "Collecting"} for number in range(50)]
    state = {"state": "Error", "errorType": "THIRD-PARTY-CONFIG", "errorInfo": "the token is refused"}
    source = {"name": "netskope-prod", "state": state, "health": {"errors": 1, "warnings": 0}, "streams": streams}
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(tables.of_status({"sources": [source], "sinks": []}, wide=False, table_last=True))
    assert "the token is refused" in captured.get().splitlines()[0]
    assert captured.get().splitlines()[-1].split()[1] == "s49"


class TestHealth:
    def test_says_what_the_vendor_said_and_what_to_type(self, site, daemon):
        revoke(site, daemon)
        said = site.command("health", "okta-prod").stdout
        assert "E0000011" in said
        assert "collectord restart okta-prod" in said
        assert max(map(len, said.splitlines())) > 240, "a pipe gets whole lines"

    def test_says_that_a_source_is_not_tried_any_more(self, site):
        tenant = site.okta()
        impatient = {"initial": "10ms", "max": "20ms", "window": "200ms", "then": "quit"}
        site.source("okta-prod", tenant, retry=impatient)
        site.configure(sink={"retry": impatient})
        site.vendors.clear()
        site.call(tenant.issue, 1)
        daemon = site.start()
        daemon.wait_for_state("okta-prod", "Collecting")
        for served, about in ((tenant, "okta-prod"), (site.sink, "default")):
            site.call(tenant.issue, 1)
            site.call(served.fail, VendorError(503) if served is tenant else Status(503), times=None)
            daemon.act("okta-prod", "poll")
            eventually(partial(self._is_given_up, site, about))
            site.call(served.faults.clear)
            assert site.command("restart", "okta-prod").returncode == 0
        eventually(lambda: "All is well" in site.command("health").stdout)

    @staticmethod
    def _is_given_up(site, about):
        newest = json.loads(site.command("health", about, "--json").stdout)["open"]
        return newest and "not tried any more" in newest[0]["details"]["description"]


class TestActions:
    def test_that_succeed_say_the_state_that_came_of_it(self, site, daemon):
        for action, state in (
            ("pause", "Paused"),
            ("resume", "Collecting"),
            ("restart", "Collecting"),
            ("poll", "Collecting"),
        ):
            done = site.command(action, "okta-prod")
            assert (done.returncode, done.stdout) == (0, f"okta-prod: {state}\n"), done.stderr

    def test_restart_with_the_old_token_fails_and_says_how_a_new_one_is_read(self, site, daemon):
        revoke(site, daemon)
        done = site.command("restart", "okta-prod")
        assert (done.returncode, done.stdout) == (1, "okta-prod: Error\n")
        assert "401" in done.stderr
        assert "systemctl restart collectord" in done.stderr

    def test_poll_of_what_is_not_polled_fails_and_says_what_is_to_be_done(self, site, daemon):
        daemon.act("okta-test", "pause")
        done = site.command("poll", "okta-test")
        assert (done.returncode, "collectord resume okta-test" in done.stderr) == (1, True)
        revoke(site, daemon)
        done = site.command("poll", "okta-prod")
        assert (done.returncode, "collectord restart" in done.stderr) == (1, True)

    def test_of_a_source_that_is_not_there_fail(self, site, daemon):
        done = site.command("restart", "okta")
        assert (done.returncode, "okta" in done.stderr) == (1, True)
