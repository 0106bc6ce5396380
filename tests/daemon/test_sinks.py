"""The daemon with a sink of every type at once: outage, kill, dead letters, and no credential to be seen anywhere."""

import orjson

from tests.cli.test_offline import run
from tests.daemon.harness import QUICK, Site
from tests.daemon.process import eventually
from tests.sinks.elasticsearch import Elasticsearch
from tests.sinks.splunk_hec import SplunkHec
from tests.sinks.stand_in import StandIn
from tests.sinks.sumologic import SumoLogic


def every_sink(site: Site) -> dict[str, StandIn]:
    """Serves one of each, and configures a daemon that delivers to all of them and to the demo's own."""
    made: dict[str, StandIn] = {}
    settings = {"default": site.sink_settings(site.sink)}
    for number, make in enumerate((Elasticsearch, SplunkHec, SumoLogic)):
        far = make(site.secret(f"secret-{number}"))
        site.serve(far)
        made[far.type] = far
        given = orjson.dumps(far.settings(retry=QUICK)).decode()
        settings[far.type] = orjson.loads(given.replace(far.secret, f"${{credential:secret-{number}}}"))
    site.configure(sinks=settings, collector={"name": "soc-1", "fields": {"env": "test"}})
    return made


def uuids(far: StandIn) -> list[str]:
    return [orjson.loads(event)["uuid"] for event in far.events()]


def test_every_sink_gets_every_record_through_outage_and_kill(site: Site):
    sinks = every_sink(site)
    okta = site.okta()
    site.source("okta-prod", okta)
    issued = site.call(okta.issue, 300)
    daemon = site.start()
    eventually(lambda: all(set(uuids(far)) == set(issued) for far in sinks.values()))
    for far in sinks.values():
        site.call_async(far.go_down)
    issued += site.call(okta.issue, 300)
    eventually(lambda: all(daemon.sink(name)["backlog_bytes"] for name in sinks))
    daemon.kill()
    for far in sinks.values():
        site.call_async(far.come_back)
    daemon = site.start()
    eventually(lambda: all(set(uuids(far)) == set(issued) for far in sinks.values()))
    assert len(sinks["elasticsearch"].events()) == len(issued)
    eventually(lambda: not any(sink["backlog_bytes"] for sink in daemon.status()["sinks"]))
    assert {sink["type"]: sink["state"] for sink in daemon.status()["sinks"]} == {
        "http": "Healthy",
        **dict.fromkeys(sinks, "Healthy"),
    }
    site.wait_until_all_is_delivered()
    assert [violation for far in sinks.values() for violation in far.violations] == []
    assert daemon.stop() == 0


def test_a_dead_letter_of_every_sink_is_delivered_when_the_sink_has_been_mended(site: Site):
    sinks = every_sink(site)
    okta = site.okta()
    site.source("okta-prod", okta)
    issued = site.call(okta.issue, 50)
    for far in sinks.values():
        far.poison = issued[17].encode()
    daemon = site.start()
    eventually(lambda: all(daemon.sink(name)["dead_letters"] == 1 for name in sinks))
    eventually(lambda: all(set(uuids(far)) == {*issued} - {issued[17]} for far in sinks.values()))
    for far in sinks.values():
        far.poison = b""
    letters = [letter["id"] for letter in daemon.ask("/api/v1/deadLetters")["dead_letters"]]
    assert site.command("dead-letters", "retry", *letters).returncode == 0
    eventually(lambda: all(set(uuids(far)) == set(issued) for far in sinks.values()))
    assert not any(daemon.sink(name)["dead_letters"] for name in sinks)
    assert daemon.stop() == 0


def test_a_check_reaches_every_sink_and_delivers_nothing(site: Site):
    sinks = every_sink(site)
    site.source("okta-prod", site.okta())
    done = run(site, "check", "--connect")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in sinks:
        assert f"sink {name}: ok: 127.0.0.1 " in done.stdout
    site.secret("secret-1", "another")
    done = run(site, "check", "--connect")
    assert done.returncode == 1
    assert "sink splunk_hec: failed: 127.0.0.1 refuses everything with 403; check its token, then reload" in done.stdout
    assert not any(far.events() for far in sinks.values())
