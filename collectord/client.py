"""One request to a vendor: to its own origin only, bounded in time and size, within the budget; an answer or an error.

What is true of every vendor's HTTP is in here and nowhere else. aiohttp would follow a redirect with a custom token
header, inflate a bomb, take a body that ended early for a whole one, and repeat a GET by itself: none of it happens.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp
import anyio
from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from anyio import to_thread
from isal import isal_zlib
from multidict import CIMultiDict
from yarl import URL

from collectord import __version__
from collectord.errors import RateLimited, SourceError, SourceRefused, SourceUnavailable
from collectord.log import MASK, MIN_SECRET_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from collectord.auth import Authorization
    from collectord.limits import Budget, Budgets, Limits

USER_AGENT = f"collectord/{__version__}"
MAX_BODY_BYTES = 64 * 2**20
"""Of one page, inflated; ten thousand Netskope records are 10 to 30 MB."""
REQUEST_SECONDS = 120.0
"""For a whole request: Okta's own limit is 30 s, Netskope's client waits 120 s."""
CONNECT_SECONDS = 10.0
_PRINTABLE = re.compile(r"[!-~]+")
_INFLATE_ON_LOOP_BYTES = 65536
_MAX_GZIP_MEMBERS = 1024
"""Servers send one, or one for each piece of a stream; each costs a copy of all that follows it."""
_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}  # not: the resolver is away


class PageTooLarge(SourceUnavailable):
    """The page passes MAX_BODY_BYTES; a smaller page size may help."""


class WrongHost(SourceUnavailable):
    """There is no host of this name, or its certificate is another's: a mistake, unless it was ever reached before."""


class CutShort(SourceUnavailable):
    """No whole answer came back: the vendor may or may not have acted on the request."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer, inflated."""

    status: int
    headers: MultiMapping[str]
    links: Mapping[str, str]
    """Targets of the Link header by relation, verbatim."""
    body: bytes
    server_time: float
    """The vendor's clock when it answered, epoch seconds; ours where it did not say."""
    proof: tuple[str, ...] = field(default=(), repr=False)
    """The credential that was sent."""

    @property
    def excerpt(self) -> str:
        """The beginning of the body, for a message."""
        return self.discreet(self.body[:8192].decode("utf-8", "replace"))[:512]

    def discreet(self, said: str) -> str:
        """What the vendor said, without our credential should it repeat it."""
        for secret in self.proof:
            said = said.replace(secret, MASK)
        return said

    def without_proof(self) -> Response:
        """An answer whose every word may end up in a message."""
        body = self.discreet(self.body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        headers = CIMultiDict((name, self.discreet(value)) for name, value in self.headers.items())
        return replace(self, headers=headers, body=body)


def open_session() -> ClientSession:
    """The one session that all sources share; closed by whoever opens it."""
    session = ClientSession(
        connector=TCPConnector(limit=0, limit_per_host=16, keepalive_timeout=30.0, ttl_dns_cache=60),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=2**20,
        timeout=ClientTimeout(total=REQUEST_SECONDS, connect=None, sock_connect=CONNECT_SECONDS),
        headers={"User-Agent": USER_AGENT},
    )
    # aiohttp repeats a GET once when a kept connection died. Where a GET moves the vendor's cursor that loses a page.
    session._retry_connection = False  # noqa: SLF001  there is no public switch; tests/test_client.py holds this
    return session


@lru_cache(maxsize=64)
def tls_context(ca_pem: str) -> ssl.SSLContext:
    """A context that trusts the authorities of `ca_pem` and no others."""
    return ssl.create_default_context(cadata=ca_pem)


@dataclass(slots=True)
class Traffic:
    """What went to a vendor and came back, counted."""

    answers: Counter[str] = field(default_factory=Counter)
    """By class of the status: `2xx`; `none` where no whole answer came."""
    received_bytes: int = 0
    """Of bodies, inflated."""
    waited_seconds: float = 0.0
    """For the vendor's rate limit, and for our own pace below it."""

    def note(self, response: Response) -> None:
        """Count an answer."""
        self.answers[f"{response.status // 100}xx"] += 1
        self.received_bytes += len(response.body)


class Client:
    """Talks to one origin with one credential."""

    def __init__(  # noqa: PLR0913  the parts of a connection, assembled in one place
        self,
        session: ClientSession,
        budgets: Budgets,
        origin: str,
        *,
        authorization: Authorization,
        limits: Limits,
        proxy: str | None = None,
        ca_pem: str | None = None,
    ) -> None:
        self.origin = URL(origin).origin()
        self._session = session
        self._budgets = budgets
        self._authorization = authorization
        self._limits = limits
        self._proxy = proxy
        self._tls: ssl.SSLContext | bool = tls_context(ca_pem) if ca_pem else True
        self._middlewares = (_fence(self.origin),)
        self.held: dict[str, Budget] = {}
        """Our budgets by bucket, alive while we are."""
        self.traffic = Traffic()

    async def get(self, target: str, *, bucket: str, headers: Mapping[str, str] | None = None) -> Response:
        """GET path and query `target`, already percent-encoded; see `request`."""
        return await self.request("GET", target, bucket=bucket, headers=headers)

    async def request(
        self,
        method: str,
        target: str,
        *,
        bucket: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Response:
        """Make one request and return the answer, whatever its status but 429; a 401 once more with a new token.

        Raises RateLimited on 429, CutShort when no whole answer came, PageTooLarge, SourceRefused on a wrong redirect.
        """
        proof = await self._authorization.headers()
        response = await self._within_budget(method, target, bucket, {**(headers or {}), **proof}, data)
        if response.status == 401 and self._authorization.refused(proof):
            proof = await self._authorization.headers()
            response = await self._within_budget(method, target, bucket, {**(headers or {}), **proof}, data)
        secrets = tuple(value.rpartition(" ")[2] for value in proof.values())
        response = replace(response, proof=tuple(each for each in secrets if len(each) >= MIN_SECRET_CHARACTERS))
        # Of a success not a byte is changed: it holds events.
        return response if 200 <= response.status < 300 else response.without_proof()

    def target_of(self, link: str, path: str) -> tuple[str, bool]:
        """Path and query of a link that the vendor sent, and whether it names our origin.

        Only the path that is expected is taken, and never the link's host: no link can lead a credential elsewhere.
        Raises SourceUnavailable when the link leads to another path or holds what no URL may hold.
        """
        url = _read_url(link)
        if url.raw_path != path:
            raise SourceUnavailable(f"{self.origin.host} sent a link that does not lead on to {path}; not followed")
        return url.raw_path_qs, not url.is_absolute() or url.origin() == self.origin

    async def _within_budget(
        self, method: str, target: str, bucket: str, headers: Mapping[str, str], data: bytes | None
    ) -> Response:
        sent = {"Accept": "application/json", "Accept-Encoding": "gzip", **headers}
        budget = self.held.setdefault(bucket, self._budgets.get(self._limits, bucket))
        asked = anyio.current_time()
        async with budget.turn():
            self.traffic.waited_seconds += anyio.current_time() - asked
            try:
                response = await self._exchange(method, URL(f"{self.origin}{target}", encoded=True), sent, data)
            except SourceError:
                self.traffic.answers["none"] += 1
                raise
            self.traffic.note(response)
            rest = self._limits.rest_seconds(response.status, response.headers, response.server_time)
            if rest > 0:
                budget.rest(rest)
        if response.status == 429:
            raise RateLimited(f"{self.origin.host} asks to wait {rest:.0f} s", code=429, retry_after=rest)
        return response

    async def _exchange(self, method: str, url: URL, headers: Mapping[str, str], data: bytes | None) -> Response:
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=self._tls,
                middlewares=self._middlewares,
            ) as answer:
                body = await self._read_or_do_without(answer)
                return Response(answer.status, answer.headers, _links(answer), body, _server_time(answer.headers))
        except aiohttp.ClientConnectorCertificateError as error:
            raise WrongHost(
                f"{self.origin.host}: its TLS certificate is not trusted; check the host name, or set ca_file",
                info=str(error.certificate_error),
            ) from None
        except aiohttp.ClientConnectorError as error:
            if self._proxy is not None and error.host == URL(self._proxy).raw_host:
                raise SourceUnavailable(
                    f"the proxy before {self.origin.host} cannot be reached", info=str(error.os_error)
                ) from None
            if isinstance(error.os_error, socket.gaierror) and error.os_error.errno in _NO_SUCH_HOST:
                raise WrongHost(
                    f"there is no host {self.origin.host}; check its name", info=str(error.os_error)
                ) from None
            raise SourceUnavailable(f"{self.origin.host} cannot be reached", info=str(error.os_error)) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            reason = "did not answer in time" if isinstance(error, TimeoutError) else "broke the connection off"
            raise CutShort(f"{self.origin.host} {reason}", info=type(error).__name__) from None

    async def _read_or_do_without(self, answer: ClientResponse) -> bytes:
        try:
            return await self._read(answer)
        except (CutShort, aiohttp.ClientError):
            if answer.status != 429:
                raise
            return b""  # what it asks for stands in its headers

    async def _read(self, answer: ClientResponse) -> bytes:
        chunks = []
        size = 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                answer.close()
                raise self._too_large()
            chunks.append(chunk)
        body = b"".join(chunks)
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity" or not body:
            return body
        if encoding != "gzip":
            raise CutShort(f"{self.origin.host} answered with an encoding that was not asked for", info=encoding)
        if len(body) <= _INFLATE_ON_LOOP_BYTES:
            return self._inflate(body)
        return await to_thread.run_sync(self._inflate, body)

    def _inflate(self, data: bytes) -> bytes:
        parts = []
        room = MAX_BODY_BYTES + 1
        try:
            while data:
                member = isal_zlib.decompressobj(wbits=31)
                part = member.decompress(data, max_length=room)
                room -= len(part)
                if room <= 0:
                    raise self._too_large()
                if not member.eof:
                    raise CutShort(f"{self.origin.host} sent a compressed page that is cut short")
                parts.append(part)
                data = member.unused_data
                if data and len(parts) == _MAX_GZIP_MEMBERS:
                    raise CutShort(f"{self.origin.host} sent a compressed page in more than {len(parts)} pieces")
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub does not say that it is an exception
            raise CutShort(f"{self.origin.host} sent a compressed page that cannot be read", info=str(error)) from None
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def _too_large(self) -> PageTooLarge:
        return PageTooLarge(
            f"{self.origin.host} sent a page of more than {MAX_BODY_BYTES // 2**20} MiB; lower page_size"
        )


def _fence(origin: URL) -> ClientMiddlewareType:
    async def fence(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if request.url.origin() != origin:
            raise SourceRefused(f"refused to send a credential to {request.url.host}: it is not {origin.host}")
        return await handler(request)

    return fence


def _read_url(text: str) -> URL:
    """A URL that the other side sent, percent-encoded as it is; an empty one where it is none."""
    try:
        return URL(text, encoded=True) if _PRINTABLE.fullmatch(text) else URL()
    except ValueError:
        return URL()


def failure(response: Response, says: str = "") -> SourceError:
    """The error that a status means where a vendor's table does not say otherwise; `says`: the vendor's own words."""
    said = says or response.excerpt
    status = response.status
    if status == 401:
        return SourceRefused("the credential is refused", code=status, info=said, whole_source=True)
    if status == 403:
        return SourceRefused("the credential may not read this stream", code=status, info=said)
    if 300 <= status < 400:
        host = _read_url(response.headers.get("Location", "")).host or "the same host"
        return SourceUnavailable(f"the vendor redirects to {host}: wrong host, or a proxy or login page", code=status)
    if status < 300 or status in {408, 409, 425} or status >= 500:  # below 300: a proxy's, for no API says so
        return SourceUnavailable(
            f"the vendor answered {status}", code=status, info=said, retry_after=retry_after(response.headers)
        )
    return SourceRefused(f"the vendor refuses the request with {status}", code=status, info=said)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, number or date; None when there is none that can be read."""
    text = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(int(text)))
    except OverflowError:
        return math.inf
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - _server_time(headers))
    except (ValueError, TypeError, OverflowError):
        return None


def _server_time(headers: Mapping[str, str]) -> float:
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return time.time()


def _links(answer: ClientResponse) -> dict[str, str]:
    links = {}
    for header in answer.headers.getall("Link", ()):
        for part in header.split("<")[1:]:
            target, _, parameters = part.partition(">")
            for parameter in parameters.split(";"):
                name, _, value = parameter.strip(" ,").partition("=")
                if name.strip().lower() == "rel":
                    links[value.strip(' ",')] = target
    return links
