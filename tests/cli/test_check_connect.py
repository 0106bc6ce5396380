"""`check --connect`: for each stream and each sink one line, which says what is missing and where to get it."""

import json
import re

import pytest

from collectord.demo import netskope_knobs
from collectord.demo.okta_knobs import GROUPS, LOGS
from tests.cli.test_offline import run
from tests.daemon.harness import replace
from tests.daemon.tenants import netskope, odd_okta, sailpoint, sentinelone

STREAMS = {
    "odd": ["events", "users"],
    "netskope": list(netskope_knobs.STREAMS),
    "sentinelone": ["activities", "threats", "agents"],
    "sailpoint": ["events", "users"],
}
A_SECRET_NOBODY_GAVE_OUT = "a credential that this vendor never gave out"


@pytest.fixture
def tenants(site):
    """All four vendors, each with everything to be read."""
    made = {}
    for number, make in enumerate((odd_okta, netskope, sentinelone, sailpoint)):
        tenant = make(site.secret(f"tenant-{number}"), number)
        site.secret(tenant.name, f"tenant-{number}")
        site.serve(tenant.simulator)
        site.vendors[tenant.name] = tenant.simulator
        replace(site.source_file(tenant.name), json.dumps({"source": tenant.document(60.0)}))
        made[tenant.name] = tenant
    site.call(made["odd"].simulator.issue, 1, stream="users")
    site.configure()
    return made


def check(site):
    """Its exit code, and what it says of each stream and sink."""
    done = run(site, "check", "--connect")
    assert "Traceback" not in done.stderr
    said = re.findall(r"^(source \w+, \w+|sink \w+): (ok|failed): (.*)$", done.stdout, re.MULTILINE)
    return done.returncode, {what: (outcome, text) for what, outcome, text in said}


def failed(said):
    return {what: text for what, (outcome, text) in said.items() if outcome == "failed"}


def test_credentials_that_suffice_are_said_to_for_each_stream_and_sink(site, tenants):
    code, said = check(site)
    assert (code, failed(said)) == (0, {})
    every_stream = {f"source {name}, {stream}" for name, streams in STREAMS.items() for stream in streams}
    assert said.keys() == every_stream | {"sink default"}
    assert said["source odd, users"][1] == "the token may read users and their groups"
    assert not site.sink.records
    assert not site.state.exists()


@pytest.mark.parametrize(
    ("denied", "missing"),
    [
        (
            {"odd": LOGS, "netskope": "page", "sentinelone": "threats", "sailpoint": "search"},
            {
                "source odd, events": "the System Log .* the role Read-only Administrator",
                "source netskope, page": "no Read scope for /api/v2/events/dataexport/events/page",
                "source sentinelone, threats": r"\(403\): .* the permission 'Threats: View'",
                "source sailpoint, events": "needs the scope sp:search:read",
            },
        ),
        (
            {"odd": GROUPS, "netskope": "alert", "sentinelone": "agents", "sailpoint": "public-identities"},
            {
                "source odd, users": "the groups of users .* the role Read-only Administrator",
                "source netskope, alert": "no Read scope for .*/alert .*; alerts are always collected",
                "source sentinelone, agents": r"\(401\): .* the permission 'Endpoints: View'",
                "source sailpoint, users": "needs the scope sp:scopes:default",
            },
        ),
    ],
    ids=["one stream each", "another one"],
)
def test_a_scope_or_role_that_is_missing_is_named_where_it_is(site, tenants, denied, missing):
    for name, what in denied.items():
        tenants[name].simulator.knobs.denied = {what}
    tenants["sentinelone"].simulator.knobs.denied_status = 401 if denied["sentinelone"] == "agents" else 403
    code, said = check(site)
    assert code == 1
    assert failed(said).keys() == missing.keys()
    for what, pattern in missing.items():
        assert re.search(pattern, failed(said)[what]), (what, said[what])


@pytest.mark.parametrize("was_good_once", [True, False])
def test_a_credential_that_is_not_taken_is_said_of_each_stream_with_what_to_do(site, tenants, was_good_once):
    site.allowed.append(A_SECRET_NOBODY_GAVE_OUT)
    for name, tenant in tenants.items():
        if was_good_once:
            tenant.accept("another one")  # SailPoint's client has one secret at a time
            for secret in list(tenant.simulator.accepted):
                site.call(tenant.simulator.revoke, secret)
        else:
            site.secret(name, "never given out")
    code, said = check(site)
    assert code == 1
    refused = {
        "odd": r"rejected the API token \(401 .*Create a new one",
        "netskope": r"rejects the API token \(401\).*Create a new one",
        "sentinelone": "rejects the API token",
        "sailpoint": r"refuses client id .* \(401\): check client_id and client_secret",
    }
    for name, streams in STREAMS.items():
        for stream in streams:
            assert re.search(refused[name], failed(said)[f"source {name}, {stream}"]), said
    assert failed(said).keys() == said.keys() - {"sink default"}


def test_a_sink_that_is_away_or_refuses_is_named_with_the_reason(site):
    away, strict = site.open_sink(), site.open_sink()
    strict.knobs.authorization = "Bearer another"
    site.call_async(away.go_down)
    site.configure(
        sinks={
            name: site.sink_settings(sink) for name, sink in (("away", away), ("here", site.sink), ("strict", strict))
        }
    )
    code, said = check(site)
    assert code == 1
    assert failed(said).keys() == {"sink away", "sink strict"}
    assert "127.0.0.1 cannot be reached" in failed(said)["sink away"]
    assert "401; check its headers" in failed(said)["sink strict"]
