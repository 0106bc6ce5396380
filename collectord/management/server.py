"""The API's routes, and what stands before them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from collectord.management import metrics, tools, views
from collectord.management.bounds import MAX_BODY_BYTES, Bounds, read_body
from collectord.management.collectors import Collectors
from collectord.management.guard import Guard, add_headers
from collectord.management.health_events import HealthEvents
from collectord.management.pages import Pages
from collectord.management.problems import answer, refusals

if TYPE_CHECKING:
    from collectord.management.views import Plant

_SOURCES = "/api/v1/collectors/{collector}/sources"


def application(plant: Plant, bounds: Bounds, guard: Guard | None) -> web.Application:
    """The API as an application; no `guard` where the door itself is guarded."""
    checks = [] if guard is None else [guard.check]
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[bounds.watch, refusals, *checks, read_body])
    app.on_response_prepare.append(add_headers)
    api = _Api(plant)
    collectors = Collectors(plant)
    health_events = HealthEvents(plant)
    pages = Pages()
    app.add_routes(
        [
            web.get("/", pages.index),
            web.get("/static/{path:.+}", pages.static),
            web.get("/healthz", api.healthz),
            web.get("/readyz", api.readyz),
            web.get("/api/v1/openapi.json", api.openapi),
            web.get("/metrics", api.metrics),
            web.get("/api/v1/status", api.status),
            web.get("/api/v1/health", api.health),
            web.get("/api/v1/healthEvents", health_events.list_all),
            web.post("/api/v1/healthEvents/resources", health_events.list_of_resources),
            web.get("/api/v1/collectors", collectors.list_collectors),
            web.get("/api/v1/collectors/name/{collector}", collectors.get_collector),
            web.get("/api/v1/collectors/{collector}", collectors.get_collector),
            web.get(f"{_SOURCES}", collectors.list_sources),
            web.post(f"{_SOURCES}", collectors.create),
            web.get(f"{_SOURCES}/{{source}}", collectors.get_source),
            web.put(f"{_SOURCES}/{{source}}", collectors.change),
            web.delete(f"{_SOURCES}/{{source}}", collectors.delete),
            web.post(f"{_SOURCES}/{{source}}/action/{{action}}", collectors.act),
            *tools.routes(plant),
        ]
    )
    return app


class _Api:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._description = (Path(__file__).parent / "openapi.json").read_bytes()

    async def status(self, _request: web.Request) -> web.Response:
        return answer(views.status(self._plant))

    async def health(self, request: web.Request) -> web.Response:
        return answer(views.health(self._plant, request.query.get("source")))

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._description, content_type="application/json")

    async def metrics(self, _request: web.Request) -> web.Response:
        body = await metrics.text(self._plant)
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def healthz(self, _request: web.Request) -> web.Response:
        alive = self._plant.supervisor.is_alive()
        return answer({"alive": alive}, 200 if alive else 503)

    async def readyz(self, _request: web.Request) -> web.Response:
        ready = self._plant.is_ready
        return answer({"ready": ready}, 200 if ready else 503)
