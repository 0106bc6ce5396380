"""What was decided through the API, in the life of a real daemon: restarts, reloads, a key that is missing."""

import base64
import http.client
import json

import pytest

from tests.daemon.process import eventually

ALL = "/api/v1/collectors/1/sources"


@pytest.fixture
def key(site):
    return site.secret("management_key")


def ask(daemon, key, method, path, body=None, **headers):
    """Over TCP, at the address that the log names."""
    address = daemon.log("management listens")[-1]["address"]
    proof = base64.b64encode(f"admin:{key}".encode()).decode()
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        sent = {"Authorization": f"Basic {proof}", "Content-Type": "application/json", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    daemon.site.answers.append(data)
    return answer.status, json.loads(data) if data else None


def configure(site):
    site.configure(management={"listen": "127.0.0.1:0", "access_key": "${credential:management_key}"})


def a_source(site, okta, name="made-here"):
    return {
        "source": {
            "schemaRef": {"type": "Okta"},
            "config": {"name": name, "domain": "acme.okta.com", "apiKey": site.secret("okta")},
            "collectord": {"base_url": okta.base_url, "start": "1d", "retry": {"initial": "100ms", "max": "300ms"}},
        }
    }


def test_sources_made_by_the_api_and_pauses_outlive_the_daemon(site, key):
    okta = site.okta()
    site.secret("source_key", "source_key-of-the-test")
    configure(site)
    site.source("of-a-file", okta)
    daemon = site.start()
    status, created = ask(daemon, key, "POST", ALL, a_source(site, okta))
    assert (status, created["source"]["config"]["apiKey"]) == (201, "********")
    site.call(okta.issue, 5)
    daemon.act("made-here", "poll")
    eventually(lambda: daemon.stream("made-here").get("records_delivered") == 5)
    daemon.act("of-a-file", "pause")
    daemon.reload()
    assert daemon.state("of-a-file") == {"state": "Paused"}
    assert daemon.wait_for_state("made-here", "Collecting")
    daemon.kill()

    daemon = site.start()
    assert daemon.state("of-a-file") == {"state": "Paused"}
    daemon.wait_for_state("made-here", "Collecting")
    assert daemon.source("made-here")["id"] == created["source"]["id"]
    assert ask(daemon, key, "DELETE", f"{ALL}/made-here")[0] == 200
    eventually(lambda: ask(daemon, key, "GET", f"{ALL}/made-here")[0] == 404)
    daemon.stop()
    daemon = site.start()
    assert [source["name"] for source in daemon.status()["sources"]] == ["of-a-file"]
    daemon.stop()


def test_a_key_that_is_gone_is_said_and_brings_the_source_back_with_it(site, key):
    okta = site.okta()
    configure(site)
    secret = site.secret("source_key", "source_key-of-the-test")
    daemon = site.start()
    assert ask(daemon, key, "POST", ALL, a_source(site, okta))[0] == 201
    daemon.stop()
    (site.credentials / "source_key").unlink()
    daemon = site.start()
    status, refused = ask(daemon, key, "POST", ALL, a_source(site, okta, "other"))
    assert (status, refused["code"]) == (409, "CannotModifySources")
    assert "made-here" in daemon.open_events("soc-1")["KeptSourcesRefused"]["details"]["error"]
    daemon.stop()
    assert site.secret("source_key", "source_key-of-the-test") == secret
    daemon = site.start()
    daemon.wait_for_state("made-here", "Collecting")
    assert daemon.open_events("soc-1") == {}
    daemon.stop()


def test_a_reload_moves_the_listener_and_a_taken_port_is_said(site, key):
    configure(site)
    daemon = site.start()
    before = daemon.log("management listens")[-1]["address"]
    port = site.sink.port
    site.configure(management={"listen": f"127.0.0.1:{port}", "access_key": "${credential:management_key}"})
    daemon.reload()
    assert "management.listen" in daemon.open_events("soc-1")["ListenRefused"]["details"]["error"]
    assert ask(daemon, key, "GET", "/api/v1/status")[0] == 200
    site.configure(management={"listen": "localhost:0", "access_key": "${credential:management_key}"})
    daemon.reload()
    assert daemon.open_events("soc-1") == {}
    assert daemon.log("management listens")[-1]["address"] != before
    assert ask(daemon, key, "GET", "/api/v1/status")[0] == 200
    daemon.stop()


def test_health_events_are_delivered_to_the_sinks_that_are_named(site):
    okta = site.okta()
    health = site.open_sink()
    settings = {"default": site.sink_settings(site.sink), "health": site.sink_settings(health)}
    site.configure(sinks=settings, health_events={"sinks": ["health"]})
    site.secret("revoked")
    site.allowed.append("never gave out")
    site.source("okta-prod", okta, token="revoked", sinks=["default"])
    daemon = site.start()
    daemon.wait_for_state("okta-prod", "Error")
    (opened,) = eventually(lambda: health.delivered("Health Events", "health"))
    event = json.loads(opened.event)
    assert opened.id == event["eventId"]
    assert (event["eventName"], event["status"]) == ("ThirdPartyConfigError", "UnHealthy")
    assert event["resourceIdentity"]["name"] == "okta-prod"
    assert event["resourceIdentity"]["collectorName"] == "soc-1"
    assert daemon.stop() == 0
    assert json.loads(health.delivered("Health Events", "health")[-1].event)["status"] == "Healthy"
