"""Credentials as request headers; how they are obtained and renewed stays in here."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr


class Authorization(Protocol):
    """What proves to a vendor who we are."""

    async def headers(self) -> Mapping[str, str]:
        """The headers of the next request; may obtain a token first, and raises SourceError if it cannot."""

    def refused(self) -> bool:
        """Hear that the vendor answered 401; true: the request may be made once more, with a new token."""


class FixedHeader:
    """A token that is sent as it is configured."""

    def __init__(self, name: str, secret: SecretStr, scheme: str = "") -> None:
        self._name = name
        self._secret = secret
        self._scheme = scheme

    async def headers(self) -> Mapping[str, str]:
        """The one header."""
        return {self._name: f"{self._scheme} {self._secret.get_secret_value()}".strip()}

    def refused(self) -> bool:
        """A fixed token does not get better."""
        return False


def fingerprint(*parts: str) -> str:
    """Tells credentials apart without telling what they are."""
    return blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
