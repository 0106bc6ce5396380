"""Okta System Log events that look like Okta's, the same ones for the same seed (keys: okta-netskope.md 1.2 [OAS])."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

EVENT_TYPES = (
    ("user.session.start", "core.user_auth.login_success", "User login to Okta", "INFO"),
    ("user.session.end", "core.user_auth.logout_success", "User logout from Okta", "INFO"),
    ("user.authentication.sso", "app.auth.sso", "User single sign on to app", "INFO"),
    ("user.authentication.auth_via_mfa", "core.user.factor.attempt_success", "Authentication of user via MFA", "INFO"),
    ("user.authentication.verify", "", "Verify user identity", "INFO"),
    ("policy.evaluate_sign_on", "", "Evaluation of sign-on policy", "INFO"),
    ("user.account.lock", "core.user_auth.account_locked", "Max sign in attempts exceeded", "WARN"),
    ("user.lifecycle.create", "core.user.config.user_creation.success", "Create Okta user", "INFO"),
    ("user.lifecycle.deactivate", "core.user.config.user_deactivated", "Deactivate Okta user", "INFO"),
    ("group.user_membership.add", "core.user_group_member.user_add", "Add user to group membership", "INFO"),
    ("application.user_membership.add", "app.generic.provision.assign_user_to_app", "Add user to application", "INFO"),
    ("system.api_token.create", "api.token.create", "Create API token", "WARN"),
    ("app.oauth2.as.token.grant", "app.oauth2.as.token.grant_success", "OAuth2 token grant", "DEBUG"),
)
RESULTS = ("SUCCESS", "SUCCESS", "SUCCESS", "ALLOW", "FAILURE", "CHALLENGE", "DENY", "SKIPPED")
_PLACES = (
    ("Rotterdam", "South Holland", "Netherlands", "3011", 51.92, 4.48),
    ("Austin", "Texas", "United States", "78701", 30.27, -97.74),
    ("Osaka", "Osaka", "Japan", "530-0001", 34.69, 135.5),
    ("São Paulo", "São Paulo", "Brazil", "01310", -23.55, -46.63),
    ("Łódź", "Łódź Voivodeship", "Poland", "90-001", 51.76, 19.46),
)
_AGENTS = (
    ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Linux", "FIREFOX"),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0.0.0 Safari/537.36",
        "Windows 10",
        "CHROME",
    ),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "iOS", "SAFARI"),
)
_NAMES = ("Ada", "Bea", "Dorota", "Émile", "Fatma", "Goran", "Hanna", "João", "Kofi", "Lena", "Mei", "Søren", "Tomás")
_WORDS = (
    "New",
    "Geo-Location",
    "Device",
    "State",
    "Country",
    "Velocity",
    "POSITIVE",
    "NEGATIVE",
    "level",
    "LOW",
    "reasons",
)
_FILLER_CHARACTERS = 65_536


def iso(milliseconds: int) -> str:
    """Okta's way to write a time."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


class OktaEvents:
    """Makes events of about `size_bytes` of compact JSON."""

    def __init__(self, seed: int = 0, size_bytes: int = 2_700) -> None:
        self._random = Random(seed)
        self._people = [self._person(number) for number in range(200)]
        self._filler = " ".join(self._random.choices(_WORDS, k=_FILLER_CHARACTERS // 6)) * 2
        self._filler_length = 0
        self._filler_length = max(0, size_bytes - self._mean_bare_size())

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def event(self, published_ms: int, event_type: str = "") -> dict[str, Any]:
        """One event; a random type unless one is asked for."""
        random = self._random
        name, legacy, message, severity = self._type(event_type)
        actor = random.choice(self._people)
        ip = f"{random.choice(('192.0.2', '198.51.100', '203.0.113'))}.{random.randrange(1, 255)}"
        place = self._place(random.choice(_PLACES))
        request_id = f"{random.getrandbits(80):020x}"
        session = f"102{random.getrandbits(64):016x}"
        return {
            "actor": actor,
            "client": self._client(ip, place),
            "device": None,
            "authenticationContext": {
                "authenticationProvider": None,
                "credentialProvider": None,
                "credentialType": None,
                "issuer": None,
                "interface": None,
                "authenticationStep": 0,
                "rootSessionId": session,
                "externalSessionId": session,
            },
            "displayMessage": message,
            "eventType": name,
            "outcome": {"result": random.choice(RESULTS), "reason": None},
            "published": iso(published_ms),
            "securityContext": {
                "asNumber": 64_500 + random.randrange(10),
                "asOrg": "example carrier",
                "isp": "example carrier",
                "domain": ".",
                "isProxy": False,
            },
            "severity": severity,
            "debugContext": {"debugData": self._debug_data(request_id)},
            "legacyEventType": legacy or None,
            "transaction": {"type": "WEB", "id": request_id, "detail": {}},
            "uuid": self.uuid(),
            "version": "0",
            "request": {"ipChain": [{"ip": ip, "geographicalContext": place, "version": "V4", "source": None}]},
            "target": self._targets(actor),
        }

    def _type(self, wanted: str) -> tuple[str, str, str, str]:
        if not wanted:
            return self._random.choice(EVENT_TYPES)
        return next((row for row in EVENT_TYPES if row[0] == wanted), (wanted, "", wanted, "INFO"))

    def _debug_data(self, request_id: str) -> dict[str, str]:
        start = self._random.randrange(_FILLER_CHARACTERS // 2)
        return {
            "requestId": request_id,
            "dtHash": f"{self._random.getrandbits(256):064x}",
            "requestUri": "/idp/idx/identify",
            "url": "/idp/idx/identify?",
            "threatSuspected": "false",
            "behaviors": self._filler[start : start + self._filler_length],
        }

    def _targets(self, actor: dict[str, Any]) -> list[dict[str, Any]] | None:
        if self._random.random() < 0.3:
            return None
        app = f"0oa{self._random.getrandbits(64):016x}"
        return [
            {"id": app, "type": "AppInstance", "alternateId": "Payroll", "displayName": "Payroll", "detailEntry": None},
            {**actor, "type": "AppUser", "detailEntry": None},
        ]

    def _client(self, ip: str, place: dict[str, Any]) -> dict[str, Any]:
        raw, system, browser = self._random.choice(_AGENTS)
        return {
            "userAgent": {"rawUserAgent": raw, "os": system, "browser": browser},
            "zone": "null",
            "device": "Mobile" if system == "iOS" else "Computer",
            "id": None,
            "ipAddress": ip,
            "geographicalContext": place,
        }

    @staticmethod
    def _place(row: tuple[str, str, str, str, float, float]) -> dict[str, Any]:
        city, state, country, code, latitude, longitude = row
        point = {"lat": latitude, "lon": longitude}
        return {"city": city, "state": state, "country": country, "postalCode": code, "geolocation": point}

    def _person(self, number: int) -> dict[str, Any]:
        name = f"{self._random.choice(_NAMES)} {self._random.choice(_NAMES)}son"
        address = f"user{number}@acme.test"
        user_id = f"00u{number:017d}"
        return {"id": user_id, "type": "User", "alternateId": address, "displayName": name, "detailEntry": None}

    def _mean_bare_size(self) -> int:
        state = self._random.getstate()
        sizes = [len(orjson.dumps(self.event(0))) for _ in range(50)]
        self._random.setstate(state)
        return sum(sizes) // len(sizes)
