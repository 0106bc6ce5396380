"""How long to wait after a failure: the one retry policy, for vendors and for sinks.

Waits grow exponentially with full jitter; what the other side asked for is a floor. After the window, measured on the
monotonic clock and begun anew by every success, attempts go on at the slow pace or end.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import anyio
import tenacity

from collectord.errors import CollectordError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from collectord.settings import RetryPolicy

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 3600.0
"""No other side may silence us for longer with one answer."""


class Nap:
    """A sleep that somebody else can end."""

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None

    async def sleep(self, seconds: float) -> None:
        """Sleep, until the time is over or `wake` is called."""
        try:
            with anyio.CancelScope() as self._scope:
                await anyio.sleep(seconds)
        finally:
            self._scope = None

    def wake(self) -> bool:
        """End the sleep; false: nobody sleeps here now."""
        if self._scope is None:
            return False
        self._scope.cancel()
        return True


class GaveUp(Exception):
    """The window is over and the policy says `quit`."""

    def __init__(self, error: CollectordError) -> None:
        super().__init__(error.message)
        self.error = error
        """The last failure."""


class Failure:
    """One failed attempt, for whoever reports it."""

    def __init__(self, error: CollectordError, number: int, next_wait_seconds: float, after_window: bool) -> None:  # noqa: FBT001
        self.error = error
        self.number = number
        self.next_wait_seconds = next_wait_seconds
        self.after_window = after_window


async def retry(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    on: type[CollectordError],
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    report: Callable[[Failure], Awaitable[None]],
) -> T:
    """Call `attempt` until it succeeds; `report` hears of each failure that is retried.

    Errors other than `on` pass through at once. Raises GaveUp when the window is over and `policy.then` is `quit`;
    whatever `sleep` raises ends the retrying, which is how a stop interrupts it.
    """
    try:
        return await attempt()  # mostly that is all, and tenacity takes longer for it than all else here
    except on as error:
        first: list[CollectordError] = [error]
    clock = _Window(policy)

    async def again() -> T:
        if first:
            raise first.pop()
        return await attempt()

    async def before_sleep(state: tenacity.RetryCallState) -> None:
        await report(Failure(_error(state), state.attempt_number, state.upcoming_sleep, clock.is_over()))

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(on),
        wait=clock.wait,
        stop=clock.stop,
        sleep=sleep,
        before_sleep=before_sleep,
        retry_error_callback=_give_up,
    )
    return await retrying(again)


class _Window:
    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._began: float | None = None

    def is_over(self) -> bool:
        return self._began is not None and anyio.current_time() - self._began >= self._policy.window

    def stop(self, _state: tenacity.RetryCallState) -> bool:
        if self._began is None:
            self._began = anyio.current_time()
        return self._policy.then == "quit" and self.is_over()

    def wait(self, state: tenacity.RetryCallState) -> float:
        floor = min(_error(state).retry_after or 0.0, MAX_RETRY_AFTER_SECONDS)
        if self.is_over() and self._policy.then != "quit":
            return max(floor, self._policy.then)
        ceiling = min(self._policy.max, self._policy.initial * 2.0 ** min(state.attempt_number - 1, 32))
        jittered = random.uniform(0.0, ceiling)  # noqa: S311  full jitter, no secret
        return max(floor, jittered, min(0.05, ceiling))


def _error(state: tenacity.RetryCallState) -> CollectordError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, CollectordError)
    return error


def _give_up(state: tenacity.RetryCallState) -> None:
    raise GaveUp(_error(state)) from None
