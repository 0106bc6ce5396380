"""What an operator mends by the API: saved places, past windows, and dead letters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from collectord.backfilling import NoBackfill, key_of, new_cursor, shown
from collectord.dead_letters import Damaged, DeadLetters
from collectord.health import iso
from collectord.management.problems import ApiError, answer
from collectord.outbox import StreamKey
from collectord.records import parse_time
from collectord.settings.notation import parse_duration

if TYPE_CHECKING:
    from collectord.management.views import Plant
    from collectord.supervisor import Running

_SOURCE = "/api/v1/collectors/{collector}/sources/{source}"
_STREAM = f"{_SOURCE}/streams/{{stream}}"
_LETTERS = "/api/v1/deadLetters"
COLLECTOR_ID = "1"
MAX_CURSOR_BYTES = 65536


def routes(plant: Plant) -> list[web.RouteDef]:
    """The routes of this module."""
    places, pasts, letters = _Places(plant), _Pasts(plant), _Letters(plant)
    return [
        web.get(f"{_SOURCE}/checkpoints", places.listed),
        web.put(f"{_STREAM}/checkpoint", places.put),
        web.get(f"{_STREAM}/backfill", pasts.get),
        web.post(f"{_STREAM}/backfill", pasts.begin),
        web.delete(f"{_STREAM}/backfill", pasts.halt),
        web.get(_LETTERS, letters.listed),
        web.get(f"{_LETTERS}/{{id}}", letters.get),
        web.post(f"{_LETTERS}/{{id}}/retry", letters.retry),
        web.delete(f"{_LETTERS}/{{id}}", letters.drop),
    ]


class _Places:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def listed(self, request: web.Request) -> web.Response:
        running = _running(self._plant, request)
        return answer({"checkpoints": [await self._shown(running, name) for name in _streams(running)]})

    async def put(self, request: web.Request) -> web.Response:
        """`{"checkpoint": {…}}`; null: the stream begins anew, as its `start` says."""
        running, stream = _stream(self._plant, request)
        body = await _body(request)
        if "checkpoint" not in body or not isinstance(body["checkpoint"], dict | None):
            raise ApiError(400, 'the body must be {"checkpoint": {…}}, or {"checkpoint": null} to begin anew')
        if len(orjson.dumps(body["checkpoint"])) > MAX_CURSOR_BYTES:
            raise ApiError(400, f"a checkpoint has at most {MAX_CURSOR_BYTES} bytes")
        _check_ready(self._plant)
        await self._plant.supervisor.set_checkpoint(running.settings.name, stream, body["checkpoint"] or None)
        return answer(await self._shown(running, stream))

    async def _shown(self, running: Running, stream: str) -> dict[str, Any]:
        key = StreamKey(running.settings.name, stream)
        outbox = self._plant.outbox
        saved_ms = await outbox.saved_ms(key)
        return {
            "stream": stream,
            "checkpoint": outbox.checkpoint(key),
            "saved_at": iso(saved_ms or None),
            "lost": outbox.is_lost(key),
        }


class _Pasts:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._shown(*_stream(self._plant, request)))

    async def begin(self, request: web.Request) -> web.Response:
        """`{"since": T, "until": T}`: begins, or goes on with the window that was asked for in the same words."""
        running, stream = _stream(self._plant, request)
        body = await _body(request)
        since, until = body.get("since"), body.get("until")
        now_ms = time.time_ns() // 1_000_000
        since_ms, until_ms = _moment("since", since, now_ms), now_ms
        if until is not None:
            until_ms = min(_moment("until", until, now_ms), now_ms)
        if since_ms >= until_ms:
            raise ApiError(400, "since must be before until, and in the past")
        _check_ready(self._plant)
        await self._begin(
            running, stream, new_cursor(since_ms, until_ms, f"{since} {until}"), again=bool(body.get("again"))
        )
        return answer(self._shown(running, stream))

    async def _begin(self, running: Running, stream: str, wanted: dict[str, Any], *, again: bool) -> None:
        name = running.settings.name
        saved = self._plant.outbox.checkpoint(key_of(name, stream))
        if saved is not None and not saved.get("done") and not again:
            if saved["asked"] != wanted["asked"]:
                since, _, until = saved["asked"].partition(" ")
                message = (
                    f"a backfill of {stream} since {since}{'' if until == 'None' else f' until {until}'} is not over"
                    f" (at {iso(saved['reached_ms'])}): ask in the same words to go on with it, or begin this one"
                    " instead with --again"
                )
                raise ApiError(409, message, "BackfillUnfinished")
            backfill = running.backfills.get(stream)
            if backfill is not None and not backfill.ended.is_set():
                return
            wanted = {key: value for key, value in saved.items() if key != "halted"}
        try:
            await self._plant.supervisor.begin_backfill(name, stream, wanted)
        except NoBackfill as error:
            raise ApiError(409, str(error), "BackfillImpossible") from None
        except KeyError:
            raise ApiError(404, f"there is no source {name} any more", "InvalidSource") from None

    async def halt(self, request: web.Request) -> web.Response:
        running, stream = _stream(self._plant, request)
        backfill = running.backfills.get(stream)
        if backfill is not None:
            await backfill.halt()
        return answer(self._shown(running, stream))

    def _shown(self, running: Running, stream: str) -> dict[str, Any]:
        name = running.settings.name
        found = shown(self._plant.outbox, stream, key_of(name, stream), running.backfills.get(stream))
        if found is None:
            raise ApiError(404, f"there was no backfill of {stream} yet", "notfound")
        resting = max(
            (budget.resting_seconds for client in running.clients for budget in client.held.values()), default=0
        )
        return {**found, "resting_seconds": round(resting, 1)}


class _Letters:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._letters = DeadLetters(plant.store, plant.outbox)

    async def listed(self, _request: web.Request) -> web.Response:
        return answer({"dead_letters": await self._letters.listed()})

    async def get(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        try:
            about, lines = await self._letters.records(id_)
        except KeyError as error:
            raise _no_letter(error) from None
        except Damaged:
            raise _damaged(id_, "and cannot be read") from None
        return answer({**about, "lines": lines})

    async def retry(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        _check_ready(self._plant)
        try:
            letter = await self._letters.get(id_)
            if letter.about["sink"] not in self._plant.deliveries:
                message = f"there is no sink {letter.about['sink']} now: bring it back under this name first"
                raise ApiError(409, message, "SinkMissing")
            await self._letters.retry(id_)
        except KeyError as error:
            raise _no_letter(error) from None
        except Damaged:
            raise _damaged(id_, "and are not sent any more") from None
        return answer({"id": id_})

    async def drop(self, request: web.Request) -> web.Response:
        try:
            await self._letters.drop(request.match_info["id"])
        except KeyError as error:
            raise _no_letter(error) from None
        return answer({"id": request.match_info["id"]})


def _no_letter(error: KeyError) -> ApiError:
    return ApiError(404, f"there is no dead letter {error.args[0]}; see the list", "notfound")


def _damaged(id_: str, so: str) -> ApiError:
    message = (
        f"the bytes of {id_} were damaged on disk {so}: collectord dead-letters drop {id_} forgets them, and collectord"
        " backfill collects the records anew"
    )
    return ApiError(409, message, "Damaged")


def _check_ready(plant: Plant) -> None:
    if not plant.is_ready:
        raise ApiError(503, "collectord is starting or stopping; try again in a moment")


def _running(plant: Plant, request: web.Request) -> Running:
    wanted, collector = request.match_info["source"], request.match_info["collector"]
    if collector not in {COLLECTOR_ID, plant.collector_name}:
        message = f"there is one collector here: {COLLECTOR_ID}, {plant.collector_name}"
        raise ApiError(404, message, "collectors.collector.invalid")
    running = plant.supervisor.running
    by_id = (each for each in running.values() if str(each.status.id) == wanted)
    found = running.get(wanted) or next(by_id, None)
    if found is None:
        names = ", ".join(sorted(running)[:20]) or "none"
        raise ApiError(404, f"there is no source {wanted}; there is: {names}", "InvalidSource")
    return found


def _streams(running: Running) -> list[str]:
    return [stream.name for stream in running.status.streams]


def _stream(plant: Plant, request: web.Request) -> tuple[Running, str]:
    running, stream = _running(plant, request), request.match_info["stream"]
    if stream not in _streams(running):
        names = ", ".join(_streams(running)) or "none while it does not run"
        raise ApiError(404, f"{running.settings.name} has no stream {stream}; it has: {names}", "InvalidStream")
    return running, stream


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: line {error.lineno}, column {error.colno}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return body


def _moment(name: str, text: object, now_ms: int) -> int:
    """A time, or a duration before now, in ms."""
    said = text if isinstance(text, str) else ""
    if (moment := parse_time(said)) is not None:
        return moment
    try:
        return now_ms - int(1000 * parse_duration(said))
    except ValueError:
        raise ApiError(400, f"{name} must be a time such as 2026-11-01T00:00:00Z, or a duration such as 7d") from None
