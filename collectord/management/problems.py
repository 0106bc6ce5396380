"""Answers of the API: JSON, and refusals in the shape of Sumo's Collector Management API."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from collectord import log
from collectord.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

CODES = {
    400: "badrequest",
    401: "unauthorized",
    403: "forbidden",
    404: "notfound",
    405: "method.unsupported",
    408: "request.timeout",
    413: "request.toolarge",
    415: "contenttype.invalid",
    500: "internal.error",
    503: "service.unavailable",
}
"""Sumo's codes of refusals that are not about one thing alone."""


class ApiError(Exception):
    """An answer that is not 2xx; `code` is by its status where the table above says all there is to say."""

    def __init__(
        self, status: int, message: str, code: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES[status]
        self.headers = headers or {}


def answer(value: object, status: int = 200, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


@web.middleware
async def refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let every refusal have the one shape."""
    try:
        return await handler(request)
    except ApiError as error:
        return _refusal(error)
    except web.HTTPException as error:
        allowed = {name: value for name, value in error.headers.items() if name == "Allow"}
        code = CODES.get(error.status, CODES[400])
        return _refusal(
            ApiError(error.status, f"{error.reason}: {request.method} {request.path}", code, headers=allowed)
        )
    except StoreError as error:
        return _refusal(ApiError(503, f"{error.message}; nothing was changed"))
    except Exception:  # noqa: BLE001  our mistake costs one answer; its traceback is for the log
        log.get().exception("internal error", method=request.method, path=request.path)
        return _refusal(ApiError(500, "an internal error of collectord; its log says more"))


def _refusal(error: ApiError) -> web.Response:
    shown = {"status": error.status, "id": _error_id(), "code": error.code, "message": error.message}
    return answer(shown, error.status, headers=error.headers)


def _error_id() -> str:
    return "-".join(secrets.token_hex(3)[:5].upper() for _ in range(3))
