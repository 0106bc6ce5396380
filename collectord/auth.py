"""Credentials as request headers; how they are obtained and renewed stays in here."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import anyio
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

_LONGEST_MARGIN_SECONDS = 60.0


class Authorization(Protocol):
    """What proves to a vendor who we are."""

    async def headers(self) -> Mapping[str, str]:
        """The headers of the next request; may obtain a token first, and raises SourceError if it cannot."""

    def refused(self, sent: Mapping[str, str]) -> bool:
        """Hear that the vendor answered `sent` with 401; true: make the request once more, with other headers."""


class FixedHeader:
    """A token that is sent as it is configured."""

    def __init__(self, name: str, secret: SecretStr, scheme: str = "") -> None:
        self._name = name
        self._secret = secret
        self._scheme = scheme

    async def headers(self) -> Mapping[str, str]:
        """The one header."""
        return {self._name: f"{self._scheme} {self._secret.get_secret_value()}".strip()}

    def refused(self, _sent: Mapping[str, str]) -> bool:
        """A fixed token does not get better."""
        return False


class Nobody:
    """No credential at all: for the request that obtains a token."""

    async def headers(self) -> Mapping[str, str]:
        """None."""
        return {}

    def refused(self, _sent: Mapping[str, str]) -> bool:
        """There is nothing else to send."""
        return False


class NoToken(ValueError):
    """A token endpoint's answer holds no token; says what is wrong with it, never what stands in it."""


class ClientCredentials:
    """A bearer token by OAuth's client credentials, renewed before it expires; those who wait for it wait together.

    `post` sends a form to the token endpoint and returns the body of its answer, or raises SourceError; what is no
    token in the body is told to `unreadable`, which makes a SourceError of it.
    """

    def __init__(
        self,
        client_id: SecretStr,
        client_secret: SecretStr,
        post: Callable[[bytes], Awaitable[bytes]],
        unreadable: Callable[[NoToken], Exception],
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._post = post
        self._unreadable = unreadable
        self._header = ""
        self._renew_at = -math.inf
        self._minting = anyio.Lock()

    async def headers(self) -> Mapping[str, str]:
        """The bearer header; obtains a token when there is none, or the last is about to expire."""
        if not self._is_good():
            async with self._minting:
                if not self._is_good():
                    await self._mint()
        return {"Authorization": self._header}

    def refused(self, sent: Mapping[str, str]) -> bool:
        """Drop the token, unless another has taken its place already."""
        if sent.get("Authorization") == self._header:
            self._renew_at = -math.inf
        return True

    def _is_good(self) -> bool:
        return anyio.current_time() < self._renew_at

    async def _mint(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id.get_secret_value(),
            "client_secret": self._client_secret.get_secret_value(),
        }
        asked_at = anyio.current_time()
        body = await self._post(urlencode(form).encode())
        try:
            token, seconds = _read_token(body)
        except NoToken as error:
            raise self._unreadable(error) from None
        self._header = f"Bearer {token}"
        self._renew_at = asked_at + seconds - min(_LONGEST_MARGIN_SECONDS, seconds / 10)


def fingerprint(*parts: str) -> str:
    """Tells credentials apart without telling what they are."""
    return blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def _read_token(body: bytes) -> tuple[str, float]:
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise NoToken("it is no JSON object") from None
    token = answer.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise NoToken("it holds no access_token")
    return token, _lifetime(answer.get("expires_in"))


def _lifetime(told: object) -> float:
    """Seconds; without a word of the vendor a token is good until it is refused."""
    try:
        seconds = math.nan if isinstance(told, bool) else float(told)  # type: ignore[arg-type]  # whatever came
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    return math.inf if math.isnan(seconds) else max(0.0, seconds)
