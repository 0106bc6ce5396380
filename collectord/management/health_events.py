"""The calls of Sumo's Health Events API: what is the matter now, page by page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from collectord.health import iso
from collectord.management.problems import ApiError, answer
from collectord.reporting import COLLECTOR_ID, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from collectord.health import HealthEvent
    from collectord.management.views import Plant

MAX_LIMIT = 1000
_TOKEN = re.compile(r"(\d{1,16})-([0-9a-f]{32})", re.ASCII)


class HealthEvents:
    """Everything under `/api/v1/healthEvents`."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def list_all(self, request: web.Request) -> web.Response:
        return answer(self._page(request, lambda _: True))

    async def list_of_resources(self, request: web.Request) -> web.Response:
        wanted = await _resources_of(request)
        return answer(self._page(request, lambda event: (event.resource.type, f"{event.resource.id:016X}") in wanted))

    def _page(self, request: web.Request, wanted: Callable[[HealthEvent], bool]) -> dict[str, Any]:
        """Oldest first, so that what opens meanwhile does not move the pages."""
        limit, after = _limit(request), _after(request)
        events = sorted(
            (event for event in self._plant.health.open_events.values() if wanted(event) and _place(event) > after),
            key=_place,
        )
        shown = events[:limit]
        token = "{}-{}".format(*_place(shown[-1])) if len(events) > limit else None
        return {"data": [api_form(event, self._plant.collector_name) for event in shown], "next": token}


def api_form(event: HealthEvent, collector: str) -> dict[str, Any]:
    """An open event as Sumo's API has it."""
    resource = event.resource
    belongs = {"collectorId": COLLECTOR_ID, "collectorName": collector} if resource.type == "Source" else {}
    return {
        "eventId": event.id,
        "eventName": event.name,
        "details": {
            "trackerId": event.name,
            "error": event.error,
            "description": event.description,
            **texts(event),
        },
        "resourceIdentity": {
            "id": f"{resource.id:016X}",
            "name": resource.name,
            "type": resource.type,
            **belongs,
        },
        "eventTime": iso(event.opened_ms),
        "subsystem": "Collection",
        "severityLevel": event.severity,
    }


def _place(event: HealthEvent) -> tuple[int, str]:
    return event.opened_ms, event.id


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise ApiError(400, f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def _after(request: web.Request) -> tuple[int, str]:
    text = request.query.get("token", "")
    match = _TOKEN.fullmatch(text)
    if text and match is None:
        raise ApiError(400, "token must be what `next` of an answer held")
    return (int(match[1]), match[2]) if match else (-1, "")


async def _resources_of(request: web.Request) -> set[tuple[str, str]]:
    try:
        body = orjson.loads(await request.read())
        return {(_text(each, "type"), _text(each, "id").upper().rjust(16, "0")) for each in body["data"]}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ApiError(400, 'the body must be {"data": [{"id": "…", "type": "Source"}, …]}') from None


def _text(resource: Any, key: str) -> str:
    if not isinstance(resource[key], str):
        raise TypeError
    return str(resource[key])
