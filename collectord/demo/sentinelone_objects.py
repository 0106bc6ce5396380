"""Rows that look like SentinelOne's, the same ones for the same seed (keys: sailpoint-sentinelone.md B4)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

EPOCH_MS = 1_483_228_800_000
"""2017-01-01: what SentinelOne's ids count from."""
_ACTIVITIES = (
    (27, "The management user {name} logged in to the management console."),
    (33, "The management user {name} logged out of the management console."),
    (19, "New malicious threat detected: eicar.com on PC-{number}."),
    (2001, "The agent PC-{number} successfully killed the threat."),
    (5020, "The management user {name} changed the policy of the site Zürich."),
    (90, "PC-{number} started a full disk scan."),
)
_NAMES = ("Ann Lee", "Dorota Kowalska", "Émile Dupont", "João Souza", "Søren Holm", "Mei 林")
_THREATS = ("eicar.com", "invoice.pdf.exe", "mimikatz.exe", "Łapacz.dll", "run.ps1")
_INDICATORS = (
    "Detected by the static engine.",
    "The process tried to read credentials from LSASS memory.",
    "A scheduled task was created to run at log-on.",
    "Shadow copies were deleted by vssadmin.",
    "Communicates with a host that was registered recently.",
    "Injected code into another process.",
)
_FILLER_CHARACTERS = 65_536


def iso(micros: int, *, zone: bool = True) -> str:
    """SentinelOne's way to write a time."""
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{micros % 1_000_000:06d}{'Z' if zone else ''}"


def snowflake(micros: int, low: int) -> str:
    """An id, which holds the time of its making."""
    return str(((micros // 1000 - EPOCH_MS) << 23) | (low & 0x7FFFFF))


class SentinelOneObjects:
    """Makes rows of about the sizes that real ones have; `sizes` by list, in bytes of compact JSON."""

    def __init__(self, seed: int, sizes: dict[str, int]) -> None:
        self._random = Random(seed)
        self._filler = " ".join(self._random.choices(_INDICATORS, k=_FILLER_CHARACTERS // 30)) * 2
        self._lengths = dict.fromkeys(sizes, 0)
        self._lengths = {kind: max(0, size - self._mean_bare_size(kind)) for kind, size in sizes.items()}

    def make(self, kind: str, row_id: str, micros: int, *, zone: bool = True) -> dict[str, Any]:
        """One row of a list."""
        made: dict[str, Any] = getattr(self, f"_{kind}")(row_id, iso(micros, zone=zone))
        return made

    def _activities(self, row_id: str, time: str) -> dict[str, Any]:
        kind, words = self._random.choice(_ACTIVITIES)
        name = self._random.choice(_NAMES)
        number = self._random.randrange(10_000)
        keys = ("secondaryDescription", "description", "comments", "hash", "osFamily", "agentId")
        return {
            "id": row_id,
            "activityUuid": self._uuid(),
            "activityType": kind,
            "createdAt": time,
            "updatedAt": time,
            "primaryDescription": words.format(name=name, number=number),
            **dict.fromkeys(keys),
            "agentUpdatedVersion": None,
            "threatId": None,
            "userId": "2124589459054788613",
            **_PLACE,
            "data": {
                "username": name,
                "ipAddress": f"203.0.113.{number % 250 + 1}",
                "role": "Admin",
                "scopeLevel": "Account",
                "newValue": self._random.choice([True, "not inherited", ["a"], {"on": 1}]),
                "fullScopeDetails": self._text("activities"),
            },
        }

    def _threats(self, row_id: str, time: str) -> dict[str, Any]:
        name = self._random.choice(_THREATS)
        number = self._random.randrange(10_000)
        agent_uuid = self._uuid().replace("-", "")
        return {
            "agentDetectionInfo": {
                "agentUuid": agent_uuid,
                "agentVersion": "23.4.2.14",
                "agentOsName": "Windows 11 Pro",
                "agentIpV4": "10.0.0.5,192.168.1.5",
                "agentIpV6": "fe80::1",
                "externalIp": "203.0.113.9",
                "agentLastLoggedInUserName": "ann",
                "cloudProviders": {},
                **_PLACE,
            },
            "agentRealtimeInfo": {
                "agentId": "2339092876501188609",
                "agentComputerName": f"PC-{number}",
                "agentIsActive": True,
                "agentNetworkStatus": "connected",
                "networkInterfaces": [],
                "scanStatus": "finished",
            },
            "containerInfo": {},
            "id": row_id,
            "indicators": [
                {"category": "Evasion", "description": self._text("threats"), "ids": [11, 41], "tactics": []}
            ],
            "kubernetesInfo": {},
            "mitigationStatus": [{"action": "quarantine", "status": "success", "lastUpdate": time}],
            "threatInfo": {
                "threatId": row_id,
                "threatName": name,
                "classification": "Malware",
                "confidenceLevel": "malicious",
                "mitigationStatus": "not_mitigated",
                "incidentStatus": "unresolved",
                "analystVerdict": "undefined",
                "createdAt": time,
                "updatedAt": time,
                "identifiedAt": time,
                "sha1": f"{self._random.getrandbits(160):040x}",
                "md5": None,
                "filePath": f"\\Device\\HarddiskVolume3\\Users\\ann\\Downloads\\{name}",
                "fileSize": number,
                "detectionEngines": [{"key": "pre_execution", "title": "On-Write Static AI"}],
            },
            "whiteningOptions": ["hash"],
        }

    def _agents(self, row_id: str, time: str) -> dict[str, Any]:
        number = self._random.randrange(10_000)
        return {
            "id": row_id,
            "uuid": self._uuid().replace("-", ""),
            "computerName": f"PC-{number}",
            "agentVersion": "23.4.2.14",
            "osType": "windows",
            "osRevision": "22631",
            "osStartTime": time[:19] + "Z",
            "firstFullModeTime": time.removesuffix("Z"),
            "isActive": True,
            "isDecommissioned": False,
            "infected": False,
            "lastIpToMgmt": "10.0.0.5",
            "externalIp": "203.0.113.9",
            "networkInterfaces": [
                {"id": "22", "name": "Ethernet", "physical": "00:00:5e:00:53:01", "inet": ["10.0.0.5"], "inet6": []}
            ],
            "createdAt": time,
            "registeredAt": time,
            "updatedAt": time,
            "lastActiveDate": time,
            "locations": None,
            "proxyStates": None,
            "tags": {"sentinelone": []},
            "licenseKey": self._text("agents"),
            **_PLACE,
        }

    def _text(self, kind: str) -> str:
        start = self._random.randrange(_FILLER_CHARACTERS // 2)
        return self._filler[start : start + self._lengths[kind]]

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _mean_bare_size(self, kind: str) -> int:
        state = self._random.getstate()
        sizes = [len(orjson.dumps(self.make(kind, "2535991889744749120", 0))) for _ in range(50)]
        self._random.setstate(state)
        return sum(sizes) // len(sizes)


_PLACE = {
    "accountId": "1896013312827588617",
    "accountName": "Acme",
    "siteId": "1896013313104412682",
    "siteName": "HQ",
    "groupId": "1896013313154744331",
    "groupName": "Default Group",
}
