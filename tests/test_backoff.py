"""The one retry policy: waits grow, keep to what the other side asked, and end or slow down after the window."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.backoff import MAX_RETRY_AFTER_SECONDS, GaveUp, Nap, retry
from collectord.errors import RateLimited, SinkUnavailable, SourceRefused, SourceUnavailable
from collectord.settings import RetryPolicy

HOUR = 3600.0


class Attempts:
    """Fails as often as it is told, and knows when it was tried."""

    def __init__(self, failures, error=None):
        self.failures = failures
        self.error = error or SinkUnavailable("away")
        self.at: list[float] = []
        self.reported = []

    async def __call__(self):
        self.at.append(anyio.current_time())
        if len(self.at) <= self.failures:
            raise self.error
        return "done"

    async def report(self, failure):
        self.reported.append(failure)

    @property
    def waits(self):
        return [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]


async def tried(attempts, on=SinkUnavailable, **policy):
    return await retry(attempts, RetryPolicy(**policy), on=on, report=attempts.report)


@pytest.mark.looptime
async def test_what_succeeds_is_tried_once_and_nobody_hears_of_it():
    attempts = Attempts(0)
    assert await tried(attempts) == "done"
    assert len(attempts.at) == 1
    assert attempts.reported == []


@pytest.mark.looptime
async def test_waits_grow_to_the_longest_and_are_never_longer():
    attempts = Attempts(200)
    assert await tried(attempts, initial=1, max=300, window=1000 * HOUR) == "done"
    for number, wait in enumerate(attempts.waits):
        assert 0.05 - 1e-6 <= wait <= min(300, 2.0**number) + 1e-3
    late = attempts.waits[20:]
    assert 100 < sum(late) / len(late) < 200  # full jitter: half the longest on average
    assert len(set(late)) == len(late)


@pytest.mark.looptime
async def test_what_the_other_side_asked_for_is_the_least():
    attempts = Attempts(5, SinkUnavailable("too many", retry_after=700))
    await tried(attempts, max=300)
    assert all(700 <= wait < 701 for wait in attempts.waits)


@pytest.mark.looptime
async def test_nobody_may_silence_us_for_longer_than_an_hour():
    attempts = Attempts(1, SinkUnavailable("too many", retry_after=10.0**9))
    await tried(attempts)
    assert attempts.waits == [pytest.approx(MAX_RETRY_AFTER_SECONDS, abs=1)]


@pytest.mark.looptime
async def test_after_the_window_attempts_go_on_at_the_slow_pace():
    attempts = Attempts(200)
    await tried(attempts, window=5400, then=HOUR)
    slow = [wait for at, wait in zip(attempts.at, attempts.waits, strict=False) if at - attempts.at[0] >= 5400]
    assert len(slow) > 100
    assert all(wait == pytest.approx(HOUR, abs=0.01) for wait in slow)
    after = [failure.after_window for failure in attempts.reported]
    assert after == sorted(after)
    assert any(after)


@pytest.mark.looptime
async def test_after_the_window_attempts_end_where_the_policy_says_quit():
    attempts = Attempts(10_000)
    with pytest.raises(GaveUp) as gave_up:
        await tried(attempts, window=5400, max=300, then="quit")
    assert gave_up.value.error is attempts.error
    assert 5400 <= attempts.at[-1] - attempts.at[0] <= 5700
    assert len(attempts.reported) == len(attempts.at) - 1


@pytest.mark.looptime
async def test_a_success_begins_the_window_and_the_waits_anew():
    for _ in range(3):
        attempts = Attempts(8)
        assert await tried(attempts, window=600, max=300, then="quit") == "done"
        assert attempts.waits[0] <= 1


@pytest.mark.looptime
async def test_a_window_of_nothing_is_over_at_the_first_failure():
    attempts = Attempts(1)
    with pytest.raises(GaveUp):
        await tried(attempts, window=0, then="quit")
    assert len(attempts.at) == 1


@pytest.mark.looptime
async def test_other_errors_pass_at_once():
    attempts = Attempts(1, SourceRefused("no"))
    with pytest.raises(SourceRefused):
        await tried(attempts, on=SourceUnavailable)
    assert attempts.reported == []


@pytest.mark.looptime
async def test_a_narrower_error_is_retried_as_its_parent_is():
    attempts = Attempts(2, RateLimited("wait", retry_after=3))
    assert await tried(attempts, on=SourceUnavailable) == "done"


@pytest.mark.looptime
async def test_each_failure_is_reported_before_its_wait():
    attempts = Attempts(3)
    await tried(attempts)
    assert [failure.number for failure in attempts.reported] == [1, 2, 3]
    assert [failure.next_wait_seconds for failure in attempts.reported] == pytest.approx(attempts.waits, abs=0.01)


@pytest.mark.looptime
async def test_waking_ends_a_wait_and_only_that_one():
    nap = Nap()
    attempts = Attempts(2, SinkUnavailable("too many", retry_after=1000))
    async with anyio.create_task_group() as group:

        async def wake():
            await anyio.sleep(10)
            assert nap.wake()

        group.start_soon(wake)
        await retry(attempts, RetryPolicy(), on=SinkUnavailable, sleep=nap.sleep, report=attempts.report)
    assert attempts.waits == [pytest.approx(10, abs=0.1), pytest.approx(1000, abs=1)]


@pytest.mark.looptime
async def test_nobody_is_woken_where_nobody_sleeps():
    nap = Nap()
    assert not nap.wake()
    await nap.sleep(1)
    assert not nap.wake()
    with anyio.move_on_after(1):
        await nap.sleep(100)
    assert not nap.wake()


@pytest.mark.looptime
async def test_a_stop_ends_retrying():
    attempts = Attempts(10_000)
    with anyio.move_on_after(100) as stopped:
        await tried(attempts)
    assert stopped.cancelled_caught
    tries = len(attempts.at)
    await anyio.sleep(1000)
    assert len(attempts.at) == tries


@given(st.floats(0.001, 1000), st.floats(1, 10_000), st.one_of(st.none(), st.floats(0, 1e12)), st.integers(1, 60))
@pytest.mark.looptime
async def test_every_wait_is_within_its_bounds(initial, factor, retry_after, failures):
    attempts = Attempts(failures, SinkUnavailable("away", retry_after=retry_after))
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    policy = RetryPolicy(initial=initial, max=initial * factor, window=10**8)
    await retry(attempts, policy, on=SinkUnavailable, sleep=sleep, report=attempts.report)
    floor = min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS)
    assert len(slept) == failures
    for number, seconds in enumerate(slept):
        ceiling = min(initial * factor, initial * 2.0**number)
        assert max(floor, min(0.05, ceiling)) <= seconds <= max(floor, ceiling)
