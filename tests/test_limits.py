"""Budgets: requests are paced before a vendor has to say so, and all who share a limit share its budget."""

import math

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.limits import Budget, Budgets, Limits


def limits(counted_by="tenant", **options):
    return Limits(counted_by=counted_by, rest_seconds=lambda status, headers, now: 0.0, **options)


async def requests(budget, number, taking=0.0):
    """Make so many requests at once, each taking so long; returns when each began."""
    began: list[float] = []

    async def one():
        async with budget.turn():
            began.append(anyio.current_time())
            await anyio.sleep(taking)

    async with anyio.create_task_group() as group:
        for _ in range(number):
            group.start_soon(one)
    return began


@pytest.mark.looptime
async def test_without_a_known_limit_only_the_requests_in_flight_are_bounded(looptime):
    began = await requests(Budget(limits(in_flight=3)), 9, taking=10)
    assert [round(at) for at in began] == [0, 0, 0, 10, 10, 10, 20, 20, 20]


@pytest.mark.looptime
async def test_requests_are_paced_from_the_first_one_on():
    began = await requests(Budget(limits(per_second=0.5, in_flight=100)), 5)
    assert began == pytest.approx([0, 2, 4, 6, 8], abs=0.01)


@pytest.mark.looptime
async def test_a_burst_may_pass_and_is_earned_again_by_waiting():
    budget = Budget(limits(per_second=1, burst=3, in_flight=100))
    assert await requests(budget, 5) == pytest.approx([0, 0, 0, 1, 2], abs=0.01)
    await anyio.sleep(1000)
    again = await requests(budget, 5)
    assert [at - again[0] for at in again] == pytest.approx([0, 0, 0, 1, 2], abs=0.01)


@pytest.mark.looptime
async def test_a_rest_holds_everybody_up_those_who_wait_already_too(looptime):
    budget = Budget(limits())
    budget.rest(10)
    assert budget.resting_seconds == 10
    async with anyio.create_task_group() as group:
        group.start_soon(requests, budget, 3)
        await anyio.sleep(5)
        budget.rest(60)
    assert looptime == pytest.approx(65, abs=0.1)
    assert budget.resting_seconds == 0


@pytest.mark.looptime
async def test_a_shorter_rest_does_not_undo_a_longer_one(looptime):
    budget = Budget(limits())
    budget.rest(60)
    budget.rest(1)
    await requests(budget, 1)
    assert looptime == pytest.approx(60, abs=0.1)


@pytest.mark.looptime
async def test_a_cut_wait_and_a_failed_request_give_their_place_back():
    budget = Budget(limits(in_flight=1))

    async def fail():
        async with budget.turn():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    budget.rest(100)
    with anyio.move_on_after(1):
        await fail()
    await anyio.sleep(100)
    with anyio.fail_after(1):
        await requests(budget, 2)


@pytest.mark.looptime
async def test_one_task_may_hold_two_turns():
    budget = Budget(limits(in_flight=2))
    with anyio.fail_after(1):
        async with budget.turn(), budget.turn():
            pass


async def test_those_who_are_counted_together_share_a_budget_and_no_others_do():
    budgets = Budgets()
    events = budgets.get(limits("a"), "/logs")
    assert budgets.get(limits("a"), "/logs") is events
    assert budgets.get(limits("a"), "/users") is not events
    assert budgets.get(limits("b"), "/logs") is not events


@settings(max_examples=60)
@given(
    st.floats(0.1, 50),
    st.integers(1, 8),
    st.integers(1, 6),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 6), st.floats(0, 2)), max_size=8),
)
@pytest.mark.looptime
async def test_never_more_than_allowed_in_any_window(per_second, burst, in_flight, arrivals):
    """However requests arrive and however long they take: burst and rate hold between any two of them."""
    budget = Budget(limits(per_second=per_second, burst=burst, in_flight=in_flight))
    began: list[float] = []
    flying = 0

    async def one(taking):
        nonlocal flying
        async with budget.turn():
            flying += 1
            assert flying <= in_flight
            began.append(anyio.current_time())
            await anyio.sleep(taking)
            flying -= 1

    async with anyio.create_task_group() as group:
        for pause, number, taking in arrivals:
            await anyio.sleep(pause)
            for _ in range(number):
                group.start_soon(one, taking)
    for first, start in enumerate(began):
        for last in range(first, len(began)):
            assert last - first + 1 <= burst + math.floor((began[last] - start + 1e-5) * per_second)
