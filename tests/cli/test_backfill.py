"""`backfill`: a past window of each vendor beside its live cursor, interrupted and gone on with."""

import json
import signal
import subprocess
import sys

import pytest

from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import NetskopeKnobs
from collectord.demo.okta_knobs import LOGS, OktaKnobs
from collectord.demo.sailpoint import SailPointSimulator
from collectord.demo.sentinelone import SentinelOneSimulator
from tests.daemon.forkserver import ROOT
from tests.daemon.harness import replace
from tests.daemon.process import eventually

DAY = 86_400
WINDOW = ("--since", "72h", "--until", "24h")


def okta(site):
    return site.okta(), "events", "Okta", {"domain": "acme.okta.com", "apiKey": "${credential:okta}"}, {}


def sailpoint(site):
    tenant = SailPointSimulator()
    site.serve(tenant)
    site.secret("sp")  # so that the folder is as ever; the simulator has a secret of its own
    (site.credentials / "sailpoint").write_text(tenant.client_secret)
    config = {
        "org_name": "acme",
        "client_id": tenant.client_id,
        "client_secret": "${credential:sailpoint}",
        "supported_apis": ["Events", "Users"],
    }
    return tenant, "events", "SailPoint", config, {}


def sentinelone(site):
    tenant = SentinelOneSimulator(site.secret("sentinelone"))
    site.serve(tenant)
    config = {
        "base_url": "https://acme.sentinelone.net",
        "api_secret": "${credential:sentinelone}",
        "supported_apis": ["activities", "agents"],
    }
    return tenant, "activities", "SentinelOne Mgmt API", config, {"stream": "activities"}


def netskope(site):
    tenant = NetskopeSimulator(site.secret("netskope"), NetskopeKnobs(wait_some=0, wait_idle=0))
    site.serve(tenant)
    config = {"tenantID": "acme", "apiToken": "${credential:netskope}", "eventTypes": ["audit"]}
    return tenant, "audit", "Netskope", config, {"stream": "audit"}


def configure(site, tenant, kind, config, **options):
    source = {
        "schemaRef": {"type": kind},
        "config": {"name": "prod", **config},
        "collectord": {"base_url": tenant.base_url, "start": "1h", **options},
    }
    replace(site.source_file("prod"), json.dumps({"source": source}))
    site.configure()


def delivered(site):
    return site.call(lambda: [record.id for each in site.sink.records.values() for record in each])


def past(daemon, stream):
    return daemon.ask(f"/api/v1/collectors/1/sources/prod/streams/{stream}/backfill")


@pytest.mark.parametrize("vendor", [okta, sailpoint, sentinelone, netskope])
def test_collects_the_window_and_nothing_else_and_leaves_the_live_place_alone(site, vendor):
    tenant, stream, kind, config, flavour = vendor(site)
    for age in (5, 0.5):
        site.call(tenant.issue, 3, age_seconds=age * DAY, **flavour)
    wanted = site.call(tenant.issue, 7, age_seconds=2 * DAY, **flavour)
    configure(site, tenant, kind, config)
    daemon = site.start()
    eventually(lambda: daemon.stream("prod", stream).get("last_success_at"))
    eventually(lambda: daemon.stream("prod", stream)["state"] == "Collecting")
    before = daemon.stream("prod", stream)["checkpoint"]
    done = site.command("backfill", "prod", "--stream", stream, *WINDOW)
    assert done.returncode == 0, done.stderr
    assert "7 records from" in done.stdout
    eventually(lambda: len(delivered(site)) >= 7, what=lambda: delivered(site))
    assert sorted(delivered(site)) == sorted(wanted)
    after = daemon.stream("prod", stream)["checkpoint"]
    assert {key: before[key] for key in ("index", "next", "from_ms") if key in before} == {
        key: after[key] for key in ("index", "next", "from_ms") if key in after
    }
    assert past(daemon, stream)["state"] == "Done"


def slow_okta(site, events=200):
    """Twenty pages, some a second."""
    knobs = OktaKnobs(org_limits={LOGS: 12}, token_share=1.0, window_seconds=1.0)
    tenant = site.okta(knobs=knobs)
    wanted = site.call(tenant.issue, events, age_seconds=2 * DAY)
    configure(site, tenant, "Okta", {"domain": "acme.okta.com", "apiKey": "${credential:okta}"}, page_size=5)
    return wanted


def begin(site, daemon):
    """The command, once it says that it has collected something."""
    eventually(lambda: daemon.stream("prod"))
    environment = site.environment()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "collectord",
            "backfill",
            "prod",
            "--stream",
            "events",
            *WINDOW,
            "--config",
            site.config,
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        assert line.startswith("{"), line
        if json.loads(line)["records"] > 0:
            return process
    raise AssertionError(process.wait())


def test_halts_at_ctrl_c_and_goes_on_when_asked_again(site):
    wanted = slow_okta(site)
    daemon = site.start()
    process = begin(site, daemon)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on" in said
    halted = past(daemon, "events")
    assert halted["state"] == "Halted"
    assert 0 < halted["records"] < len(wanted)
    done = site.command("backfill", "prod", "--stream", "events", *WINDOW)
    assert done.returncode == 0, done.stderr
    assert f"{len(wanted)} records" in done.stdout  # nothing was fetched twice
    eventually(lambda: sorted(delivered(site)) == sorted(wanted))


def test_goes_on_by_itself_after_the_daemon_was_killed(site):
    wanted = slow_okta(site)
    daemon = site.start()
    process = begin(site, daemon)
    daemon.kill()
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "no collectord answers" in said or "did not answer" in said) == (1, True)
    daemon = site.start()
    eventually(lambda: past(daemon, "events")["state"] == "Done", what=lambda: past(daemon, "events"))
    eventually(lambda: set(delivered(site)) == set(wanted))


def test_tells_rate_and_time_left(site):
    slow_okta(site)
    daemon = site.start()
    process = begin(site, daemon)
    eventually(lambda: past(daemon, "events")["seconds_left"] is not None)
    assert past(daemon, "events")["records_per_second"] > 0
    process.kill()
    process.communicate()


def test_tells_how_long_the_rate_limit_wants_it_to_rest(site):
    knobs = OktaKnobs(org_limits={LOGS: 6}, token_share=1.0, window_seconds=5.0)
    tenant = site.okta(knobs=knobs)
    site.call(tenant.issue, 200, age_seconds=2 * DAY)
    configure(site, tenant, "Okta", {"domain": "acme.okta.com", "apiKey": "${credential:okta}"}, page_size=5)
    daemon = site.start()
    process = begin(site, daemon)
    eventually(lambda: past(daemon, "events")["resting_seconds"] >= 1)
    process.kill()
    process.communicate()


def test_says_no_to_another_window_while_one_is_not_over(site):
    slow_okta(site)
    daemon = site.start()
    process = begin(site, daemon)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    done = site.command("backfill", "prod", "--stream", "events", "--since", "48h")
    assert done.returncode == 1
    assert "since 72h until 24h is not over" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stream", "users", "--since", "7d"), "inventory"),
        (("--stream", "alerts", "--since", "7d"), "it has: events, users"),
        (("--stream", "events", "--since", "yesterday"), "since must be a time"),
        (("--stream", "events", "--since", "1h", "--until", "2h"), "since must be before until"),
    ],
)
def test_refuses_what_cannot_be_and_says_why(site, words, said):
    tenant, _, kind, config, _ = okta(site)
    configure(site, tenant, kind, {**config, "users": True})
    daemon = site.start()
    eventually(lambda: daemon.stream("prod").get("last_success_at"))
    done = site.command("backfill", "prod", *words)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_waits_while_the_sink_is_away_and_its_buffer_is_full_and_then_goes_on(site):
    site.allowed.append("cannot be reached|broke the connection off|StreamSilent")
    tenant = site.okta()
    wanted = site.call(tenant.issue, 300, age_seconds=2 * DAY)
    configure(site, tenant, "Okta", {"domain": "acme.okta.com", "apiKey": "${credential:okta}"}, page_size=10)
    site.configure(sink={"buffer_bytes": 65_536, "max_batch_bytes": 16_384, "compression": "none"})
    daemon = site.start()
    eventually(lambda: daemon.stream("prod").get("last_success_at"))
    site.call_async(site.sink.go_down)
    process = begin(site, daemon)
    eventually(lambda: "is full" in json.dumps(past(daemon, "events")), what=lambda: past(daemon, "events"))
    halfway = past(daemon, "events")
    assert halfway["state"] == "Collecting"
    assert 0 < halfway["records"] < len(wanted)
    assert daemon.sink()["backlog_bytes"] <= 65_536
    site.call_async(site.sink.come_back)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"{len(wanted)} records" in said
    eventually(lambda: sorted(delivered(site)) == sorted(wanted))
