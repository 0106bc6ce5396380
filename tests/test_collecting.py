"""What a stream's loop says of itself: how far behind it is, while it is behind and when it has caught up."""

import time

from collectord.collecting import Collector, Surroundings
from collectord.errors import SourceRefused
from collectord.health import HealthBoard, Resource, State, StreamStatus
from collectord.records import Page, Record
from collectord.settings import RetryPolicy
from tests.fakes import KEY, METADATA, RecordingSink, open_outbox

DAY = 86_400.0


class Pages:
    """Gives these pages and then refuses, so that a poll ends behind any of them."""

    def __init__(self, *pages):
        self.pages = list(pages)

    async def fetch(self, _cursor):
        if not self.pages:
            raise SourceRefused("no more pages in this test")
        return self.pages.pop(0)

    async def probe(self):
        raise NotImplementedError


def aged(seconds):
    return Record(b"{}", str(seconds), int(1000 * (time.time() - seconds)))


async def lag_behind(directory, *pages):
    """What the loop says of its lag when these pages are in the outbox."""
    async with open_outbox(directory) as outbox:
        health = HealthBoard(outbox._store)
        await health.load()
        around = Surroundings(
            outbox, health, Resource("Source", 1, KEY.source), {"default": RecordingSink()}, None, RetryPolicy()
        )
        status = StreamStatus("events", 300.0, State.INITIALIZED)
        await Collector(KEY, Pages(*pages), METADATA, status, around).run_once()
        return status.lag_seconds()


async def test_lag_is_the_age_of_the_newest_record_while_there_is_more(tmp_path):
    lag = await lag_behind(tmp_path, Page([aged(3 * DAY), aged(2 * DAY)], {"at": 1}, more=True))
    assert 2 * DAY <= lag < 2 * DAY + 60


async def test_lag_is_nothing_when_the_vendor_has_no_more_however_old_its_records(tmp_path):
    behind = Page([aged(2 * DAY)], {"at": 1}, more=True)
    assert await lag_behind(tmp_path, behind, Page([], {"at": 2})) < 60


async def test_lag_is_what_the_vendor_says_where_it_says_something(tmp_path):
    mark_ms = int(1000 * (time.time() - 5 * DAY))
    lag = await lag_behind(tmp_path, Page([aged(DAY)], {"at": 1}, more=True, complete_to_ms=mark_ms))
    assert 5 * DAY <= lag < 5 * DAY + 60


class AskedWhere(Pages):
    """Also knows with which cursors it was asked."""

    def __init__(self, *pages):
        super().__init__(*pages)
        self.cursors = []

    async def fetch(self, cursor):
        self.cursors.append(cursor)
        return await super().fetch(cursor)


async def cursors_of_one_poll(directory, *pages):
    vendor = AskedWhere(*pages)
    async with open_outbox(directory) as outbox:
        health = HealthBoard(outbox._store)
        await health.load()
        around = Surroundings(
            outbox, health, Resource("Source", 1, KEY.source), {"default": RecordingSink()}, None, RetryPolicy()
        )
        status = StreamStatus("events", 300.0, State.INITIALIZED)
        await Collector(KEY, vendor, METADATA, status, around).run_once()
    return vendor.cursors


async def test_a_vendor_that_stands_still_once_is_asked_on_in_the_same_poll(tmp_path):
    """Netskope, after a restart in the middle of a backlog."""
    here = Page([], {"at": 1}, more=True)
    pages = (Page([aged(9)], {"at": 1}, more=True), here, Page([aged(8)], {"at": 2}, more=True), Page([], {"at": 3}))
    assert await cursors_of_one_poll(tmp_path, *pages) == [None, {"at": 1}, {"at": 1}, {"at": 2}]


async def test_a_vendor_that_stands_still_again_is_not_asked_in_a_tight_loop(tmp_path):
    here = Page([], {"at": 1}, more=True)
    cursors = await cursors_of_one_poll(tmp_path, Page([aged(9)], {"at": 1}, more=True), *[here] * 9)
    assert cursors == [None, {"at": 1}, {"at": 1}]
