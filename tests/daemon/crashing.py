"""Moments at which the daemon dies as by `kill -9`: `site.fork(crash="page committed:3")`.

Nothing in the product knows of it. A crash is `os._exit(137)`: no `finally`, no flush, no farewell; the N-th time the
moment comes.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

from collectord import checkpoints, statements, store
from collectord import daemon as daemons
from collectord.collecting import Collector
from collectord.daemon import Daemon
from collectord.health import HealthBoard
from collectord.outbox import Outbox
from collectord.sinks.http import HttpSink
from collectord.store import Store
from collectord.supervisor import Supervisor

KILLED = 137
"""Exit code of a crash."""
QUICK_HOUSEKEEPING_SECONDS = 0.1

Crash = Callable[[], None]
Install = Callable[[Crash], None]


def before(owner: Any, name: str) -> Install:
    """The moment at which something begins."""
    return functools.partial(_wrap, owner, name, at_the_end=False)


def after(owner: Any, name: str) -> Install:
    """The moment at which something has been done, and nobody knows yet."""
    return functools.partial(_wrap, owner, name, at_the_end=True)


def _wrap(owner: Any, name: str, crash: Crash, *, at_the_end: bool) -> None:
    original = inspect.getattr_static(owner, name)
    function = original.__func__ if isinstance(original, classmethod) else original

    async def awaited(*arguments: Any, **options: Any) -> Any:
        if not at_the_end:
            crash()
        result = await function(*arguments, **options)
        if at_the_end:
            crash()
        return result

    def called(*arguments: Any, **options: Any) -> Any:
        if not at_the_end:
            crash()
        result = function(*arguments, **options)
        if at_the_end:
            crash()
        return result

    replacement = awaited if inspect.iscoroutinefunction(function) else called
    setattr(owner, name, classmethod(replacement) if isinstance(original, classmethod) else replacement)


def transaction(owner: Any, name: str, *, committed: bool) -> Install:
    """The moment before or after the commit of a transaction in which `owner.name` was called."""

    def install(crash: Crash) -> None:
        touched = False

        def note() -> None:
            nonlocal touched
            touched = True

        def crash_if_touched(*_: Any) -> None:
            nonlocal touched
            if touched:
                touched = False
                crash()

        run = Store._transaction

        def transact(self: Store, writes: list[Any]) -> list[Any]:
            last = [] if committed else [store._Write(crash_if_touched, urgent=False)]
            results = run(self, [*writes, *last])[: len(writes)]
            crash_if_touched()
            return results

        Store._transaction = transact  # type: ignore[method-assign]
        before(owner, name)(note)

    return install


def half_a_backup(crash: Crash) -> None:
    """The moment at which half of the cursors' backup is in the new file."""

    def dump(value: Any, file: Any) -> None:
        text = json.dumps(value)
        file.write(text[: len(text) // 2])
        file.flush()
        crash()
        file.write(text[len(text) // 2 :])

    vars(checkpoints)["json"] = SimpleNamespace(loads=json.loads, dumps=json.dumps, dump=dump)


START = {
    "state directory locked": after(store, "lock"),
    "state store opened": after(store, "open_file"),
    "health events loaded": after(HealthBoard, "load"),
    "outbox loaded": after(Outbox, "load"),
    "configuration applied": after(Daemon, "_apply"),
}
WORK = {
    "fetch begins": before(Collector, "_fetch"),
    "page fetched": after(Collector, "_fetch"),
    "page to be kept": before(Outbox, "accept"),
    "page written": transaction(Outbox, "_accept", committed=False),
    "page committed": transaction(Outbox, "_accept", committed=True),
    "page kept": after(Outbox, "accept"),
    "batch to be sent": before(HttpSink, "send"),
    "backlog read": after(Outbox, "waiting"),  # that of the life before, when each point is met in this order
    "batch sent": after(HttpSink, "send"),
    "acknowledgement written": transaction(statements, "forget", committed=False),
    "acknowledgement committed": transaction(statements, "forget", committed=True),
    "batch acknowledged": after(Outbox, "acknowledge"),
    "seen ids read": after(Outbox, "seen"),
    "health event saved": after(HealthBoard, "_changed"),
}
RELOAD = {
    "reload begins": before(Daemon, "_reload"),
    "sinks opened": after(Daemon, "_open_sinks"),
    "sources stopped": after(Supervisor, "_stop"),
    "sinks closed": after(Daemon, "_close_sinks"),
    "reload done": after(Daemon, "_reload"),
}
HOUSE = {
    "backup begins": before(checkpoints, "_write_backup"),
    "half a backup": half_a_backup,
    "backup written": after(checkpoints, "_write_backup"),
    "store tidied": after(Store, "_tidy"),
}
POINTS: dict[str, Install] = {**START, **WORK, **RELOAD, **HOUSE}


def install(spec: str) -> None:
    """Let the process die at `POINT:N`; empty = not at all."""
    if not spec:
        return
    name, _, number = spec.partition(":")
    moments = count(1)
    last = int(number or 1)

    def crash() -> None:
        if next(moments) == last:
            os._exit(KILLED)

    POINTS[name](crash)
    if name in HOUSE:
        vars(daemons)["HOUSEKEEPING_SECONDS"] = QUICK_HOUSEKEEPING_SECONDS
