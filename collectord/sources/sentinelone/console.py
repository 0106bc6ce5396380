"""The console that the streams of one source share: its requests, its errors, its clock, and its token's last days."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import anyio
import msgspec
from yarl import URL

from collectord.auth import FixedHeader, fingerprint
from collectord.client import WrongHost, failure, retry_after
from collectord.errors import SourceError, SourceRefused, SourceUnavailable
from collectord.limits import Limits
from collectord.records import Notice, Record, iso_time, parse_time
from collectord.settings import DAY, HOUR, MINUTE
from collectord.source import read_page
from collectord.sources.sentinelone.rows import PREFIX
from collectord.splitting import Malformed, unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping
    from pydantic import SecretStr

    from collectord.client import Response
    from collectord.source import Connect
    from collectord.sources.sentinelone.rows import Api

INFO = f"{PREFIX}/system/info"
TOKEN_DETAILS = f"{PREFIX}/users/api-token-details"
REQUESTS_PER_SECOND = 4.0
"""For each token and path; SentinelOne's own limits begin at 10 for these, and the token has other users."""
LONGEST_REST_SECONDS = 3600.0

_TOKEN_CHECK_SECONDS = 10.0
_WARN_DAYS = (1, 3, 14)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list."""

    records: list[Record]
    next: str | None
    """The console's cursor as it wants it back, unquoted; None: this was the last page."""


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    pagination: Any = None
    errors: Any = None


class _ErrorInside(Exception):
    """Status 200 around an error."""


class Console:
    """One token at one console."""

    def __init__(self, base_url: str, secret: SecretStr, connect: Connect) -> None:
        self._token = secret.get_secret_value()
        self._client = connect(
            base_url,
            authorization=FixedHeader("Authorization", secret, "ApiToken"),
            limits=Limits(
                counted_by=fingerprint(base_url, self._token),
                rest_seconds=Rests(),
                per_second=REQUESTS_PER_SECOND,
                in_flight=1,
            ),
        )
        self.host = self._client.origin.host or base_url
        self.scope = fingerprint(str(self._client.origin))
        """What gives a saved cursor its meaning."""
        self._was_reached = False
        self._ahead: float | None = None
        self._first_word = anyio.Lock()
        self._expires_ms: int | None = None
        self._teller = ""
        self._look_again_at = -math.inf

    def met(self, *, before: bool) -> None:
        """Hear from a stream whether it collected anything in an earlier run: then this is a console for sure."""
        self._was_reached = self._was_reached or before

    async def now_ms(self) -> int:
        """The console's clock; the first to ask for it finds out whether the token is taken at all."""
        async with self._first_word:
            if self._ahead is None:
                await self._authenticate()
        assert self._ahead is not None
        return int((anyio.current_time() + self._ahead) * 1000)

    async def list(self, api: Api, query: str, full: int, after: str | None = None) -> Listing:
        """Ask for one page; `after` is the cursor of the page before. Raises as `Stream.fetch`.

        A page of `full` rows must say what comes next; from a shorter one the console may leave that out.
        """
        # The cursor holds a place in the order and no filter: the whole query goes with each.
        cursor = "" if after is None else f"&cursor={quote(after, safe='')}"
        response = await self._ask("GET", f"{api.path}?{query}{cursor}", api.path)
        if response.status != 200:
            raise await self._failure(response, api)
        listing = await read_page(response.body, self._listing, response, api, full)
        self._was_reached = True
        if after is not None and listing.next == after:
            raise SourceUnavailable(
                f"{self.host} sends the same cursor again and again: paging through the {api.name} would never end"
                f"{_request_id(response)}"
            )
        return listing

    async def probe(self, api: Api) -> str:
        """Ask for one row; the token itself is tried once for all streams."""
        await self.now_ms()
        await self.list(api, f"limit=1&skipCount=true&sortBy={api.moment}&sortOrder=asc", full=2)  # goes on nowhere
        return f"the token may read the {api.name}"

    async def notices(self, stream: str) -> tuple[Notice, ...]:
        """Warn of the token's end; told by one stream only, which asks for it once a day."""
        await self._look_at_token(stream)
        if self._expires_ms is None or stream != self._teller:
            return ()
        left = self._expires_ms / 1000 - (anyio.current_time() + (self._ahead or 0.0))
        for days in _WARN_DAYS:
            if left <= days * DAY:
                return (
                    Notice(
                        f"SentinelOneTokenExpiresIn{days}Day{'s' if days > 1 else ''}",
                        f"the API token for {self.host} expires at {iso_time(self._expires_ms)}, in less than"
                        f" {days} day{'s' if days > 1 else ''}: create a new one and put it in api_secret",
                    ),
                )
        return ()

    async def _look_at_token(self, stream: str) -> None:
        now = anyio.current_time()
        # Another stream takes over only when the one that told of it is gone.
        if now < self._look_again_at + (0.0 if stream == self._teller else HOUR):
            return
        self._look_again_at = now + DAY
        self._teller = stream
        body = msgspec.json.encode({"data": {"apiToken": self._token}})
        with anyio.move_on_after(_TOKEN_CHECK_SECONDS):
            try:
                response = await self._ask("POST", TOKEN_DETAILS, TOKEN_DETAILS, body)
                self._expires_ms = parse_time(msgspec.json.decode(response.body)["data"]["expiresAt"])
            except (SourceError, msgspec.MsgspecError, KeyError, TypeError):
                pass  # A warning that cannot be given must not cost an event; tomorrow it is tried again.

    async def _authenticate(self) -> bool:
        """Raise where the token or the address is wrong; false: this console cannot say, the list itself will."""
        response = await self._ask("GET", INFO, INFO)
        if response.status == 401:
            raise self._token_refused(response)
        if response.status == 404:
            return False
        if response.status not in {200, 403}:  # 403: a token that is known, and may not read this
            raise self._not_a_console(response, INFO) or failure(response, self._said(response))
        if response.status == 200:
            self._check_is_json(response, INFO)
        self._was_reached = True
        return True

    async def _ask(self, method: str, target: str, bucket: str, data: bytes | None = None) -> Response:
        try:
            response = await self._client.request(
                method, target, bucket=bucket, headers=_JSON if data else None, data=data
            )
        except WrongHost as error:
            if self._was_reached:
                raise
            raise SourceRefused(f"{error.message}; is base_url right?", info=error.info) from None
        self._ahead = response.server_time - anyio.current_time()
        return response

    def _listing(self, response: Response, api: Api, full: int) -> Listing:
        self._check_is_json(response, api.path)
        try:
            envelope, rows = unwrap(response.body, _Envelope, "data")
            following = _next_cursor(envelope, is_full=len(rows) >= full)
            records = api.records(response.body, rows)
        except _ErrorInside:
            raise SourceUnavailable(
                f"{self.host} answered 200 with an error for the {api.name}", code=200, info=self._said(response)
            ) from None
        except Malformed as error:
            raise SourceUnavailable(
                f"{self.host} sent no page of {api.name}: {error}{_request_id(response)}", code=200
            ) from None
        return Listing(records, following)

    def _check_is_json(self, response: Response, path: str) -> None:
        """Tell a web page from a broken one: only a mistake in base_url, or a proxy, gives HTML."""
        text = response.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if text in {b"", b"{"}:  # nothing, or perhaps cut short: that passes
            return
        message = f"{self.host} answered {path} with something that is not JSON: a web console's page, or a proxy's"
        if self._was_reached:
            raise SourceUnavailable(message, code=200, info=self._said(response))
        raise SourceRefused(f"{message}; check base_url", code=200, info=self._said(response))

    async def _failure(self, response: Response, api: Api) -> SourceError:
        status, said = response.status, self._said(response)
        if status == 401 and not await self._authenticate():  # a missing permission may look just like a wrong token
            return self._token_refused(response)
        if status in {401, 403}:
            return SourceRefused(
                f"the SentinelOne token may not read the {api.name} ({status}): give its user's role the permission"
                f" '{api.permission}' in the scope to be collected, then restart the source",
                code=status,
                info=said,
            )
        if status == 400:
            return SourceRefused(
                f"{self.host} refuses the query of the {api.name} (400); check start and page_size, and whether this"
                " console speaks API 2.1",
                code=status,
                info=said,
            )
        return self._not_a_console(response, api.path) or failure(response, said)

    def _not_a_console(self, response: Response, path: str) -> SourceError | None:
        status, said = response.status, self._said(response)
        if status == 404:
            return SourceRefused(
                f"{self.host} has no {path} (404): base_url is not a SentinelOne console, or this console has no such"
                " API",
                code=status,
                info=said,
            )
        if 300 <= status < 400:
            target = URL(response.headers.get("Location", "")).host or "another page of its own"
            return SourceRefused(
                f"{self.host} redirects to {target} instead of answering {path}: base_url is not the console's own"
                " address, or a login page stands before it; not followed",
                code=status,
            )
        if 200 < status < 300:
            return SourceUnavailable(f"{self.host} answered {path} with {status} and no page", code=status, info=said)
        return None

    def _token_refused(self, response: Response) -> SourceRefused:
        return SourceRefused(
            f"{self.host} rejects the API token (401): it expired, was revoked or replaced, or belongs to another"
            " console. Create a new one for the service user and put it in api_secret",
            code=401,
            info=self._said(response),
            whole_source=True,
        )

    def _said(self, response: Response) -> str:
        """The console's own words, its code and the request's id, without our token should it repeat it."""
        words = _error_words(response.body) or response.excerpt
        return f"{words}{_request_id(response)}".replace(self._token, "********")


class Rests:
    """How long a path rests after 429: as told, else 30 s that double up to 15 minutes as long as it goes on."""

    def __init__(self) -> None:
        self._untold = 0

    def __call__(self, status: int, headers: MultiMapping[str], _server_time: float) -> float:
        """Seconds; 0: go on."""
        if status != 429:
            self._untold = 0
            return 0.0
        told = retry_after(headers)
        if told is None:
            told = min(15 * MINUTE, 30.0 * 2.0**self._untold)
            self._untold = min(self._untold + 1, 10)
        return min(LONGEST_REST_SECONDS, max(1.0, told)) + random.uniform(0.0, 1.0)  # noqa: S311  jitter


def _next_cursor(envelope: _Envelope, *, is_full: bool) -> str | None:
    """What leads on; raises when this is no whole page, lest it be taken for the last one."""
    if envelope.errors:
        raise _ErrorInside
    if envelope.data is None:
        raise Malformed("data is missing or null")
    if not isinstance(envelope.pagination, dict):
        raise Malformed("pagination is missing")
    cursor = envelope.pagination.get("nextCursor", envelope if is_full else None)
    if cursor is None or cursor == "":
        return None
    if not isinstance(cursor, str):
        raise Malformed("pagination.nextCursor is missing, or no text")
    # It comes percent-encoded already; quoted once more it would be another cursor.
    return unquote(cursor) if "%" in cursor else cursor


def _error_words(body: bytes) -> str:
    try:
        error: Mapping[str, Any] = msgspec.json.decode(body)["errors"][0]
        words = [error.get("code"), error.get("title"), error.get("detail")]
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError):
        return ""
    return " ".join(str(word) for word in words if word is not None)


def _request_id(response: Response) -> str:
    name = response.headers.get("X-RQID", "")
    return f" (request {name[:64]})" if name else ""
