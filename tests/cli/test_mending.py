"""`checkpoint` and `dead-letters`: what is saved, looked at and changed by whoever knows why."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.daemon.process import eventually


@pytest.fixture
def daemon(site):
    okta = site.okta()
    site.source("okta-prod", okta)
    site.configure()
    site.call(okta.issue, 3)
    daemon = site.start()
    site.wait_until_all_is_delivered()
    eventually(lambda: daemon.stream("okta-prod")["checkpoint"])
    return daemon


class TestCheckpoint:
    def test_shown_can_be_set_again(self, site, daemon):
        shown = site.command("checkpoint", "show", "okta-prod", "events")
        assert shown.returncode == 0, shown.stderr
        place = json.loads(shown.stdout)
        changed = json.dumps({**place, "safe_since_ms": place["safe_since_ms"] - 1})
        done = site.command("checkpoint", "set", "okta-prod", "events", "--value", changed, "--yes")
        assert done.returncode == 0, done.stderr
        eventually(lambda: daemon.stream("okta-prod").get("last_success_at"))
        assert daemon.state("okta-prod")["state"] != "Error"

    def test_reset_lets_the_stream_begin_anew(self, site, daemon):
        posts = site.call(lambda: site.sink.counters["records"])
        done = site.command("checkpoint", "reset", "okta-prod", "--yes")
        assert "begins anew" in done.stdout, done.stderr
        eventually(lambda: site.call(lambda: site.sink.counters["records"]) >= posts + 3)

    def test_is_not_changed_while_nobody_can_be_asked(self, site, daemon):
        before = daemon.stream("okta-prod")["checkpoint"]
        done = site.command("checkpoint", "reset", "okta-prod")
        assert (done.returncode, "--yes" in done.stderr) == (2, True)
        assert daemon.stream("okta-prod")["checkpoint"] == before

    def test_is_changed_when_yes_is_answered_and_not_when_no_is(self, site, daemon):
        before = daemon.stream("okta-prod")["checkpoint"]
        done = site.command("checkpoint", "reset", "okta-prod", said="n\n")
        assert (done.returncode, "nothing was changed" in done.stderr) == (1, True)
        assert daemon.stream("okta-prod")["checkpoint"] == before
        done = site.command("checkpoint", "reset", "okta-prod", said="y\n")
        assert (done.returncode, "begins anew" in done.stdout) == (0, True)

    @pytest.mark.parametrize("value", ["nonsense", "[1]", "{}", "null"])
    def test_that_is_no_json_object_is_refused(self, site, daemon, value):
        done = site.command("checkpoint", "set", "okta-prod", "--value", value, "--yes")
        assert (done.returncode, "checkpoint show" in done.stderr) == (2, True)

    def test_that_the_vendor_cannot_read_is_an_error_that_says_what_to_do(self, site, daemon):
        assert site.command("checkpoint", "set", "okta-prod", "--value", '{"a": 1}', "--yes").returncode == 0
        assert "checkpoint set" in daemon.wait_for_state("okta-prod", "Error")["errorInfo"]
        assert site.command("checkpoint", "reset", "okta-prod", "--yes").returncode == 0
        daemon.wait_for_state("okta-prod", "Collecting")

    def test_of_a_stream_that_is_not_there_names_those_that_are(self, site, daemon):
        done = site.command("checkpoint", "show", "okta-prod", "alerts")
        assert (done.returncode, "it has: events" in done.stderr) == (2, True)
        done = site.command("checkpoint", "show", "okta")
        assert (done.returncode, "there is: okta-prod" in done.stderr) == (1, True)


class TestDeadLetters:
    @pytest.fixture
    def letter(self, site):
        site.allowed.append("poison|refused|400")
        okta = site.okta()
        site.source("okta-prod", okta)
        site.configure()
        self.poison, _ = site.call(okta.issue, 2)
        site.sink.knobs.poison = self.poison.encode()
        self.daemon = site.start()
        eventually(lambda: self.daemon.sink()["dead_letters"] == 1)
        listed = json.loads(site.command("dead-letters", "list", "--json").stdout)["dead_letters"]
        assert [each["records"] for each in listed] == [1]
        return listed[0]["id"]

    def test_are_listed_and_shown(self, site, letter):
        assert letter in site.command("dead-letters", "list").stdout
        shown = site.command("dead-letters", "show", letter)
        assert json.loads(shown.stdout)["_id"] == self.poison
        assert "refused it" in shown.stderr

    def test_retried_are_delivered_under_the_same_key(self, site, letter):
        site.sink.knobs.poison = b""
        done = site.command("dead-letters", "retry", letter)
        assert done.returncode == 0, done.stderr
        site.vendors.clear()  # the oracle wants order, and a dead letter comes late

        def keys():
            records = site.call(lambda: [each for feed in site.sink.records.values() for each in feed])
            return [each.batch for each in records if each.id == self.poison]

        eventually(keys)
        assert keys() == [letter]
        assert self.daemon.sink()["dead_letters"] == 0

    def test_dropped_are_gone_but_not_without_a_yes(self, site, letter):
        site.vendors.clear()
        assert site.command("dead-letters", "drop", letter).returncode == 2
        assert self.daemon.sink()["dead_letters"] == 1
        assert site.command("dead-letters", "drop", letter, "--yes").returncode == 0
        assert self.daemon.sink()["dead_letters"] == 0
        again = site.command("dead-letters", "show", letter)
        assert (again.returncode, "no dead letter" in again.stderr) == (1, True)

    def test_want_to_be_named(self, site, letter):
        site.vendors.clear()
        assert site.command("dead-letters", "retry").returncode == 2

    def test_that_the_sink_still_refuses_come_back(self, site, letter):
        assert site.command("dead-letters", "retry", letter).returncode == 0
        site.vendors.clear()
        eventually(lambda: self.daemon.sink()["dead_letters"] == 1 and self.daemon.sink()["backlog_bytes"] == 0)
        (again,) = json.loads(site.command("dead-letters", "list", "--json").stdout)["dead_letters"]
        assert again["id"] == letter

    def test_whose_bytes_were_damaged_say_so_and_can_be_dropped_alone(self, site, letter):
        site.vendors.clear()
        self.daemon.stop()
        with closing(sqlite3.connect(site.state / "state.db")) as database, database:
            (body,) = database.execute("SELECT body FROM dead_letter").fetchone()
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
            database.execute("UPDATE dead_letter SET body = ?", (body,))
        site.sink.knobs.poison = b""
        self.daemon = site.start()
        for action in ("show", "retry"):
            done = site.command("dead-letters", action, letter)
            assert (done.returncode, "damaged on disk" in done.stderr) == (1, True), action
            assert f"collectord dead-letters drop {letter}" in done.stderr
        assert self.daemon.sink()["dead_letters"] == 1
        assert site.command("dead-letters", "drop", letter, "--yes").returncode == 0
        assert self.daemon.sink()["dead_letters"] == 0

    def test_whose_sink_is_gone_wait_until_it_is_back(self, site, letter):
        site.vendors.clear()
        site.sink.knobs.poison = b""
        site.configure(sinks={"other": site.sink_settings(site.sink)})
        self.daemon.reload()
        eventually(lambda: self.daemon.status()["sinks"][0]["name"] == "other")
        assert letter in site.command("dead-letters", "list").stdout
        done = site.command("dead-letters", "retry", letter)
        assert (done.returncode, "there is no sink default now" in done.stderr) == (1, True)
        site.configure()
        self.daemon.reload()
        eventually(lambda: self.daemon.status()["sinks"][0]["name"] == "default")
        assert site.command("dead-letters", "retry", letter).returncode == 0
        eventually(lambda: self.poison in self._delivered(site))
        assert self.daemon.sink()["dead_letters"] == 0

    def test_whose_sink_is_gone_can_be_dropped(self, site, letter):
        site.vendors.clear()
        site.configure(sinks={"other": site.sink_settings(site.sink)})
        self.daemon.reload()
        eventually(lambda: self.daemon.status()["sinks"][0]["name"] == "other")
        assert site.command("dead-letters", "drop", "--all", "--yes").returncode == 0
        assert "There are no dead letters" in site.command("dead-letters", "list").stdout

    def test_one_that_cannot_be_retried_does_not_hold_up_the_others(self, site, letter):
        site.vendors.clear()
        site.sink.knobs.poison = b""
        done = site.command("dead-letters", "retry", "0" * 32, letter)
        assert done.returncode == 1
        assert "1 wait to be delivered again" in done.stdout
        assert f"there is no dead letter {'0' * 32}" in done.stderr
        eventually(lambda: self.poison in self._delivered(site))

    @staticmethod
    def _delivered(site):
        return site.call(lambda: [each.id for feed in site.sink.records.values() for each in feed])
