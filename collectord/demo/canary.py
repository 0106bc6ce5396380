"""A foreign origin that nobody should ever speak to: redirects and foreign `next` links lead here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from collectord.demo.exchange import Call, Exchanged
from collectord.demo.loopback import Loopback

_TELLING_WORDS = ("authorization", "token", "api-key", "apikey", "secret", "cookie", "password")


class Canary:
    """Records every request; one that carries a credential is a violation.

    `secrets` are the credentials that are looked for everywhere in a request; a header whose name smells of one counts
    even without.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = set(secrets)
        self.requests: list[Exchanged] = []
        self.violations: list[str] = []
        self._loopback = Loopback(self._handle)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        async with self._loopback.serve(port) as base_url:
            yield base_url

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = await Call.read(request, anyio.current_time())
        self.requests.append(Exchanged(call.method, call.target, 200, call.at))
        for name in call.header_names:
            if any(word in name.lower() for word in _TELLING_WORDS):
                self.violations.append(f"{call.method} {call.path}: a foreign origin was sent the header {name}")
        whole = call.target + "".join(call.headers.values()) + call.body.decode("latin-1")
        if any(secret in whole for secret in self.secrets):
            self.violations.append(f"{call.method} {call.path}: a foreign origin was sent a credential")
        return web.json_response([])
