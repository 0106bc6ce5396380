"""The tenants of the demonstration: a simulator, and the source file that collects from it. A vendor is one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collectord.demo.okta import OktaSimulator
from collectord.demo.sailpoint import SailPointSimulator
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
    history: int
    """Records that are there before the first poll."""
    per_second: float

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
        config={"domain": "demo.okta.com", "apiKey": "${file:okta.token}", "fields": {"_siemForward": True}},
        options={"intervals": {"events": poll_seconds}},
        secrets={"okta.token": simulator.token},
        history=2500,
        per_second=25.0,
    )


def _sailpoint(poll_seconds: float) -> Tenant:
    simulator = SailPointSimulator()
    simulator.add_users(600)
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
        options={"intervals": {"events": poll_seconds}},
        secrets={"sailpoint.id": simulator.client_id, "sailpoint.secret": simulator.client_secret},
        history=2500,
        per_second=10.0,
    )


TENANTS: tuple[Callable[[float], Tenant], ...] = (_okta, _sailpoint)
"""Each makes its tenant, given how many seconds lie between two polls of events."""
