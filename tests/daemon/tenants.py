"""Tenants for a storm: a simulated vendor, the source that collects from it, and what can be issued there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from collectord.demo.exchange import Call
from collectord.demo.faults import Fault, VendorError
from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import STREAMS, NetskopeKnobs
from collectord.demo.netskope_odd import ODD as NETSKOPE_ODD
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import LOGS, OktaKnobs
from collectord.demo.okta_links import LinkStyle
from collectord.demo.okta_odd import ODD as OKTA_ODD
from collectord.demo.oracle import Expectation, expect
from collectord.demo.sailpoint import DEMO_CLIENT, SailPointSimulator
from collectord.demo.sailpoint_knobs import SailPointKnobs
from collectord.demo.sailpoint_odd import ODD as SAILPOINT_ODD
from collectord.demo.sentinelone import MIXED, SentinelOneSimulator
from collectord.demo.sentinelone_knobs import SentinelOneKnobs
from collectord.demo.simulator import Simulator

SMALL = 700
"""Bytes of an event."""
LISTED_LESS_OFTEN = 10


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
    move_people: Callable[[Random], None] | None = None
    """Lets somebody come, change or go, where a stream is a list of people."""
    take_secret: Callable[[str], None] | None = None
    """Makes a secret good, where it is not what requests show."""

    def accept(self, secret: str) -> None:
        """From now on this secret is good."""
        (self.take_secret or self.simulator.accept_credential)(secret)

    def document(self, interval_seconds: float, listed_less_often: float = LISTED_LESS_OFTEN) -> dict[str, Any]:
        """Its source file; whole lists are asked for so many times less often."""
        listed = self.simulator.inventory if self.move_people else ()
        return {
            "schemaRef": {"type": self.type},
            "config": {"name": self.name, **self.config},
            "collectord": {
                "base_url": self.simulator.base_url,
                "start": "1h",
                "intervals": {
                    name: interval_seconds * (listed_less_often if name in listed else 1) for name in self.streams
                },
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
    """Other links, small pages, both sinks, and users with their groups."""
    style = LinkStyle(separate=False, lower_case=True, random_cursors=True)
    tenant = okta("odd", token, seed, OktaKnobs(org_limits=None, links=style), page_size=7)
    assert isinstance(tenant.simulator, OktaSimulator)
    return replace(
        tenant,
        config={**tenant.config, "users": True},
        streams=["events", "users"],
        move_people=partial(_move_okta_users, tenant.simulator),
    )


def _move_okta_users(okta: OktaSimulator, chance: Random) -> None:
    okta.add_users(2)
    okta.change_user(chance.choice(list(okta.directory.users)), status=chance.choice(("ACTIVE", "DEPROVISIONED")))
    if chance.random() < 0.3:  # deleted midway, as the reader sees it
        okta.delete_user(okta.add_users(1)[0], still_listed=True)


def limited_okta(token: str, seed: int) -> Tenant:
    """A tenant with rate limits that are soon reached."""
    knobs = OktaKnobs(org_limits={LOGS: 40}, token_share=1.0, window_seconds=1.0)
    return okta("limited", token, seed, knobs, page_size=300, sinks=["default"])


def netskope(token: str, seed: int) -> Tenant:
    """All endpoints: cursors that live at the vendor, one page deep to be undone."""
    knobs = NetskopeKnobs(page_size=60, wait_some=0, wait_idle=0, requests_per_second=None)
    return Tenant(
        name="netskope",
        simulator=NetskopeSimulator(token, knobs, seed=seed, event_bytes=SMALL),
        type="Netskope",
        config={"tenantID": "acme", "apiToken": "${credential:netskope}", "eventTypes": ["all"]},
        streams=STREAMS,
        flavours=[
            {"stream": stream, **flavour}
            for stream in STREAMS
            for flavour in ({}, {"late_seconds": 3000.0}, *odd(NETSKOPE_ODD))
        ],
    )


def sentinelone(token: str, seed: int, *, limited: bool = False) -> Tenant:
    """Searches that overlap, rows that change, and an inventory."""
    knobs = SentinelOneKnobs() if limited else SentinelOneKnobs(rate_limits=None, agreed_per_second=None)
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


def sailpoint(token: str, seed: int, *, limited: bool = False) -> Tenant:
    """Tokens that are fetched, an index that is late, and people listed by names that are not unique."""
    knobs = SailPointKnobs(index_lag_seconds=(0.0, 0.5), unstable_names=True, expires_in=20)
    if not limited:
        knobs.rate_limit = knobs.agreed_per_window = None
    simulator = SailPointSimulator(DEMO_CLIENT, token, knobs, seed=seed, event_bytes=SMALL)
    return Tenant(
        name="sailpoint",
        simulator=simulator,
        type="SailPoint",
        config={
            "org_name": "acme",
            "client_id": DEMO_CLIENT,
            "client_secret": "${credential:sailpoint}",
            "supported_apis": ["Events", "Users"],
        },
        streams=["events", "users"],
        options={"page_size": 200},
        flavours=[{}, {"late_seconds": 600.0}, {"same_moment": True}, {"pretty": True}, *odd(SAILPOINT_ODD)],
        move_people=partial(_move_sailpoint_users, simulator),
        take_secret=partial(simulator.add_client, DEMO_CLIENT),
    )


def _move_sailpoint_users(tenant: SailPointSimulator, chance: Random) -> None:
    tenant.add_users(2, name=chance.choice(("Ann Ash", "Bo Birch", "Zoë Zander")))
    tenant.change_user(chance.choice(list(tenant.directory.identities)), email=f"{chance.getrandbits(32)}@acme.test")


Make = Callable[[str, int], Tenant]
OKTA: tuple[Make, ...] = (plain_okta, odd_okta, limited_okta)
OTHERS: tuple[Make, ...] = (netskope, sentinelone, sailpoint)
ALL: tuple[Make, ...] = (
    *OKTA,
    netskope,
    partial(sentinelone, limited=True),
    partial(sailpoint, limited=True),
)
"""For lives that are seconds apart, so that limits hold from one to the next."""
