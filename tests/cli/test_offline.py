"""`preview` and `rules test`: what would be delivered, shown without a daemon and without a trace."""

import json
import os
import subprocess
import sys
from hashlib import md5

import pytest

from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import NetskopeKnobs
from tests.daemon.forkserver import ROOT
from tests.daemon.harness import Site, replace

RULES = [
    {"name": "no-logins", "filterType": "Exclude", "regexp": ".*user\\.session\\.start.*"},
    {"name": "hide-mail", "filterType": "Mask", "regexp": '"mail":"([^"]+)"', "mask": "###"},
    {"name": "hash-ip", "filterType": "Hash", "regexp": '"ip":"([^"]+)"'},
]


def run(site: Site, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command of somebody who has the credentials, with something on stdin."""
    done = subprocess.run(
        [sys.executable, "-m", "collectord", *words, "--config", site.config],
        cwd=ROOT,
        env=site.environment(),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    site.printed += [done.stdout, done.stderr]
    return done


def with_rules(site: Site, name: str) -> None:
    document = json.loads(site.source_file(name).read_text())
    document["source"]["config"]["filters"] = RULES
    replace(site.source_file(name), json.dumps(document))


@pytest.fixture
def okta(site):
    okta = site.okta()
    site.source("okta-prod", okta)
    site.configure()
    site.vendors.clear()  # nothing is to be delivered here, so the oracle need not ask
    return okta


class TestPreview:
    def test_prints_what_the_sink_would_get(self, site, okta):
        site.call(okta.issue, 5)
        done = run(site, "preview", "okta-prod", "--limit", "3")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [list(line)[:4] for line in lines] == [["_collector", "_source", "_stream", "_id"]] * 3
        assert lines[0]["_id"] == lines[0]["event"]["uuid"]

    def test_saves_and_sends_nothing(self, site, okta):
        site.call(okta.issue, 5)
        assert run(site, "preview", "okta-prod").returncode == 0
        assert not site.sink.records
        assert not site.state.exists()

    def test_applies_the_rules(self, site, okta):
        site.call(okta.issue, 3)
        document = json.loads(site.source_file("okta-prod").read_text())
        rule = {"name": "nothing", "filterType": "Exclude", "regexp": "(?s).*"}
        document["source"]["config"]["filters"] = [rule]
        replace(site.source_file("okta-prod"), json.dumps(document))
        done = run(site, "preview", "okta-prod")
        assert done.stdout == ""
        assert "3 dropped by rules" in done.stderr

    def test_of_netskope_uses_an_index_of_its_own(self, site):
        netskope = NetskopeSimulator(site.secret("netskope"), NetskopeKnobs())
        site.serve(netskope)
        source = {
            "schemaRef": {"type": "Netskope"},
            "config": {
                "name": "netskope-prod",
                "tenantID": "acme",
                "apiToken": "${credential:netskope}",
                "eventTypes": ["alert"],
            },
            "collectord": {"base_url": netskope.base_url, "start": "1h"},
        }
        replace(site.source_file("netskope-prod"), json.dumps({"source": source}))
        site.configure()
        site.call(netskope.issue, 4, stream="alert")
        first, second = (run(site, "preview", "netskope-prod", "--stream", "alert") for _ in range(2))
        assert first.returncode == second.returncode == 0, first.stderr
        ids = [[json.loads(line)["_id"] for line in each.stdout.splitlines()] for each in (first, second)]
        assert len(ids[0]) == 4
        assert ids[0] == ids[1]  # the first has moved nothing that the second reads

    def test_says_which_sources_and_streams_there_are(self, site, okta):
        wrong_source = run(site, "preview", "okta")
        assert (wrong_source.returncode, "there is: okta-prod" in wrong_source.stderr) == (2, True)
        wrong_stream = run(site, "preview", "okta-prod", "--stream", "alerts")
        assert (wrong_stream.returncode, "there is: events" in wrong_stream.stderr) == (2, True)

    def test_is_in_the_form_of_the_sink_that_was_chosen(self, site, okta):
        site.call(okta.issue, 1)
        other = site.sink_settings(site.sink, layout="raw")
        site.configure(sinks={"first": site.sink_settings(site.sink), "other": other, "foreign": other})
        document = json.loads(site.source_file("okta-prod").read_text())
        document["source"]["collectord"]["sinks"] = ["first", "other"]
        replace(site.source_file("okta-prod"), json.dumps(document))
        first, other = (run(site, "preview", "okta-prod", *words) for words in ((), ("--sink", "other")))
        assert json.loads(first.stdout)["event"] == json.loads(other.stdout)
        assert "as sink other" in other.stderr
        wrong = run(site, "preview", "okta-prod", "--sink", "foreign")
        assert (wrong.returncode, "there is: first, other" in wrong.stderr) == (2, True)

    def test_without_the_credential_says_so_and_ends_with_78(self, site, okta):
        done = site.command("preview", "okta-prod")
        assert done.returncode == 78
        assert "credential" in done.stdout

    def test_refused_by_the_vendor_ends_with_1(self, site, okta):
        (site.credentials / "okta").write_text("00another-token-0123456789")
        done = run(site, "preview", "okta-prod")
        assert done.returncode == 1
        assert "401" in done.stderr


class TestRules:
    EVENTS = '{"a":1}\n\n{"eventType":"user.session.start"}\n{"mail":"ann@example.com","ip":"10.0.0.1"}\n'

    def test_say_what_became_of_each_event_and_why(self, site, okta):
        with_rules(site, "okta-prod")
        done = run(site, "rules", "test", "okta-prod", "--json", given=self.EVENTS)
        assert done.returncode == 0, done.stderr
        kept, dropped, changed = (json.loads(line) for line in done.stdout.splitlines())
        assert kept == {"line": 1, "outcome": "kept", "by": [], "event": '{"a":1}'}
        assert dropped == {"line": 3, "outcome": "dropped", "by": ["excluded by no-logins"]}
        assert changed["by"] == ["hashed by hash-ip", "masked by hide-mail"]
        assert changed["event"] == '{"mail":"###","ip":"' + md5(b"10.0.0.1").hexdigest() + '"}'
        assert "ann@example.com" not in done.stdout

    def test_read_a_file_and_speak_plainly_in_a_pipe(self, site, okta, tmp_path):
        with_rules(site, "okta-prod")
        file = tmp_path / "events.ndjson"
        file.write_text(self.EVENTS)
        done = run(site, "rules", "test", "okta-prod", os.fspath(file))
        assert done.stdout.splitlines()[1] == "line 3: dropped (excluded by no-logins)"
        assert "3 rules: 1 kept, 1 changed, 1 dropped" in done.stderr

    @pytest.mark.parametrize("given", ["nonsense\n", "[1]\n", '{"a":1}\n{"b"\n'])
    def test_refuse_what_is_no_ndjson_with_its_line(self, site, okta, given):
        done = run(site, "rules", "test", "okta-prod", given=given)
        assert done.returncode == 2
        assert f"line {given.count(chr(10))} is no JSON object" in done.stderr

    def test_name_a_file_that_cannot_be_read(self, site, okta):
        done = run(site, "rules", "test", "okta-prod", "/nowhere/events.ndjson")
        assert (done.returncode, "No such file" in done.stderr) == (2, True)
