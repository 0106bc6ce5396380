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
