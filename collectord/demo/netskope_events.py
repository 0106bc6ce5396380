"""Netskope records that look like Netskope's, the same ones for the same seed (okta-netskope.md 2.3 [NSS])."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

AUDIT_TEXTS = (
    "Login Successful",
    "Logout Successful",
    "Login Failed",
    "Rest API V2 Call",
    "Edited private app segment",
    "Enabled REST API tokens",
)
_ALERT_TYPES = ("policy", "DLP", "malsite", "Malware", "uba", "watchlist", "Security Assessment", "ctep")
_APPS = ("Microsoft Office 365 OneDrive", "Box", "Slack", "GitHub", "Salesforce", "Søk & Del", "日本語アプリ")
_ACTIVITIES = ("Upload", "Download", "Share", "View", "Login Successful", "Post", "Delete")
_METRICS = ("CPU_15min", "Memory", "Disk", "Tunnel_count")
_WORDS = ("invoice", "quarterly", "report", "final", "secret", "draft", "export", "customers", "payroll", "v2", "copy")
_FILLER_CHARACTERS = 65_536
_ID_BITS = {"incident": 256}
_NO_ID = frozenset({"endpoint"})


class NetskopeEvents:
    """Makes records of about `size_bytes` of compact JSON."""

    def __init__(self, seed: int = 0, size_bytes: int = 1_500) -> None:
        self._random = Random(seed)
        self._filler = " ".join(self._random.choices(_WORDS, k=_FILLER_CHARACTERS // 5)) * 2
        self._filler_lengths: dict[str, int] = {}
        self._size = size_bytes

    def record_id(self, stream: str) -> str:
        bits = _ID_BITS.get(stream, 96)
        return f"{self._random.getrandbits(bits):0{bits // 4}x}"

    def event(self, stream: str, timestamp: int) -> dict[str, Any]:
        """One record of a stream; an endpoint's has no `_id`."""
        if stream not in self._filler_lengths:
            self._filler_lengths[stream] = 0
            bare = sum(len(orjson.dumps(self._event(stream, timestamp))) for _ in range(20)) // 20
            self._filler_lengths[stream] = max(0, self._size - bare)
        return self._event(stream, timestamp)

    def _event(self, stream: str, timestamp: int) -> dict[str, Any]:
        start = self._random.randrange(_FILLER_CHARACTERS // 2)
        filler = self._filler[start : start + self._filler_lengths[stream]]
        own: dict[str, Any] = {} if stream in _NO_ID else {"_id": self.record_id(stream)}
        own["timestamp"] = timestamp
        if stream == "audit":
            return own | self._audit(timestamp, filler)
        if stream == "infrastructure":
            return own | self._infrastructure(filler)
        return own | self._traffic(stream) | {"url": f"files.example.com/{filler}"}

    def _audit(self, timestamp: int, filler: str) -> dict[str, Any]:
        user = self._user()
        return {
            "type": "admin_audit_logs",
            "record_type": "audit",
            "audit_log_event": self._random.choice(AUDIT_TEXTS),
            "user": user,
            "ur_normalized": user,
            "severity_level": self._random.choice((1, 2, "low")),
            "supporting_data": {"data_type": self._random.choice(("user", None)), "data_values": [filler, user]},
            "details": [],
            "organization_unit": "",
            "ccl": "unknown",
            "count": 1,
            "sAMAccountName": "",
            "userPrincipalName": "",
            "_insertion_epoch_timestamp": timestamp + 300,
        }

    def _infrastructure(self, filler: str) -> dict[str, Any]:
        return {
            "record_type": "infrastructure",
            "hostname": f"appl-{self._random.randrange(9)} {filler}",
            "serial": f"FF{self._random.getrandbits(60):015X}",
            "metric_name": self._random.choice(_METRICS),
            "metric_type": "gauge",
            "metric_value": f"{self._random.random() * 100:.1f}",
            "count_metric_value": 0,
            "package_version": "58.0.0.302",
        }

    def _traffic(self, stream: str) -> dict[str, Any]:
        """What the records of users' traffic have in common; the large ids are beyond 2^53."""
        user = self._user()
        return {
            "type": "nspolicy" if stream in {"alert", "application"} else stream,
            "record_type": stream,
            "alert": "yes" if stream == "alert" else "no",
            "alert_type": self._random.choice(_ALERT_TYPES),
            "activity": self._random.choice(_ACTIVITIES),
            "app": self._random.choice(_APPS),
            "app-gdpr-level": "High",
            "CononicalName": "",
            "user": user,
            "userkey": user,
            "srcip": f"198.51.100.{self._random.randrange(1, 255)}",
            "dstip": f"203.0.113.{self._random.randrange(1, 255)}",
            "dstport": 443,
            "app_session_id": self._large(),
            "browser_session_id": self._large(),
            "connection_id": self._large(),
            "transaction_id": self._large(),
            "request_id": self._large(),
            "network_session_id": str(self._large()),
            "client_bytes": self._random.randrange(10**6),
            "server_bytes": self._random.randrange(10**7),
            "dlp_rule": "",
            "other_categories": [],
            "latitude": 51.92,
            "ssl_decrypt_policy": False,
            "count": self._random.choice((1, 1, 1, 4)),
        }

    def _large(self) -> int:
        return self._random.getrandbits(63) | 1 << 62

    def _user(self) -> str:
        return f"user{self._random.randrange(200)}@acme.test"
