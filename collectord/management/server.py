"""The API's routes, and what stands before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from collectord.management import views
from collectord.management.bounds import MAX_BODY_BYTES, Bounds, read_body
from collectord.management.guard import Guard, add_headers
from collectord.management.pages import Pages
from collectord.management.problems import ApiError, answer, refusals

if TYPE_CHECKING:
    from collectord.management.views import Plant
    from collectord.supervisor import Running

_ACTIONS = ("restart", "pause", "resume", "poll")


def application(plant: Plant, bounds: Bounds, guard: Guard | None) -> web.Application:
    """The API as an application; no `guard` where the door itself is guarded."""
    checks = [] if guard is None else [guard.check]
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[bounds.watch, refusals, *checks, read_body])
    app.on_response_prepare.append(add_headers)
    api = _Api(plant)
    pages = Pages()
    app.add_routes(
        [
            web.get("/", pages.index),
            web.get("/static/{path:.+}", pages.static),
            web.get("/healthz", api.healthz),
            web.get("/readyz", api.readyz),
            web.get("/api/v1/status", api.status),
            web.get("/api/v1/health", api.health),
            web.post("/api/v1/collectors/{collector}/sources/{source}/action/{action}", api.act),
        ]
    )
    return app


class _Api:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def status(self, _request: web.Request) -> web.Response:
        return answer(views.status(self._plant))

    async def health(self, request: web.Request) -> web.Response:
        return answer(views.health(self._plant, request.query.get("source")))

    async def healthz(self, _request: web.Request) -> web.Response:
        alive = self._plant.supervisor.is_alive()
        return answer({"alive": alive}, 200 if alive else 503)

    async def readyz(self, _request: web.Request) -> web.Response:
        ready = self._plant.is_ready
        return answer({"ready": ready}, 200 if ready else 503)

    async def act(self, request: web.Request) -> web.Response:
        name = self._source(request.match_info["source"]).settings.name
        try:
            await self._act(name, request.match_info["action"])
            return answer({"source": views.source_of(self._plant, name)})
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
                raise ApiError(404, f"there is no such action; choose one of {', '.join(_ACTIONS)}")

    def _source(self, wanted: str) -> Running:
        for name, running in self._plant.supervisor.running.items():
            if wanted in {name, str(running.status.id)}:
                return running
        raise self._unknown(wanted)

    def _unknown(self, wanted: str) -> ApiError:
        known = ", ".join(sorted(self._plant.supervisor.running)) or "none"
        return ApiError(404, f"there is no source {wanted}; there is: {known}", "InvalidSource")
