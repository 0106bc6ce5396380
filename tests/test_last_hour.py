"""The minutes of the last hour, as the Collection page draws them."""

from __future__ import annotations

import sys

import pytest

from collectord.last_hour import MINUTES, LastHour

NOON = 1_788_220_800_000
MINUTE = 60_000


@pytest.fixture
def last_hour() -> LastHour:
    return LastHour()


def test_what_came_in_one_minute_is_one_number(last_hour):
    last_hour.add(3, NOON)
    last_hour.add(4, NOON + MINUTE - 1)
    last_hour.add(5, NOON + MINUTE)
    assert last_hour.counts(NOON + MINUTE) == [0] * 58 + [7, 5]


def test_minutes_move_on_without_records(last_hour):
    last_hour.add(3, NOON)
    assert last_hour.counts(NOON + 10 * MINUTE) == [0] * 49 + [3] + [0] * 10


def test_after_an_hour_nothing_is_left(last_hour):
    last_hour.add(3, NOON)
    assert last_hour.counts(NOON + (MINUTES - 1) * MINUTE) == [3] + [0] * 59
    assert last_hour.counts(NOON + MINUTES * MINUTE) == []
    last_hour.add(1, NOON + 61 * MINUTE)
    assert last_hour.counts(NOON + 61 * MINUTE) == [0] * 59 + [1]


def test_a_clock_that_goes_back_loses_nothing(last_hour):
    last_hour.add(3, NOON)
    last_hour.add(4, NOON - 30 * MINUTE)
    assert sum(last_hour.counts(NOON - 30 * MINUTE)) == sum(last_hour.counts(NOON)) == 7


def test_a_stream_at_rest_takes_no_memory(last_hour):
    last_hour.add(0, NOON)
    assert last_hour._counts is None
    assert sys.getsizeof(last_hour) < 100
