"""The token endpoint: client credentials by form, Basic or query (sailpoint-sentinelone.md A2)."""

from __future__ import annotations

import base64
import binascii
from random import Random
from urllib.parse import parse_qsl, unquote

from collectord.demo.exchange import Answer, Call
from collectord.demo.sailpoint_errors import oauth_answer
from collectord.demo.sailpoint_knobs import SailPointKnobs


class Tokens:
    """Clients, and the tokens that they were given."""

    def __init__(self, knobs: SailPointKnobs, seed: int) -> None:
        self.clients: dict[str, str] = {}
        """Secrets by client id."""
        self.holders: dict[str, str] = {}
        """Client ids by token."""
        self._knobs = knobs
        self._random = Random(seed)
        self._ends: dict[str, float] = {}

    def answer(self, call: Call, now: float) -> tuple[Answer, str]:
        """The answer to a token request, and the token in it if there is one."""
        asked = _fields(call)
        if asked.get("grant_type") != "client_credentials":
            return oauth_answer(400, "unsupported_grant_type", "Unsupported grant type"), ""
        if "scope" in asked and self._knobs.strict_scope:
            return oauth_answer(400, "invalid_scope", "Invalid scope"), ""
        client = asked.get("client_id", "")
        if not client or self.clients.get(client) != asked.get("client_secret"):
            return oauth_answer(self._knobs.bad_client_status, "invalid_client", "Bad client credentials"), ""
        token = f"eyJ{self._random.getrandbits(192):048x}"
        self.holders[token] = client
        told = self._knobs.expires_in
        truth = self._knobs.token_seconds
        if truth is None:
            truth = float(told) if told is not None else 43_199.0
        self._ends[token] = now + truth
        granted = {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": told,
            "scope": "sp:search:read sp:scopes:default",
            "tenant_id": "6d9b0000-0000-4000-8000-000000000000",
            "internal": False,
            "pod": "prd01-useast1",
            "org": "acme",
            "jti": f"{self._random.getrandbits(128):032x}",
        }
        if told is None:
            del granted["expires_in"]
        return Answer.json(granted), token

    def is_over(self, token: str, now: float) -> bool:
        """Whether a token that was given out has expired."""
        return now >= self._ends.get(token, now + 1)

    @staticmethod
    def client_of(call: Call) -> str:
        """Who asks for a token."""
        return _fields(call).get("client_id", "")


def _fields(call: Call) -> dict[str, str]:
    asked = dict(call.query)
    if call.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        asked |= dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    scheme, _, packed = call.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client, _, secret = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return asked
        asked |= {"client_id": unquote(client), "client_secret": unquote(secret)}
    return asked
