"""The outbox: a page is on disk whole or not at all, and a batch stays until its sink has it."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace

import anyio
import pytest

from collectord.dead_letters import DeadLetters
from collectord.errors import BatchRejected, StoreError, StoreFull
from collectord.outbox import Acceptance, Entry, SeenPage, StreamKey
from tests.disks import fill, small_disk
from tests.fakes import KEY, acceptance, batch, everything, open_outbox

OTHER = StreamKey("other", "events")
USERS = StreamKey("okta-prod", "users")


# -------------------------------------------------------------------------------------------------- accept, acknowledge


async def test_accepted_page_is_there_after_a_reopen(tmp_path):
    first, second, third = batch(b"1", b"2"), batch(b"3", compress=True), batch(b"4")
    async with open_outbox(tmp_path) as outbox:
        assert outbox.checkpoint(KEY) is None
        await outbox.accept(acceptance(1, first, second))
        await outbox.accept(acceptance(2, third))
        assert outbox.checkpoint(KEY) == {"at": 2}
    async with open_outbox(tmp_path) as outbox:
        assert outbox.checkpoint(KEY) == {"at": 2}
        entries = await everything(outbox)
        assert [entry.batch for entry in entries] == [first, second, third]
        assert {entry.key for entry in entries} == {KEY}
        assert outbox.by_stream[KEY].records == outbox.by_sink["default"].records == 4
        assert outbox.by_sink["default"].size == sum(len(each.body) for each in (first, second, third))


async def test_acknowledged_batch_is_gone_after_a_reopen(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(acceptance(1, batch(b"1", b"2"), batch(b"3")))
        first, second = await everything(outbox)
        outbox.count_delivered(first)
        await outbox.acknowledge(first.seq)
        assert outbox.delivered[KEY] == 2
        assert outbox.by_stream[KEY].records == 1
    async with open_outbox(tmp_path) as outbox:
        (only,) = await everything(outbox)
        assert only == second
        outbox.count_delivered(only)
        await outbox.acknowledge(only.seq)
        assert outbox.by_sink["default"].records == outbox.by_sink["default"].size == 0
    async with open_outbox(tmp_path) as outbox:
        assert await everything(outbox) == []
        assert outbox.checkpoint(KEY) == {"at": 1}


async def test_every_sink_has_its_own_copy(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(Acceptance(KEY, {}, {"default": [batch(b"1")], "second": [batch(b"1")]}))
        (mine,) = await everything(outbox, "default")
        outbox.count_delivered(mine)
        await outbox.acknowledge(mine.seq)
        assert len(await everything(outbox, "second")) == 1
        assert await everything(outbox, "default") == []


async def test_a_page_that_cannot_be_kept_leaves_no_trace(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(acceptance(1, batch(b"1")))
        with pytest.raises(StoreError):
            await outbox.accept(replace(acceptance(2, batch(b"2")), seen=SeenPage(1, [object()])))  # type: ignore[list-item]
        assert outbox.checkpoint(KEY) == {"at": 1}
        assert outbox.by_sink["default"].records == 1
        await outbox.accept(acceptance(3, batch(b"3")))
    async with open_outbox(tmp_path) as outbox:
        assert outbox.checkpoint(KEY) == {"at": 3}
        assert [entry.batch.body for entry in await everything(outbox)] == [b"1\n", b"3\n"]


async def test_on_a_full_disk_nothing_is_accepted_and_everything_is_acknowledged(tmp_path):
    big = b"x" * 300_000
    with small_disk(tmp_path / "disk") as disk:
        async with open_outbox(disk / "state") as outbox:
            await outbox.accept(acceptance(1, *(batch(big) for _ in range(4))))
            filler = fill(disk)
            accepted = 1
            for at in range(2, 20):
                try:
                    await outbox.accept(acceptance(at, *(batch(big) for _ in range(4))))
                except StoreFull:
                    break
                accepted = at
            assert outbox.checkpoint(KEY) == {"at": accepted}
            waiting = await everything(outbox)
            assert len(waiting) == 4 * accepted
            for entry in waiting[:-1]:
                outbox.count_delivered(entry)
                await outbox.acknowledge(entry.seq)
            with pytest.raises(StoreFull, match="free some space"):
                await outbox.accept(acceptance(50, *(batch(big) for _ in range(30))))
        async with open_outbox(disk / "state") as outbox:
            assert [entry.batch.id for entry in await everything(outbox)] == [waiting[-1].batch.id]
            filler.unlink()
            await outbox._store.tidy()
            await outbox.accept(acceptance(60, batch(big)))


# --------------------------------------------------------------------------------------------------------------- offers


async def test_what_is_offered_is_on_disk_already(tmp_path):
    offered = []

    def look(entries):
        with closing(sqlite3.connect(f"file:{tmp_path}/state.db?mode=ro", uri=True)) as reader:
            (rows,) = reader.execute("SELECT count(*) FROM batch").fetchone()
            offered.append((rows, [entry.batch.body for entry in entries]))

    async with open_outbox(tmp_path) as outbox:
        await outbox.attach("default", look)
        await outbox.accept(acceptance(1, batch(b"1"), batch(b"2")))
        await outbox.accept(acceptance(2))
        await outbox.accept(acceptance(3, batch(b"3")))
        outbox.detach("default")
        await outbox.accept(acceptance(4, batch(b"4")))
    assert offered == [(2, [b"1\n", b"2\n"]), (3, [b"3\n"])]


@pytest.mark.parametrize("ticks", range(10))
async def test_a_page_that_is_cut_is_kept_and_noted_and_offered_or_none_of_it(tmp_path, ticks):
    offered: list[Entry] = []
    async with open_outbox(tmp_path) as outbox:
        await outbox.attach("default", offered.extend)
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.accept, acceptance(1, batch(b"1")))
            for _ in range(ticks):
                await anyio.sleep(0)
            group.cancel_scope.cancel()
        kept = outbox.checkpoint(KEY) is not None
        assert [entry.batch.body for entry in offered] == [b"1\n"] * kept
        assert len(await everything(outbox)) == outbox.by_sink["default"].records == kept


@pytest.mark.parametrize("seed", range(20))
async def test_attaching_amid_pages_misses_none_and_sees_none_twice(tmp_path, seed):
    """A sink opens while sources collect: each entry is behind a lane, or offered; never both, never neither."""
    chance = random.Random(seed)
    offered: list[int] = []
    lanes: dict[str, int] = {}
    async with open_outbox(tmp_path) as outbox:

        async def collect(name):
            for at in range(12):
                for _ in range(chance.randrange(4)):
                    await anyio.sleep(0)
                await outbox.accept(acceptance(at, batch(b"1"), key=StreamKey(name, "events")))

        async def attach():
            for _ in range(chance.randrange(60)):
                await anyio.sleep(0)
            lanes.update(await outbox.attach("default", lambda entries: offered.extend(entry.seq for entry in entries)))

        async with anyio.create_task_group() as group:
            for name in "abcde":
                group.start_soon(collect, name)
            group.start_soon(attach)
        newest = dict(lanes)
        everywhere = [
            (name, entry.seq) for name in "abcde" for entry in await outbox.waiting("default", name, 0, 10**9)
        ]
    assert len(everywhere) == 60
    for name, seq in everywhere:
        assert (seq <= newest.get(name, 0)) != (seq in offered)
    assert offered == sorted(offered)


# --------------------------------------------------------------------------------------------------------------- limits


async def test_a_full_buffer_holds_the_next_page_up_until_there_is_room(tmp_path):
    async with open_outbox(tmp_path, limit=100) as outbox:
        await outbox.accept(acceptance(1, batch(b"x" * 59)))
        assert outbox.full({"default": 30}) == []
        assert outbox.full({"default": 40}) == ["default"]
        with anyio.move_on_after(0.05) as waited:
            await outbox.accept(acceptance(2, batch(b"x" * 59)))
        assert waited.cancelled_caught
        assert (outbox.by_sink["default"].size, outbox.by_sink["default"].records) == (60, 1)
        assert outbox.checkpoint(KEY) == {"at": 1}
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.accept, acceptance(2, batch(b"x" * 59)))
            await anyio.sleep(0.02)
            (entry,) = await everything(outbox)
            outbox.count_delivered(entry)
            await outbox.acknowledge(entry.seq)
        assert outbox.checkpoint(KEY) == {"at": 2}


async def test_dead_letters_take_a_part_of_the_buffer_until_they_are_dropped(tmp_path):
    async with open_outbox(tmp_path, limit=100) as outbox:
        await outbox.accept(acceptance(1, batch(b"x" * 59)))
        (entry,) = await everything(outbox)
        await outbox.bury(entry, [(entry.batch, BatchRejected("cannot be read", code=400))])
        outbox.count_delivered(entry, buried=1)
        await outbox.acknowledge(entry.seq)
        assert outbox.full({"default": 30, "other": 1}) == []
        assert outbox.full({"default": 40}) == ["default"]
    async with open_outbox(tmp_path, limit=100) as outbox:
        assert outbox.full({"default": 40}) == ["default"]
        letters = DeadLetters(outbox._store, outbox)
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.accept, acceptance(2, batch(b"x" * 59)))
            await anyio.sleep(0.02)
            assert outbox.checkpoint(KEY) == {"at": 1}
            await letters.drop(entry.batch.id)
        assert outbox.checkpoint(KEY) == {"at": 2}


async def test_two_pages_cannot_pass_the_limit_together(tmp_path):
    async with open_outbox(tmp_path, limit=100) as outbox, anyio.create_task_group() as group:
        await outbox.accept(acceptance(0, batch(b"x")))
        for name in "abcd":
            group.start_soon(outbox.accept, acceptance(1, batch(b"x" * 59), key=StreamKey(name, "events")))
        await anyio.sleep(0.05)
        assert outbox.by_sink["default"].size == 62
        group.cancel_scope.cancel()


async def test_a_page_larger_than_the_buffer_goes_in_when_nothing_waits(tmp_path):
    async with open_outbox(tmp_path, limit=100) as outbox:
        with anyio.fail_after(5):
            await outbox.accept(acceptance(1, batch(b"x" * 500)))
            await outbox.accept(acceptance(2))
        assert outbox.full({"default": 0}) == ["default"]


async def test_a_larger_buffer_wakes_what_waits_and_a_sink_that_is_gone_holds_nobody_up(tmp_path):
    async with open_outbox(tmp_path, limit=100) as outbox:
        await outbox.accept(acceptance(0, batch(b"x" * 99)))
        for at, limit in enumerate([300, None]):
            async with anyio.create_task_group() as group:
                group.start_soon(outbox.accept, acceptance(at + 1, batch(b"x" * 99)))
                await anyio.sleep(0.02)
                assert outbox.checkpoint(KEY) == {"at": at}
                outbox.limit("default", limit)
            assert outbox.checkpoint(KEY) == {"at": at + 1}


async def test_the_backlog_of_the_last_run_counts_against_the_limit(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(acceptance(1, batch(b"x" * 99)))
    async with open_outbox(tmp_path, limit=100) as outbox:
        assert outbox.full({"default": 0}) == ["default"]


# -------------------------------------------------------------------------------------------------------------- reading


async def test_a_lane_is_read_in_pieces_in_order(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        for at in range(20):
            await outbox.accept(acceptance(at, batch(b"%d" % at), key=(KEY, USERS)[at % 2]))
            await outbox.accept(acceptance(at, batch(b"other"), key=OTHER))
        assert len(await outbox.waiting("default", "okta-prod", 0, 1)) == 1
        read = []
        after = 0
        while entries := await outbox.waiting("default", "okta-prod", after, 8):
            assert sum(len(entry.batch.body) for entry in entries[:-1]) < 8
            read += entries
            after = entries[-1].seq
        assert [entry.batch.body for entry in read] == [b"%d\n" % at for at in range(20)]
        assert [entry.key for entry in read] == [KEY, USERS] * 10


def spoil(directory, statement, *values):
    with closing(sqlite3.connect(directory / "state.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


@pytest.mark.parametrize(
    "change",
    [
        "body = CAST(replace(CAST(body AS TEXT), '2', '3') AS BLOB)",
        "id = 'another'",
        "count = 2",
        "encoding = 'gzip'",
        "stream = 'users'",
        "crc = 7",
        "id = CAST(x'ff' AS TEXT)",
    ],
)
async def test_a_batch_that_is_not_as_it_was_is_a_dead_letter_and_those_behind_it_are_delivered(tmp_path, change):
    async with open_outbox(tmp_path) as outbox:
        for at in range(1, 5):
            await outbox.accept(acceptance(at, batch(b"%d" % at)))
    spoil(tmp_path, f"UPDATE batch SET {change} WHERE seq = 2")
    async with open_outbox(tmp_path) as outbox:
        assert [entry.batch.body for entry in await everything(outbox)] == [b"1\n", b"3\n", b"4\n"]
        assert outbox.dead_letters["default"].records >= 1
        assert outbox.by_sink["default"].records == 3
        assert outbox.delivered[KEY] == 0
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert "damaged on disk" in connection.execute("SELECT reason FROM dead_letter").fetchone()[0]


@pytest.mark.parametrize("damaged", [(1,), (1, 2, 3), (2, 3), (4,), (1, 2, 3, 4)])
async def test_damaged_batches_larger_than_a_piece_hide_nothing_behind_them(tmp_path, damaged):
    async with open_outbox(tmp_path) as outbox:
        for at in range(1, 5):
            await outbox.accept(acceptance(at, batch(b"%d" % at * 1000)))
    for seq in damaged:
        spoil(tmp_path, "UPDATE batch SET crc = crc + 1 WHERE seq = ?", seq)
    async with open_outbox(tmp_path) as outbox:
        after, found = 0, []
        while entries := await outbox.waiting("default", "okta-prod", after, 10):
            found += entries
            after = entries[-1].seq
        assert [entry.seq for entry in found] == [seq for seq in range(1, 5) if seq not in damaged]
        assert outbox.dead_letters["default"].records == len(damaged)


# --------------------------------------------------------------------------------------------------------- dead letters


async def test_what_a_sink_refuses_for_good_is_kept_with_its_reason_and_counted_once(tmp_path):
    refused = batch(b"2")
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(acceptance(1, batch(b"1", b"2", b"3")))
        (entry,) = await everything(outbox)
        for _ in range(2):
            await outbox.bury(entry, [(refused, BatchRejected("cannot be read", code=400, info="line 1"))])
        assert outbox.dead_letters["default"].records == 1
        outbox.count_delivered(entry, buried=1)
        await outbox.acknowledge(entry.seq)
        assert outbox.delivered[KEY] == 2
        assert outbox.by_stream[KEY].records == 0
    async with open_outbox(tmp_path) as outbox:
        assert outbox.dead_letters["default"].records == 1
        rows = await outbox._store.read(lambda connection: connection.execute("SELECT * FROM dead_letter").fetchall())
    (row,) = rows
    assert row[:7] == (refused.id, "default", "okta-prod", "events", 1, 400, "cannot be read: line 1")
    assert row[-1] == b"2\n"


# --------------------------------------------------------------------------------------------------------------- ids


async def test_ids_are_remembered_as_long_as_they_are_wanted(tmp_path):
    odd = ["a", "b\nc", "", "\ud800", "é"]
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(replace(acceptance(1), seen=SeenPage(1000, odd)))
        await outbox.accept(replace(acceptance(2), seen=SeenPage(2000, ["d"])))
        await outbox.accept(replace(acceptance(2, key=USERS), seen=SeenPage(10, ["u"])))
    async with open_outbox(tmp_path) as outbox:
        assert await outbox.seen(KEY) == [SeenPage(1000, odd), SeenPage(2000, ["d"])]
        await outbox.accept(replace(acceptance(3), seen=SeenPage(3000, ["e"]), forget_seen_before_ms=1001))
        assert await outbox.seen(KEY) == [SeenPage(2000, ["d"]), SeenPage(3000, ["e"])]
        assert await outbox.seen(USERS) == [SeenPage(10, ["u"])]
        assert await outbox.seen(OTHER) == []


async def test_ids_are_forgotten_though_nothing_new_is_remembered(tmp_path):
    """As at the end of an inventory: after a restart the next sweep must deliver everybody again."""
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(replace(acceptance(1), seen=SeenPage(1000, ["a"])))
        await outbox.accept(replace(acceptance(2), forget_seen_before_ms=1001))
    async with open_outbox(tmp_path) as outbox:
        assert await outbox.seen(KEY) == []


async def test_damaged_ids_suppress_nothing(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(replace(acceptance(1), seen=SeenPage(1, ["a"])))
        await outbox.accept(replace(acceptance(2), seen=SeenPage(2, ["b"])))
    spoil(tmp_path, "UPDATE seen SET ids = CAST('[\"c\"]' AS BLOB) WHERE newest_ms = 1")
    spoil(tmp_path, "UPDATE seen SET stream = 'users' WHERE newest_ms = 2")
    async with open_outbox(tmp_path) as outbox:
        assert await outbox.seen(KEY) == []
        assert await outbox.seen(USERS) == []


async def test_a_source_has_the_same_number_in_every_run(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        first = await outbox.identify(["b", "a"])
    async with open_outbox(tmp_path) as outbox:
        again = await outbox.identify(["c", "a"])
    assert again == first | {"c": 3}
    assert sorted(first.values()) == [1, 2]
