"""Tenants for a storm: a simulated vendor, the source that collects from it, and what can be issued there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectord.demo.exchange import Call
from collectord.demo.faults import Fault, VendorError
from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import NetskopeKnobs
from collectord.demo.netskope_odd import ODD as NETSKOPE_ODD
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import LOGS, OktaKnobs
from collectord.demo.okta_links import LinkStyle
from collectord.demo.okta_odd import ODD as OKTA_ODD
from collectord.demo.oracle import Expectation, expect
from collectord.demo.sentinelone import MIXED, SentinelOneSimulator
from collectord.demo.sentinelone_knobs import SentinelOneKnobs
from collectord.demo.simulator import Simulator

SMALL = 700
"""Bytes of an event."""


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """One source, and where it collects from."""

    name: str
    """Of the source, and of its credential."""
    simulator: Simulator
    type: str
    config: dict[str, Any]
    streams: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)
    """What stands under `collectord`, beside what every source has."""
    flavours: Sequence[dict[str, Any]] = ({},)
    """Of what is issued, one at a time."""
    link_refused: tuple[Fault, Callable[[Call], bool]] | None = None
    """What a vendor says to a cursor that it does not know any more."""

    def document(self, interval: str) -> dict[str, Any]:
        """Its source file."""
        return {
            "schemaRef": {"type": self.type},
            "config": {"name": self.name, **self.config},
            "collectord": {
                "base_url": self.simulator.base_url,
                "start": "1h",
                "intervals": dict.fromkeys(self.streams, interval),
                "retry": {"initial": "20ms", "max": "150ms"},
                **self.options,
            },
        }

    def expectations(self) -> list[Expectation]:
        """What the oracle must find; of objects that change, the version that was served last."""
        return expect(self.name, self.simulator, every_version=False)


def odd(kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """Flavours of odd records, a few kinds at a time."""
    names = sorted(kinds)
    return [{"odd": names[start : start + 3]} for start in range(0, len(names), 3)]


def okta(name: str, token: str, seed: int, knobs: OktaKnobs, **options: Any) -> Tenant:
    """An Okta organisation."""
    return Tenant(
        name=name,
        simulator=OktaSimulator(token, knobs, seed=seed, event_bytes=SMALL),
        type="Okta",
        config={"domain": "acme.okta.com", "apiKey": f"${{credential:{name}}}"},
        streams=["events"],
        options=options,
        flavours=[{}, {"late_seconds": 900.0}, {"pretty": True}, *odd(OKTA_ODD)],
        link_refused=(VendorError(400, "E0000001"), lambda call: "after" in call.query),
    )


def plain_okta(token: str, seed: int) -> Tenant:
    """The usual case."""
    return okta("plain", token, seed, OktaKnobs(org_limits=None), page_size=50, sinks=["default"])


def odd_okta(token: str, seed: int) -> Tenant:
    """Other links, small pages, and both sinks."""
    style = LinkStyle(separate=False, lower_case=True, random_cursors=True)
    return okta("odd", token, seed, OktaKnobs(org_limits=None, links=style), page_size=7)


def limited_okta(token: str, seed: int) -> Tenant:
    """A tenant with rate limits that are soon reached."""
    knobs = OktaKnobs(org_limits={LOGS: 40}, token_share=1.0, window_seconds=1.0)
    return okta("limited", token, seed, knobs, page_size=300, sinks=["default"])


def netskope(token: str, seed: int) -> Tenant:
    """Cursors that live at the vendor, one page deep to be undone."""
    knobs = NetskopeKnobs(page_size=60, wait_some=0, wait_idle=0, requests_per_second=None)
    return Tenant(
        name="netskope",
        simulator=NetskopeSimulator(token, knobs, seed=seed, event_bytes=SMALL),
        type="Netskope",
        config={"tenantID": "acme", "apiToken": "${credential:netskope}", "eventTypes": ["audit", "incident"]},
        streams=["alert", "audit", "incident"],
        flavours=[
            {"stream": stream, **flavour}
            for stream in ("alert", "audit", "incident")
            for flavour in ({}, {"late_seconds": 3000.0}, *odd(NETSKOPE_ODD))
        ],
    )


def sentinelone(token: str, seed: int) -> Tenant:
    """Searches that overlap, rows that change, and an inventory."""
    knobs = SentinelOneKnobs(rate_limits=None, agreed_per_second=None)
    sizes = {"activities": SMALL, "threats": 1500, "agents": 1000}
    return Tenant(
        name="sentinelone",
        simulator=SentinelOneSimulator(token, knobs, seed=seed, sizes=sizes),
        type="SentinelOne Mgmt API",
        config={
            "base_url": "https://acme.sentinelone.net",
            "api_secret": "${credential:sentinelone}",
            "supported_apis": ["activities", "threats", "agents"],
        },
        streams=["activities", "threats", "agents"],
        options={"page_size": 300},
        flavours=[{}, {"stream": "threats"}, {"stream": MIXED}, {"late_seconds": 60.0}, {"same_moment": True}],
    )


Make = Callable[[str, int], Tenant]
OKTA: tuple[Make, ...] = (plain_okta, odd_okta, limited_okta)
OTHERS: tuple[Make, ...] = (netskope, sentinelone)
