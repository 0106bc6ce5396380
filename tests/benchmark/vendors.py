"""The vendors that can be measured: a row each, and how its simulator is filled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import NetskopeKnobs
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.demo.sailpoint import SailPointSimulator
from collectord.demo.sailpoint_knobs import SailPointKnobs
from collectord.demo.sentinelone import SentinelOneSimulator
from collectord.demo.sentinelone_knobs import THREATS, SentinelOneKnobs
from collectord.demo.simulator import Simulator
from tests.benchmark.floors.sailpoint import SECRET

_MOST_RENDERED_BYTES = 2**29
"""Behind so many, the bodies of pages repeat, though their ids do not."""


@dataclass(frozen=True)
class Load:
    """What a tenant has to give."""

    records: int
    page_size: int
    record_bytes: int
    gzip: bool = False

    @property
    def pages(self) -> dict[str, Any]:
        """Options of a simulator's `prerender`."""
        most = max(1, _MOST_RENDERED_BYTES // (self.page_size * self.record_bytes))
        distinct = most if most * self.page_size < self.records else None
        return {"page_size": self.page_size, "distinct_pages": distinct}


@dataclass(frozen=True)
class Vendor:
    """One row."""

    type: str
    """Its name in a source file."""
    stream: str
    source: Callable[[str], Mapping[str, object]]
    """The `config` of a source that has this token."""
    floor: str
    """The module of its floor."""
    simulator: Callable[[Sequence[str], Load], Simulator]
    """A tenant of these tokens that has the load to give, and no rate limit."""
    page_size: int
    """What collectord asks for, unless told otherwise."""
    most_records: int
    """In one page, where it is as large as it may be."""
    record_bytes: int
    ids: re.Pattern[bytes]
    rules: Mapping[str, str]
    """Patterns by the kind of rule; Include matches every record, Exclude none, the others change each."""


def _okta(tokens: Sequence[str], load: Load) -> Simulator:
    knobs = OktaKnobs(org_limits=None, **_common(tokens, load))
    okta = OktaSimulator(tokens[0], knobs, event_bytes=load.record_bytes)
    okta.prerender(load.records, **load.pages)
    return _known(okta, tokens)


def _sailpoint(tokens: Sequence[str], load: Load) -> Simulator:
    knobs = SailPointKnobs(rate_limit=None, agreed_per_window=None, **_common(tokens, load))
    sailpoint = SailPointSimulator(tokens[0], SECRET, knobs, event_bytes=load.record_bytes)
    for token in tokens:
        sailpoint.add_client(token, SECRET)
    sailpoint.prerender(load.records, **load.pages)
    return sailpoint


def _sentinelone(tokens: Sequence[str], load: Load) -> Simulator:
    knobs = SentinelOneKnobs(rate_limits=None, agreed_per_second=None, **_common(tokens, load))
    console = SentinelOneSimulator(tokens[0], knobs, sizes={THREATS: load.record_bytes})
    console.prerender(load.records, stream=THREATS, **load.pages)
    return _known(console, tokens)


def _netskope(tokens: Sequence[str], load: Load) -> Simulator:
    knobs = NetskopeKnobs(requests_per_second=None, hour_batches=False, wait_idle=None, **_common(tokens, load))
    netskope = NetskopeSimulator(tokens[0], knobs, event_bytes=load.record_bytes)
    netskope.prerender(load.records, stream="alert", **load.pages)
    return _known(netskope, tokens)


def _common(tokens: Sequence[str], load: Load) -> dict[str, Any]:
    return {"gzip": load.gzip, "keep_issued": False, "max_in_flight": 2 * len(tokens)}


def _known(simulator: Simulator, tokens: Sequence[str]) -> Simulator:
    for token in tokens:
        simulator.accept_credential(token)
    return simulator


VENDORS: Mapping[str, Vendor] = {
    "okta": Vendor(
        type="Okta",
        stream="events",
        source=lambda token: {"domain": "benchmark.okta.com", "apiKey": token},
        floor="tests.benchmark.floors.okta",
        simulator=_okta,
        page_size=1000,
        most_records=1000,
        record_bytes=2_700,
        ids=re.compile(rb'"uuid":"([0-9a-f-]{36})"'),
        rules={
            "Include": r'.*"eventType":"[a-z]+\..*',
            "Exclude": r'.*"eventType":"system\.import\..*',
            "Hash": r'"alternateId":"([^"]+)"',
            "Mask": r'"ipAddress":"([^"]+)"',
        },
    ),
    "sailpoint": Vendor(
        type="SailPoint",
        stream="events",
        source=lambda token: {
            "org_name": "benchmark",
            "client_id": token,
            "client_secret": SECRET,
            "supported_apis": ["Events"],
        },
        floor="tests.benchmark.floors.sailpoint",
        simulator=_sailpoint,
        page_size=2500,
        most_records=10_000,
        record_bytes=700,
        ids=re.compile(rb'"id":"([0-9a-f]{64})"'),
        rules={
            "Include": r'.*"_type":"event".*',
            "Exclude": r'.*"technicalName":"SOURCE_ACCOUNT_AGGREGATE_PURGED".*',
            "Hash": r'"actor":\{"name":"([^"]+)"',
            "Mask": r'"ipAddress":"([^"]+)"',
        },
    ),
    "sentinelone": Vendor(
        type="SentinelOne Mgmt API",
        stream="threats",
        source=lambda token: {
            "base_url": "https://benchmark.sentinelone.net",
            "api_secret": token,
            "supported_apis": ["threats"],
        },
        floor="tests.benchmark.floors.sentinelone",
        simulator=_sentinelone,
        page_size=1000,
        most_records=1000,
        record_bytes=4_000,
        ids=re.compile(rb'"id":"(2\d{18})"'),
        rules={
            "Include": r'.*"siteName":"HQ".*',
            "Exclude": r'.*"classification":"PUA".*',
            "Hash": r'"agentLastLoggedInUserName":"([^"]+)"',
            "Mask": r'"externalIp":"([^"]+)"',
        },
    ),
    "netskope": Vendor(
        type="Netskope",
        stream="alert",
        # Alerts are always collected, and nothing named means everything: so something that has nothing to say.
        source=lambda token: {"tenantID": "benchmark", "apiToken": token, "eventTypes": ["endpoint"]},
        floor="tests.benchmark.floors.netskope",
        simulator=_netskope,
        page_size=10_000,
        most_records=10_000,
        record_bytes=1_500,
        ids=re.compile(rb'"_id":"([0-9a-f]{24})"'),
        rules={
            "Include": r'.*"alert":"yes".*',
            "Exclude": r'.*"alert_type":"anomaly".*',
            "Hash": r'"user":"([^"]+)"',
            "Mask": r'"srcip":"([^"]+)"',
        },
    ),
}
