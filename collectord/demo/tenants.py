"""The tenants of the demonstration: a simulator, and the source file that collects from it. A vendor is one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collectord.demo import netskope_knobs
from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.okta import OktaSimulator
from collectord.demo.sailpoint import SailPointSimulator
from collectord.demo.sentinelone import MIXED, SentinelOneSimulator
from collectord.demo.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Tenant:
    """One simulated tenant and the source that collects from it."""

    source: str
    """The source's name."""
    simulator: Simulator
    schema: str
    config: dict[str, Any]
    """What stands under `config`, but for the name."""
    options: dict[str, Any]
    """What stands under `collectord`, but for `base_url`."""
    secrets: dict[str, str]
    """Files beside the daemon's file that `config` refers to, by name."""
    history: Mapping[str, int]
    """Records of each stream that are there before the first poll."""
    per_second: Mapping[str, float]
    """New records of each stream."""
    late: Mapping[str, Any]
    """Options of `issue` for a record that comes minutes after its own time."""

    def document(self, base_url: str) -> dict[str, Any]:
        """The source file."""
        return {
            "api.version": "v1",
            "source": {
                "schemaRef": {"type": self.schema},
                "sourceType": "Universal",
                "config": {"name": self.source, "category": f"demo/{self.simulator.vendor}", **self.config},
                "collectord": {"base_url": base_url, **self.options},
            },
        }


def _okta(poll_seconds: float) -> Tenant:
    simulator = OktaSimulator()
    simulator.knobs.org_limits = None  # a demonstration polls faster than a tenant's limits allow
    return Tenant(
        source="okta-demo",
        simulator=simulator,
        schema="Okta",
        config={
            "domain": "demo.okta.com",
            "apiKey": "${file:okta.token}",
            "users": True,
            "fields": {"_siemForward": True},
        },
        options={"intervals": {"events": poll_seconds, "users": 5 * poll_seconds}},
        secrets={"okta.token": simulator.token},
        history={"events": 2500, "users": 120},
        per_second={"events": 25.0, "users": 0.5},
        late={"stream": "events", "late_seconds": 600},
    )


def _sailpoint(poll_seconds: float) -> Tenant:
    simulator = SailPointSimulator()
    return Tenant(
        source="sailpoint-demo",
        simulator=simulator,
        schema="SailPoint",
        config={
            "org_name": "demo",
            "client_id": "${file:sailpoint.id}",
            "client_secret": "${file:sailpoint.secret}",
            "supported_apis": ["Events", "Users"],
            "fields": {"_siemForward": True},
        },
        options={"intervals": {"events": poll_seconds, "users": 5 * poll_seconds}},
        secrets={"sailpoint.id": simulator.client_id, "sailpoint.secret": simulator.client_secret},
        history={"events": 2500, "users": 600},
        per_second={"events": 10.0, "users": 0.5},
        late={"stream": "events", "late_seconds": 600},
    )


def _sentinelone(poll_seconds: float) -> Tenant:
    simulator = SentinelOneSimulator()
    streams = ("activities", "threats", "agents")
    return Tenant(
        source="sentinelone-demo",
        simulator=simulator,
        schema="SentinelOne Mgmt API",
        config={
            "base_url": "https://demo.sentinelone.net",
            "api_secret": "${file:sentinelone.token}",
            "supported_apis": list(streams),
            "fields": {"_siemForward": True},
        },
        options={"intervals": dict.fromkeys(streams, poll_seconds)},
        secrets={"sentinelone.token": simulator.token},
        history={"activities": 1500, "threats": 80, "agents": 120},
        per_second={MIXED: 10.0},
        late={"stream": "activities", "late_seconds": 300},
    )


def _netskope(poll_seconds: float) -> Tenant:
    simulator = NetskopeSimulator()
    simulator.knobs.wait_idle = 1  # as long as half a demonstration, otherwise
    streams = netskope_knobs.STREAMS
    return Tenant(
        source="netskope-demo",
        simulator=simulator,
        schema="Netskope",
        config={"tenantID": "demo", "apiToken": "${file:netskope.token}", "fields": {"_siemForward": True}},
        options={"intervals": dict.fromkeys(streams, poll_seconds), "start": "2h"},
        secrets={"netskope.token": simulator.token},
        history=dict.fromkeys(streams, 200),
        per_second=dict.fromkeys(streams, 2.0),
        late={"stream": "page", "late_seconds": 3000},
    )


TENANTS: tuple[Callable[[float], Tenant], ...] = (_okta, _sailpoint, _sentinelone, _netskope)
"""Each makes its tenant, given how many seconds lie between two polls of events."""
