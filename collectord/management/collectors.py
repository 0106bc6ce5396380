"""The calls of Sumo's Collector Management API: this collector, its sources, and what can be done with them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from collectord.errors import ConfigError
from collectord.kept import KeyMissing
from collectord.management import shapes, views
from collectord.management.catalogue import NameTaken, NotOurs, Outdated
from collectord.management.problems import ApiError, answer

if TYPE_CHECKING:
    from collectord.management.views import Plant
    from collectord.supervisor import Running

ACTIONS = ("restart", "pause", "resume", "poll")


class Collectors:
    """Everything under `/api/v1/collectors`."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def list_collectors(self, _request: web.Request) -> web.Response:
        return answer({"collectors": [self._collector()]})

    async def get_collector(self, request: web.Request) -> web.Response:
        self._check_collector(request)
        shown = self._collector()
        still = {key: value for key, value in shown.items() if key != "lastSeenAlive"}
        return answer({"collector": shown}, headers={"ETag": f'"{shapes.etag(still)}"'})

    async def list_sources(self, request: web.Request) -> web.Response:
        self._check_collector(request)
        running = list(self._plant.supervisor.running.values())
        if _is_download(request):
            return answer({"api.version": "v1", "sources": [self._portable(each) for each in running]})
        return answer({"sources": [self._shown(each) for each in running]})

    async def get_source(self, request: web.Request) -> web.Response:
        running = self._source(request)
        etag = {"ETag": f'"{self._etag(running)}"'}
        if _is_download(request):
            return answer({"api.version": "v1", "source": self._portable(running)}, headers=etag)
        return answer({"source": self._shown(running)}, headers=etag)

    async def create(self, request: web.Request) -> web.Response:
        self._check_collector(request)
        self._check_ready()
        source = await _source_of(request)
        try:
            name = await self._plant.catalogue.create(source)
        except ConfigError as error:
            raise _invalid(source, error) from None
        except KeyMissing as missing:
            raise ApiError(409, str(missing), "CannotModifySources") from None
        except NameTaken:
            message = "there is a source of this name; choose another, or change that one"
            raise ApiError(400, message, "DuplicateResourceName") from None
        running = self._plant.supervisor.running[name]
        return answer({"source": self._shown(running)}, 201, headers={"ETag": f'"{self._etag(running)}"'})

    async def change(self, request: web.Request) -> web.Response:
        name = self._name(request)
        self._check_ready()
        etag = request.headers.get("If-Match", "").strip().removeprefix("W/").strip('"')
        source = await _source_of(request)
        try:
            if not etag and self._plant.catalogue.is_own(name):
                message = "say in If-Match which version you change: the ETag of the source as you got it"
                raise ApiError(428, message, "precondition.required")
            await self._plant.catalogue.change(name, source, etag)
        except ConfigError as error:
            raise _invalid(source, error) from None
        except Outdated:
            message = "the source was changed in the meantime; get it again, and its ETag"
            raise ApiError(412, message, "precondition.failed") from None
        except (KeyError, NotOurs, KeyMissing) as error:
            raise self._not_changed(name, error) from None
        running = self._plant.supervisor.running[name]
        return answer({"source": self._shown(running)}, headers={"ETag": f'"{self._etag(running)}"'})

    async def delete(self, request: web.Request) -> web.Response:
        name = self._name(request)
        self._check_ready()
        try:
            await self._plant.catalogue.delete(name)
        except (KeyError, NotOurs) as error:
            raise self._not_changed(name, error) from None
        return web.Response()

    async def act(self, request: web.Request) -> web.Response:
        name = self._source(request).settings.name
        self._check_ready()
        try:
            await self._act(name, request.match_info["action"])
            return answer({"source": views.source_of(self._plant, name)})
        except KeyError:  # a reload took it away in the meantime
            raise self._unknown(name) from None

    async def _act(self, name: str, action: str) -> None:
        supervisor, kept = self._plant.supervisor, self._plant.catalogue.kept
        match action:
            case "restart" | "resume":
                await kept.resume(name)
                await supervisor.restart(name)
                if action == "restart":
                    self._plant.retry_sinks()
            case "pause":
                await kept.pause(name)
                await supervisor.pause(name)
            case "poll":
                supervisor.poll(name)
            case _:
                raise ApiError(404, f"there is no such action; choose one of {', '.join(ACTIONS)}")

    def _collector(self) -> dict[str, Any]:
        return shapes.collector(self._plant.catalogue.daemon.collector, time.time_ns() // 1_000_000)

    def _shown(self, running: Running) -> dict[str, Any]:
        return shapes.source(running.settings, running.status, document=self._document(running))

    def _portable(self, running: Running) -> dict[str, Any]:
        return shapes.portable(running.settings, self._document(running))

    def _document(self, running: Running) -> dict[str, Any] | None:
        kept = self._plant.catalogue.kept_source(running.settings.name)
        return None if kept is None else kept.document

    def _etag(self, running: Running) -> str:
        kept = self._plant.catalogue.kept_source(running.settings.name)
        return shapes.etag(self._portable(running)) if kept is None else kept.revision

    def _check_ready(self) -> None:
        if not self._plant.is_ready:
            raise ApiError(503, "collectord is starting or stopping; try again in a moment")

    def _check_collector(self, request: web.Request) -> None:
        wanted = request.match_info["collector"]
        if wanted not in {str(shapes.COLLECTOR_ID), self._plant.collector_name}:
            message = f"there is one collector here: {shapes.COLLECTOR_ID}, {self._plant.collector_name}"
            raise ApiError(404, message, "collectors.collector.invalid")

    def _name(self, request: web.Request) -> str:
        """The name of the source that is meant, also where it does not run."""
        self._check_collector(request)
        wanted = request.match_info["source"]
        return wanted if self._plant.catalogue.is_own(wanted) else self._source(request).settings.name

    def _source(self, request: web.Request) -> Running:
        self._check_collector(request)
        wanted = request.match_info["source"]
        running = self._plant.supervisor.running
        by_id = (each for each in running.values() if str(each.status.id) == wanted)
        found = running.get(wanted) or next(by_id, None)
        if found is None:
            raise self._unknown(wanted)
        return found

    def _unknown(self, wanted: str) -> ApiError:
        names = sorted(self._plant.supervisor.running)
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        message = f"there is no source {wanted}; there is: {', '.join(names[:20]) or 'none'}{more}"
        return ApiError(404, message, "InvalidSource")

    def _not_changed(self, name: str, error: Exception) -> ApiError:
        if isinstance(error, KeyError):  # it is being deleted, or a reload took it away
            return self._unknown(name)
        if isinstance(error, KeyMissing):
            return ApiError(409, str(error), "CannotModifySources")
        file = self._plant.supervisor.running[name].settings.file
        message = f"the source stands in {file}: change it there, and reload"
        return ApiError(400, message, "CannotModifySources")


def _is_download(request: web.Request) -> bool:
    return request.query.get("download", "").lower() == "true"


async def _source_of(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: line {error.lineno}, column {error.colno}") from None
    if shapes.depth(body) > shapes.MAX_DEPTH:
        raise ApiError(400, f"the body is nested more than {shapes.MAX_DEPTH} levels deep")
    source = body.get("source") if isinstance(body, dict) else None
    if not isinstance(source, dict):
        raise ApiError(400, 'the body must hold one source: {"source": {"schemaRef": {"type": …}, "config": {…}}}')
    return source


def _invalid(source: dict[str, Any], error: ConfigError) -> ApiError:
    places = {fault.place.removeprefix("source.") for fault in error.faults}
    code = "createValidationError"
    if "schemaRef.type" in places or "schemaRef" in places:
        reference = source.get("schemaRef")
        code = "InvalidSourceType" if isinstance(reference, dict) and reference.get("type") else "EmptySourceType"
    return ApiError(400, shapes.faults(error), code)
