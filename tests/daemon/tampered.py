"""The daemon with something wrong or slow inside: `python -m tests.daemon.tampered WHAT run --config FILE`.

Nothing in the product knows of it: the module that stands below the mistake is changed before the command runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import anyio

from collectord import cli, collecting, config
from collectord.outbox import Acceptance, Outbox
from collectord.sources import okta
from collectord.store import Store

FETCHES = 3
"""A stream goes wrong after so many."""
STEP_SECONDS = 0.5
RELOAD_SECONDS = 0.4


def say(event: str) -> None:
    """A line for the test that waits for this moment."""
    print(json.dumps({"level": "info", "event": event}), file=sys.stderr, flush=True)


def after_some_fetches(then: Callable[[], Any]) -> None:
    """Let the fourth fetch do something else."""
    fetch = okta.Events.fetch
    counted = 0

    async def tampered(self: okta.Events, cursor: Any) -> Any:
        nonlocal counted
        counted += 1
        if counted == FETCHES + 1:
            say("it happens")
            await then()
        return await fetch(self, cursor)

    okta.Events.fetch = tampered  # type: ignore[method-assign]


def blocking_stream() -> None:
    """A stream that lets nobody else run."""

    async def block() -> None:
        time.sleep(3)

    after_some_fetches(block)


def hanging_stream() -> None:
    """A stream that never comes back; it is missed sooner than usual."""
    vars(collecting)["_LONGEST_STEP_SECONDS"] = STEP_SECONDS
    after_some_fetches(anyio.sleep_forever)


def failing_stream() -> None:
    """A stream with a mistake in it."""

    async def fail() -> None:
        raise ZeroDivisionError("a mistake of ours")

    after_some_fetches(fail)


def slow_start() -> None:
    """A state store that takes its time."""
    open_store = Store.open

    def slowly(directory: Any) -> Store:
        say("opening")
        time.sleep(1)
        return open_store(directory)

    Store.open = slowly  # type: ignore[method-assign,assignment]


def slow_reload() -> None:
    """Files on a slow disk."""
    load = config.load
    loaded = 0

    def slowly(*arguments: Any) -> Any:
        nonlocal loaded
        loaded += 1
        if loaded > 1:
            say("reloading")
            time.sleep(RELOAD_SECONDS)
        return load(*arguments)

    config.load = slowly


def cursor_before_the_batch() -> None:
    """The mistake that every other collector made once: the place is saved before what was found there."""
    accept = Outbox.accept

    async def in_two_steps(self: Outbox, page: Acceptance) -> None:
        await accept(self, Acceptance(page.key, page.cursor))
        await anyio.sleep(0.01)
        await accept(self, page)

    Outbox.accept = in_two_steps  # type: ignore[method-assign]


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
