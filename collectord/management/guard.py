"""Who may ask over TCP: one access id and key, by a name that is ours, from a page that is ours.

A browser that a stranger's page runs in can reach loopback addresses. It gives itself away: by the name it was told
(`Host`: DNS rebinding), by the page that asks (`Origin`, `Sec-Fetch-Site`: cross-site requests).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

from aiohttp import web

from collectord.management.problems import ApiError
from collectord.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from collectord.settings import ManagementSettings

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
OPEN_PATHS = {"/healthz", "/readyz"}
"""Asked by machines that have no key; they tell nothing but up or down."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "collectord",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="collectord", charset="UTF-8"'}


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Tell browsers, with every answer, to trust nothing but this."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


class Guard:
    """Lets those through who may ask; what it allows can be changed while it stands."""

    def __init__(self, settings: ManagementSettings) -> None:
        self.allow(settings)

    def allow(self, settings: ManagementSettings) -> None:
        """Take the access key and the names of these settings from now on."""
        assert settings.access_key is not None  # the settings ask for it where there is `listen`
        self._proof = _digest(f"{settings.access_id}:{settings.access_key.get_secret_value()}".encode())
        self._names = frozenset(name.lower() for name in settings.hosts)

    @web.middleware
    async def check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse with 401 or 403, or let through."""
        self._check_host(request)
        self._check_page(request)
        if request.path not in OPEN_PATHS and not self._is_proven(request.headers.get("Authorization", "")):
            raise ApiError(401, "access_id and access_key of the management section are needed", headers=_CHALLENGE)
        return await handler(request)

    def _check_host(self, request: web.Request) -> None:
        if request.headers.get("Host", "").lower() not in {*_own_hosts(request), *self._names}:
            message = "this is not a name of collectord; if it should be, add it to management.hosts"
            raise ApiError(403, message)

    def _check_page(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in self._origins(request):
            raise ApiError(403, "a page of another origin may not ask")
        site = request.headers.get("Sec-Fetch-Site", "none")
        follows_link = request.method in SAFE_METHODS and request.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in {"same-origin", "none"} and not follows_link:
            raise ApiError(403, "a page of another site may not ask")

    def _origins(self, request: web.Request) -> Iterable[str]:
        # Under the other names stands a proxy, which may speak TLS.
        named = {f"{scheme}://{name}" for name in self._names for scheme in ("https", "http")}
        return named | {f"http://{host}" for host in _own_hosts(request)}

    def _is_proven(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(_digest(given), self._proof)


def _digest(text: bytes) -> bytes:
    # Of equal length whatever was given, so that comparing takes equally long.
    return sha256(text).digest()


def _own_hosts(request: web.Request) -> set[str]:
    """What a browser calls the address that this connection was made to."""
    if request.transport is None:  # gone in the meantime
        return set()
    address, port = request.transport.get_extra_info("sockname")[:2]
    names = {f"[{address}]" if ":" in address else address}
    if is_loopback(address):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    return {f"{name}:{port}" for name in names} | (names if port == 80 else set())
