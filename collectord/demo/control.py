"""The control endpoint under `/_sim/`: drives a simulator or a sink that runs in a process of its own.

    GET    /_sim/state        counters, counts, pending faults, number of violations
    GET    /_sim/violations   what the client did wrong; DELETE forgets it
    GET    /_sim/issued       ids by stream (simulator)
    GET    /_sim/expectations?source=NAME[&every_version=false]   for `oracle.expectations_from_json` (simulator)
    GET    /_sim/records      for `oracle.records_from_json` (sink)
    PATCH  /_sim/knobs        {"clock_skew_seconds": 600, "links": {"separate": false}}
    POST   /_sim/faults       {"fault": {"kind": "status", "status": 503}, "times": 3, "path": "/api/*", "after": 1}
    DELETE /_sim/faults       nothing goes wrong any more, chaos included
    POST   /_sim/chaos        {"rate": 0.1, "seed": 7}
    POST   /_sim/steady       {"rate": 50, ...}: issue so many a second from now on; 0 stops (simulator)
    POST   /_sim/down         {"seconds": 3}: refuse connections for a while
    POST   /_sim/do/NAME      {…}: call a method that the class lists in `commands`, e.g. `issue` with {"count": 5}

It trusts whoever reaches the loopback port: it is for tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import Any

import anyio
import orjson
from aiohttp import web
from anyio.abc import TaskGroup

from collectord.demo import oracle
from collectord.demo.faults import from_json
from collectord.demo.knobs import turn
from collectord.demo.loopback import Handler
from collectord.demo.simulator import Simulator
from collectord.demo.sink import NdjsonSink

PREFIX = "/_sim/"
Subject = Simulator | NdjsonSink
_REPLY_SECONDS = 0.05
"""Seconds to get the answer out before the port closes."""


class Control:
    """Stands before a subject's handler; everything outside `/_sim/` goes through untouched."""

    def __init__(self, subject: Subject, task_group: TaskGroup) -> None:
        self.subject = subject
        self._task_group = task_group
        self._steady: anyio.CancelScope | None = None

    def wrap(self, handler: Handler) -> Handler:
        async def controlled(request: web.BaseRequest) -> web.StreamResponse:
            if request.path.startswith(PREFIX):
                return await self._handle(request)
            return await handler(request)

        return controlled

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        action: Callable[[dict[str, Any]], Any] | None = getattr(self, f"_{request.method.lower()}_{name}", None)
        if action is None:
            return web.Response(status=404, text=f"no {request.method} {request.path}")
        body = await request.content.read()
        try:
            options: dict[str, Any] = {**request.query, **(orjson.loads(body) if body else {})}
            result = action({"name": rest, **options} if rest else options)
            if isawaitable(result):
                result = await result
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return web.Response(status=400, text=f"{type(error).__name__}: {error}")
        data = result if isinstance(result, bytes) else orjson.dumps(result, default=str)
        return web.Response(body=data, content_type="application/json")

    def _get_state(self, _: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = {
            "counters": dict(self.subject.counters),
            "pending_faults": self.subject.faults.pending,
            "violations": len(self.subject.violations),
        }
        if isinstance(self.subject, Simulator):
            state["issued"] = dict(self.subject.issued_count)
        return state

    def _get_violations(self, _: dict[str, Any]) -> list[str]:
        return self.subject.violations

    def _delete_violations(self, _: dict[str, Any]) -> None:
        self.subject.violations.clear()

    def _get_issued(self, _: dict[str, Any]) -> dict[str, list[str]]:
        return {stream: list(records) for stream, records in self._simulator.issued.items()}

    def _get_expectations(self, options: dict[str, Any]) -> bytes:
        every_version = options.get("every_version", "true") != "false"
        return oracle.expectations_to_json(
            oracle.expect(options["source"], self._simulator, every_version=every_version)
        )

    def _get_records(self, _: dict[str, Any]) -> bytes:
        return oracle.records_to_json(self._sink.records)

    def _patch_knobs(self, options: dict[str, Any]) -> None:
        for name, value in options.items():
            turn(self.subject.knobs, name, value)

    def _post_faults(self, options: dict[str, Any]) -> None:
        fault = from_json(options.pop("fault"))
        self.subject.faults.add(fault, **options)

    def _delete_faults(self, _: dict[str, Any]) -> None:
        self.subject.faults.clear()

    def _post_chaos(self, options: dict[str, Any]) -> None:
        self.subject.chaos(**options)

    def _post_steady(self, options: dict[str, Any]) -> None:
        if self._steady is not None:
            self._steady.cancel()
            self._steady = None
        rate = options.pop("rate")
        if rate:
            self._steady = anyio.CancelScope()
            self._task_group.start_soon(_within, self._steady, partial(self._simulator.issue_steadily, rate, **options))

    def _post_down(self, options: dict[str, Any]) -> None:
        self._task_group.start_soon(self._away, float(options["seconds"]))

    async def _post_do(self, options: dict[str, Any]) -> Any:
        name = options.pop("name")
        if name not in self.subject.commands:
            raise KeyError(name)
        return getattr(self.subject, name)(**options)

    async def _away(self, seconds: float) -> None:
        await anyio.sleep(_REPLY_SECONDS)
        await self.subject.go_down()
        await anyio.sleep(seconds)
        await self.subject.come_back()

    @property
    def _simulator(self) -> Simulator:
        if not isinstance(self.subject, Simulator):
            raise TypeError("this is a sink")
        return self.subject

    @property
    def _sink(self) -> NdjsonSink:
        if not isinstance(self.subject, NdjsonSink):
            raise TypeError("this is a vendor")
        return self.subject


async def _within(scope: anyio.CancelScope, action: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await action()
