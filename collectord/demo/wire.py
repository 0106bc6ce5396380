"""How an answer gets onto the connection: whole by the HTTP library, or by hand where the connection is the subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Literal

import anyio
from aiohttp import web
from isal import igzip

from collectord.demo.exchange import Answer
from collectord.demo.loopback import AlreadySent, cut

Framing = Literal["length", "chunked", "close"]
_GZIP_LEVEL = 1
_WORTH_COMPRESSING_BYTES = 256


@dataclass(slots=True)
class Wire:
    """One client connection for the time of one answer."""

    request: web.BaseRequest
    gzip: bool
    """Whether the client asked for gzip and the vendor gives it."""
    now: Callable[[], float]
    """The vendor's clock, for the Date header."""
    status: int = 0
    """The status that went out; 0 as long as there is none."""
    _encoded_status: int = 0

    def compressed(self, answer: Answer) -> Answer:
        """The answer as this client gets it."""
        if not self.gzip or len(answer.body) < _WORTH_COMPRESSING_BYTES or answer.values("Content-Encoding"):
            return answer
        packed = answer.gzipped if answer.gzipped is not None else igzip.compress(answer.body, _GZIP_LEVEL)
        return replace(answer, body=packed).adding(("Content-Encoding", "gzip"))

    def whole(self, answer: Answer) -> web.Response:
        """The ordinary way."""
        answer = self.compressed(answer)
        response = web.Response(status=answer.status, body=answer.body)
        self._fill(response, answer)
        return response

    async def stream(self, answer: Answer) -> web.StreamResponse:
        """A response to write to, piece by piece."""
        response = web.StreamResponse(status=answer.status)
        self._fill(response, answer)
        await response.prepare(self.request)
        return response

    def encoded(self, answer: Answer, framing: Framing) -> tuple[bytes, bytes]:
        """The body and the head, in this order, as bytes to write by hand."""
        answer = self.compressed(answer)
        lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in self._head_lines(answer)]
        if framing == "length":
            lines.append(f"Content-Length: {len(answer.body)}")
        elif framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        lines.append("Connection: close")
        self._encoded_status = answer.status
        return answer.body, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write(self, data: bytes) -> None:
        self.status = self._encoded_status
        transport = self.request.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    async def drip(self, data: bytes, pause_seconds: float, drop_bytes: int) -> None:
        """Write in drops; without a pause at once. Ends when the client has gone."""
        step = drop_bytes if pause_seconds else len(data) or 1
        for start in range(0, len(data), step):
            transport = self.request.transport
            if transport is None or transport.is_closing():
                return
            self.write(data[start : start + step])
            await anyio.sleep(pause_seconds)

    async def let_arrive(self) -> None:
        """Give the client the time to read what was written: a reset may overtake it."""
        await anyio.sleep(0.02)

    def finished(self) -> web.StreamResponse:
        """Close behind what was written."""
        cut(self.request, reset=False)
        return AlreadySent()

    def reset(self) -> web.StreamResponse:
        cut(self.request, reset=True)
        return AlreadySent()

    def _fill(self, response: web.StreamResponse, answer: Answer) -> None:
        self.status = answer.status
        for name, value in self._head_lines(answer):
            response.headers.add(name, value)

    def _head_lines(self, answer: Answer) -> list[tuple[str, str]]:
        date = formatdate(self.now(), usegmt=True)
        return [("Content-Type", answer.content_type), ("Date", date), *answer.headers]


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
