"""The tenant that the streams of one source share: its token, its rate limit, its clock, its requests and errors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from collectord.auth import ClientCredentials, Nobody, NoToken, fingerprint
from collectord.client import WrongHost, failure, retry_after
from collectord.errors import SourceError, SourceRefused, SourceUnavailable
from collectord.limits import Limits
from collectord.records import Notice, Record
from collectord.source import read_page
from collectord.sources.sailpoint.rows import EVENTS, USERS
from collectord.splitting import Malformed, slices

if TYPE_CHECKING:
    from multidict import MultiMapping

    from collectord.client import Client, Response
    from collectord.source import Connect
    from collectord.sources.sailpoint.config import SailPointConfig
    from collectord.sources.sailpoint.rows import Api

TOKEN = "/oauth/token"  # noqa: S105  a path
REQUESTS_PER_SECOND = 8.0
"""SailPoint takes 100 in 10 s from one client id and API version; with the burst that is just never reached."""
BURST = 20
LONGEST_REST_SECONDS = 120.0
UNTOLD_REST_SECONDS = 10.0
_SHOWN_OF_CLIENT_ID = 4


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list."""

    records: list[Record]
    rows: list[Any]
    """The fields that were read of each: `Event` or `User`."""
    total: int | None
    """X-Total-Count, where it was asked for."""
    notices: tuple[Notice, ...]


def rest_seconds(status: int, headers: MultiMapping[str], _server_time: float) -> float:
    """After 429 as long as told; the header may be missing or no number."""
    if status != 429:
        return 0.0
    told = retry_after(headers)
    wanted = UNTOLD_REST_SECONDS if told is None else max(1.0, told)
    return min(LONGEST_REST_SECONDS, wanted + random.uniform(0.0, 1.0))  # noqa: S311  jitter


class Tenant:
    """One client id at one tenant."""

    def __init__(self, config: SailPointConfig, base_url: str, connect: Connect) -> None:
        self._config = config
        client_id = config.client_id.get_secret_value()
        self._secrets = (client_id, config.client_secret.get_secret_value())
        self._who = f"client id {client_id[:_SHOWN_OF_CLIENT_ID]}…" if len(client_id) > 15 else "client id"
        limits = Limits(
            counted_by=fingerprint(base_url, client_id),
            rest_seconds=rest_seconds,
            per_second=REQUESTS_PER_SECOND,
            burst=BURST,
            in_flight=3,
        )
        self._for_token = connect(base_url, authorization=Nobody(), limits=limits)
        self._credentials = ClientCredentials(
            config.client_id, config.client_secret, self._obtain_token, self._no_token
        )
        self._client = connect(base_url, authorization=self._credentials, limits=limits)
        self.host = self._client.origin.host or base_url
        self.scope = fingerprint(str(self._client.origin))
        """What gives a saved cursor its meaning."""
        self._was_reached = False
        self._ahead: float | None = None

    def met(self, *, before: bool) -> None:
        """Hear from a stream whether it collected anything in an earlier run: then this is a tenant for sure."""
        self._was_reached = self._was_reached or before

    async def now_ms(self) -> int:
        """The tenant's clock, which the token's answer tells first."""
        if self._ahead is None:
            await self._credentials.headers()
        assert self._ahead is not None
        return int((anyio.current_time() + self._ahead) * 1000)

    async def search(self, body: bytes, limit: int) -> Listing:
        """One page of a search; raises as `Stream.fetch`."""
        response = await self._ask("POST", f"{self._config.path('search')}?limit={limit}&count=false", body)
        return await read_page(response.body, self._listing, response, EVENTS)

    async def count(self, body: bytes) -> int:
        """How many events a search would find; raises as `Stream.fetch`."""
        response = await self._ask("POST", f"{self._config.path('search')}/count", body)
        if response.status not in {200, 204}:
            raise self._failure(response, EVENTS)
        total = _total(response)
        if total is None:
            raise SourceUnavailable(f"{self.host} counted events and did not say how many", code=response.status)
        return total

    async def list_users(self, offset: int, limit: int, *, count: bool) -> Listing:
        """One page of users in the order of their names; raises as `Stream.fetch`."""
        counted = "true" if count else "false"
        query = f"limit={limit}&offset={offset}&count={counted}&sorters=name"
        response = await self._ask("GET", f"{self._config.path('public-identities')}?{query}")
        return await read_page(response.body, self._listing, response, USERS)

    async def _ask(self, method: str, target: str, body: bytes | None = None) -> Response:
        headers = {"Content-Type": "application/json"} if body else None
        return await self._request(self._client, method, target, headers, body)

    async def _obtain_token(self, form: bytes) -> bytes:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await self._request(self._for_token, "POST", TOKEN, headers, form)
        if response.status != 200:
            raise self._token_failure(response)
        self._was_reached = True
        return response.body

    async def _request(
        self, client: Client, method: str, target: str, headers: dict[str, str] | None, data: bytes | None
    ) -> Response:
        # Counted in one bucket with all others: whether SailPoint counts tokens apart is not known.
        bucket = self._config.api_version
        try:
            response = await client.request(method, target, bucket=bucket, headers=headers, data=data)
        except WrongHost as error:
            if self._was_reached:
                raise
            raise SourceRefused(
                f"{error.message}; is org_name right? The API answers at TENANT.api.identitynow.com",
                info=error.info,
                whole_source=True,
            ) from None
        self._ahead = response.server_time - anyio.current_time()
        return response

    # ------------------------------------------------------------------------------------------------- answers

    def _listing(self, response: Response, api: Api) -> Listing:
        if response.status != 200:
            raise self._failure(response, api)
        try:
            raws = slices(response.body)
            rows = api.read(response.body, raws)
        except Malformed as error:
            raise SourceUnavailable(
                f"{self.host} sent no list of {api.name}: {error}{_tracking(response)}", code=200
            ) from None
        records = [row.record(raw) for raw, row in zip(raws, rows, strict=True)]
        return Listing(records, rows, _total(response), self._notices(response, api))

    def _notices(self, response: Response, api: Api) -> tuple[Notice, ...]:
        if response.headers.get("X-Deprecated", "").strip().lower() != "true":
            return ()
        path = self._config.path(api.service)
        return (
            Notice(
                "SailPointApiDeprecated",
                f"SailPoint says that {path} is deprecated and will end: set api_version to a newer one, such as"
                " service-v1",
            ),
        )

    # -------------------------------------------------------------------------------------------------- errors

    def _no_token(self, reason: NoToken) -> SourceError:
        return SourceUnavailable(f"{self.host} answered {TOKEN} with 200 and no token: {reason}", code=200)

    def _token_failure(self, response: Response) -> SourceError:
        status, said = response.status, self._said(response)
        if status in {400, 401, 403}:
            return SourceRefused(
                f"SailPoint refuses {self._who} at {self.host} ({status}): check client_id and client_secret, and that"
                " the personal access token still exists, has not expired, and belongs to this tenant",
                code=status,
                info=said,
                whole_source=True,
            )
        if status in {404, 405, 410}:
            return SourceRefused(
                f"{self.host} has no {TOKEN} ({status}): it is not the API of a SailPoint tenant; check org_name, or"
                " base_url",
                code=status,
                info=said,
                whole_source=True,
            )
        return self._other_failure(response, f"{self.host}: no token")

    def _failure(self, response: Response, api: Api) -> SourceError:
        status, said = response.status, self._said(response)
        path = self._config.path(api.service)
        if status == 401:
            return SourceRefused(
                f"{self.host} refuses a token that it gave out this moment to {self._who} (401): is the token's owner"
                " still active?",
                code=status,
                info=said,
                whole_source=True,
            )
        if status == 403:
            return SourceRefused(
                f"SailPoint does not let {self._who} read {api.name} (403): its token needs the scope {api.scope}, and"
                f" {api.owner}; change it there, then restart the source",
                code=status,
                info=said,
            )
        if status == 400:
            return SourceRefused(
                f"{self.host} refuses the query of {api.name} (400); check page_size, and give SailPoint's support the"
                " tracking id",
                code=status,
                info=said,
            )
        if status == 404:
            return SourceRefused(
                f"{self.host} has no {path} (404): this API version has ended, or is not there yet; check api_version",
                code=status,
                info=said,
            )
        return self._other_failure(response, f"{self.host}: no {api.name}")

    def _other_failure(self, response: Response, what: str) -> SourceError:
        if response.status < 300:
            return SourceUnavailable(
                f"{what}: it answered {response.status}", code=response.status, info=self._said(response)
            )
        return failure(response, self._said(response))

    def _said(self, response: Response) -> str:
        """SailPoint's own words and its tracking id, without our secrets should it repeat them."""
        words = " ".join(_words(response.body)) or response.excerpt
        for secret in self._secrets:
            words = words.replace(secret, "********")
        return f"{words[:160]}{_tracking(response)}"


def _total(response: Response) -> int | None:
    text = response.headers.get("X-Total-Count", "").strip()
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _words(body: bytes) -> Iterator[str]:
    """From each of the shapes that SailPoint's gateway, its services and its OAuth give to an error."""
    error = _error_of(body)
    messages = error.get("messages")
    texts = [each.get("text") for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    for said in (error.get("detailCode"), error.get("error"), error.get("error_description"), error.get("message")):
        if isinstance(said, str):
            yield said.strip()
    yield from (text for text in texts if isinstance(text, str))


def _tracking(response: Response) -> str:
    tracking = _error_of(response.body).get("trackingId") if response.status != 200 else None
    return f" (tracking id {str(tracking)[:64]})" if tracking else ""
