"""The frame of a local stand-in for a product: strict, and remembers what it stored and every request it got."""

import time
import zlib
from typing import Any, ClassVar

import anyio
from aiohttp import web
from isal import igzip

from collectord.demo.exchange import Answer, Call
from collectord.demo.faults import Fault
from collectord.demo.served import Served
from collectord.demo.wire import Wire

SECRET = "canary-0123456789abcdef"


class BadBody(ValueError):
    """The body cannot be read."""


class StandIn(Served):
    """What the conformance suite asks of every product."""

    type: ClassVar[str]
    is_idempotent: ClassVar[bool]
    """What comes twice is stored once."""

    def __init__(self, secret: str = SECRET) -> None:
        super().__init__(self.handle)
        self.secret = secret
        self.calls: list[Call] = []
        self.largest: int | None = None
        """Bodies of more bytes, decompressed, are refused with 413."""
        self.poison = b""
        """Records that hold it are refused for good."""

    def settings(self, **options: Any) -> dict[str, Any]:
        """A sink of ours that talks to it, as in collectord.yaml."""
        raise NotImplementedError

    def wrong_credential(self) -> dict[str, Any]:
        """The options that make it refuse."""
        raise NotImplementedError

    def secrets(self) -> list[str]:
        """What must be in no message."""
        return [self.secret]

    def events(self) -> list[bytes]:
        """The vendors' objects that it holds, in the order of their arrival."""
        raise NotImplementedError

    def answer(self, call: Call) -> Answer:
        raise NotImplementedError

    @property
    def posts(self) -> list[Call]:
        """The requests that brought records."""
        return [call for call in self.calls if call.body]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = await Call.read(request, anyio.current_time())
        self.calls.append(call)
        wire = Wire(request, gzip="gzip" in call.headers.get("Accept-Encoding", ""), now=time.time)
        fault = self.faults.take(call)
        answer = Answer() if fault is not None and not fault.vendor_acts else self.answer(call)
        answer = fault.alter(answer) if fault else answer
        self.counters[f"status {answer.status}"] += 1
        return await (fault or Fault()).send(wire, answer)


def text_of(call: Call) -> bytes:
    """The body, decompressed; raises BadBody."""
    encoding = call.headers.get("Content-Encoding", "identity")
    if encoding == "identity":
        return call.body
    if encoding != "gzip":
        raise BadBody(encoding)
    try:
        return bytes(igzip.decompress(call.body))
    except (OSError, EOFError, zlib.error) as error:
        raise BadBody("not gzip") from error
