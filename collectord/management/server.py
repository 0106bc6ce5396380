"""Serves the API on the Unix socket, whose file mode guards it."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import anyio
import orjson
from aiohttp import web

from collectord.errors import ConfigError, Fault
from collectord.management import views

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from collectord.management.views import Plant
    from collectord.supervisor import Running

MAX_BODY_BYTES = 2**20
SOCKET_MODE = 0o660

_ACTIONS = ("restart", "pause", "resume", "poll")


class ApiError(Exception):
    """An answer that is not 2xx, in the shape of Sumo's Collector Management API."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@contextlib.asynccontextmanager
async def serve(plant: Plant, socket: Path) -> AsyncIterator[None]:
    """Serve while the context lasts; the socket is there when it begins. Raises ConfigError when it cannot be."""
    runner = web.AppRunner(application(plant), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, socket)
        yield
    finally:
        await runner.cleanup()
        await anyio.Path(socket).unlink(missing_ok=True)


async def _listen(runner: web.AppRunner, socket: Path) -> None:
    path = anyio.Path(socket)
    try:
        await path.unlink(missing_ok=True)
        await web.UnixSite(runner, str(socket)).start()
        await path.chmod(SOCKET_MODE)
    except OSError as error:
        reason = f"the socket {socket} cannot be made: {error.strerror or error}"
        raise ConfigError([Fault("collectord.yaml", "management.socket", reason)]) from None


def application(plant: Plant) -> web.Application:
    """The API as an application."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors])
    api = _Api(plant)
    app.add_routes(
        [
            web.get("/api/v1/status", api.status),
            web.get("/api/v1/health", api.health),
            web.post("/api/v1/collectors/{collector}/sources/{source}/action/{action}", api.act),
            web.get("/healthz", api.healthz),
        ]
    )
    return app


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _refusal(error.status, error.code, error.message)
    except web.HTTPException as error:
        return _refusal(error.status, "notfound" if error.status == 404 else "badrequest", error.reason)


def _refusal(status: int, code: str, message: str) -> web.Response:
    return _json({"status": status, "id": _error_id(), "code": code, "message": message}, status)


def _error_id() -> str:
    return "-".join(secrets.token_hex(3)[:5].upper() for _ in range(3))


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


class _Api:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def status(self, _request: web.Request) -> web.Response:
        return _json(views.status(self._plant))

    async def health(self, request: web.Request) -> web.Response:
        return _json(views.health(self._plant, request.query.get("source")))

    async def healthz(self, _request: web.Request) -> web.Response:
        alive = self._plant.supervisor.is_alive()
        return _json({"alive": alive}, 200 if alive else 503)

    async def act(self, request: web.Request) -> web.Response:
        name = self._source(request.match_info["source"]).settings.name
        try:
            await self._act(name, request.match_info["action"])
            return _json({"source": views.source_of(self._plant, name)})
        except KeyError:  # a reload took it away in the meantime
            raise self._unknown(name) from None

    async def _act(self, name: str, action: str) -> None:
        match action:
            case "restart":
                await self._plant.supervisor.restart(name)
                self._plant.retry_sinks()
            case "pause":
                await self._plant.supervisor.pause(name)
            case "resume":
                await self._plant.supervisor.restart(name)
            case "poll":
                self._plant.supervisor.poll(name)
            case _:
                raise ApiError(404, "notfound", f"there is no such action; choose one of {', '.join(_ACTIONS)}")

    def _source(self, wanted: str) -> Running:
        for name, running in self._plant.supervisor.running.items():
            if wanted in {name, str(running.status.id)}:
                return running
        raise self._unknown(wanted)

    def _unknown(self, wanted: str) -> ApiError:
        known = ", ".join(sorted(self._plant.supervisor.running)) or "none"
        return ApiError(404, "InvalidSource", f"there is no source {wanted}; there is: {known}")
