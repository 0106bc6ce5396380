"""A sink's lanes: each source's batches in order, none lost, the same bytes under the same key at every attempt."""

import random
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager, closing

import anyio
import pytest

from collectord.delivering import MAX_UNACKNOWLEDGED, SEATS, Delivery
from collectord.errors import BatchRejected, BatchTooLarge, SinkRefused, SinkUnavailable, StoreFull
from collectord.health import HealthBoard, SinkStatus
from collectord.outbox import StreamKey
from collectord.settings import RetryPolicy
from tests.disks import fill, python, small_disk
from tests.fakes import KEY, RecordingSink, acceptance, batch, everything, open_outbox

HOUR = 3600.0


@asynccontextmanager
async def delivering(outbox, sink, **policy):
    """Deliver inside; stops, and cuts what does not end."""
    board = HealthBoard(outbox._store)
    delivery = Delivery(sink, RetryPolicy(**policy), outbox, board, SinkStatus("default", "http"))
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await anyio.sleep(0)
        try:
            yield delivery
        finally:
            delivery.stop()
            delivery.cut()
            with anyio.CancelScope(shield=True):
                await delivery.ended.wait()


async def drained(outbox, within=100 * HOUR):
    with anyio.fail_after(within):
        while outbox.by_sink["default"].records:
            await outbox._room.wait()


def source(name):
    return StreamKey(name, "events")


def by_source(sink):
    found: dict[str, list[int]] = {}
    for line in sink.lines:
        name, _, number = line.partition(b" ")
        found.setdefault(name.decode(), []).append(int(number.split()[0]))
    return found


# ---------------------------------------------------------------------------------------------------------------- order


@pytest.mark.looptime
async def test_while_a_lane_keeps_up_nothing_is_read_from_disk(tmp_path):
    statements: Counter[str] = Counter()
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink(seconds=0.01)
        async with delivering(outbox, sink):
            await anyio.sleep(0.1)
            outbox._store._connection.set_trace_callback(lambda statement: statements.update([statement.split()[0]]))
            for at in range(10):
                await outbox.accept(acceptance(at, batch(b"%d" % at), batch(b"and")))
            await drained(outbox)
    assert sink.lines == [line for at in range(10) for line in (b"%d" % at, b"and")]
    assert "SELECT" not in statements


@pytest.mark.looptime
async def test_what_waits_on_disk_goes_before_what_is_new(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        for at in range(20):
            await outbox.accept(acceptance(at, batch(b"%d" % at)))
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink(seconds=1.0)
        async with delivering(outbox, sink):
            for at in range(20, 40):
                await outbox.accept(acceptance(at, batch(b"%d" % at)))
                await anyio.sleep(0.3)
            await drained(outbox)
    assert sink.lines == [b"%d" % at for at in range(40)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.looptime
async def test_however_pages_answers_and_disk_reads_race_each_source_arrives_whole_and_in_order(tmp_path, seed):
    """Some sources have a backlog, pages are large enough to pass what is held in memory, the sink fails at times."""
    chance = random.Random(seed)
    names = ["a", "b", "c"]
    issued: Counter[str] = Counter()

    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink(seconds=chance.choice([0.0, 0.01]))

        async def page(name):
            count = chance.choice([1, 1, 1, 2, 5])
            size = chance.choice([0, 0, 10, 2_500_000])
            made = [batch(b"%s %d %s" % (name.encode(), issued[name] + at, b"x" * size)) for at in range(count)]
            issued[name] += count
            await outbox.accept(acceptance(issued[name], *made, key=source(name)))

        async def collect(name):
            for _ in range(10):
                await page(name)
                for _ in range(chance.randrange(6)):
                    await anyio.sleep(0)
                if chance.random() < 0.1:
                    await anyio.sleep(chance.choice([0.01, 1]))

        for name in names[:2]:
            await page(name)
        async with delivering(outbox, sink):
            async with anyio.create_task_group() as group:
                for name in names:
                    group.start_soon(collect, name)
                for _ in range(5):
                    await anyio.sleep(chance.random() / 10)
                    sink.script.append(SinkUnavailable("away"))
            await drained(outbox)
    assert by_source(sink) == {name: list(range(issued[name])) for name in names}


@pytest.mark.looptime
async def test_lanes_take_turns_and_each_sends_one_batch_at_a_time(tmp_path):
    in_flight: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Watching(RecordingSink):
        async def send(self, batch):
            name = batch.lines().split()[0].decode()
            for key in (name, "all"):
                in_flight[key] += 1
                most[key] = max(most[key], in_flight[key])
            try:
                await super().send(batch)
            finally:
                in_flight.subtract([name, "all"])

    async with open_outbox(tmp_path) as outbox:
        names = [f"s{number}" for number in range(3 * SEATS)]
        for name in names:
            await outbox.accept(
                acceptance(1, *(batch(b"%s %d" % (name.encode(), at)) for at in range(4)), key=source(name))
            )
        sink = Watching(seconds=1.0)
        async with delivering(outbox, sink):
            await drained(outbox)
        first_round = {line.split()[0] for line in sink.lines[: len(names)]}
    assert most["all"] == SEATS
    assert {most[name] for name in names} == {1}
    assert len(first_round) == len(names)
    assert by_source(sink) == {name: [0, 1, 2, 3] for name in names}


# -------------------------------------------------------------------------------------------------------------- trouble


@pytest.mark.looptime
async def test_while_the_sink_is_away_the_same_bytes_go_under_the_same_key(tmp_path, looptime):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.extend([SinkUnavailable("away")] * 30)
        made = batch(b"1", b"2", compress=True)
        async with delivering(outbox, sink) as delivery:
            await outbox.accept(acceptance(1, made))
            await anyio.sleep(0.5)
            assert delivery.status.state == "Error"
            await drained(outbox)
            assert delivery.status.state == "Healthy"
    assert sink.sent == [made] * 31
    assert sink.stored == [made]
    assert 60 < looptime < 2 * HOUR


@pytest.mark.looptime
async def test_an_answer_that_was_lost_makes_a_duplicate_with_the_same_key_and_nothing_else(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.extend([(True, SinkUnavailable("time-out")), None])
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, first := batch(b"1"), second := batch(b"2")))
            await drained(outbox)
    assert sink.stored == [first, first, second]
    assert outbox.delivered[KEY] == 2


@pytest.mark.looptime
async def test_after_the_window_the_sink_is_asked_once_an_hour_for_ever(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.extend([SinkUnavailable("away")] * 10_000)
        async with delivering(outbox, sink, then=HOUR):
            await outbox.accept(acceptance(1, batch(b"1")))
            await anyio.sleep(1.6 * HOUR)
            asked = len(sink.sent)
            assert 15 < asked < 1000
            await anyio.sleep(10 * HOUR)
            assert asked + 9 <= len(sink.sent) <= asked + 11
            sink.script.clear()
            await drained(outbox)


@pytest.mark.looptime
async def test_a_sink_that_is_to_quit_is_not_asked_again_by_any_lane_until_somebody_says_so(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.extend([SinkUnavailable("away")] * 100_000)
        async with delivering(outbox, sink, window=600, then="quit") as delivery:
            for number in range(3 * SEATS):
                await outbox.accept(acceptance(1, batch(b"1"), key=source(f"s{number}")))
            await anyio.sleep(2 * HOUR)
            asked = len(sink.sent)
            await outbox.accept(acceptance(1, batch(b"new"), key=source("new")))
            await anyio.sleep(100 * HOUR)
            assert len(sink.sent) == asked
            assert delivery.status.state == "Error"
            sink.script.clear()
            delivery.retry_now()
            await drained(outbox, 10)
            assert delivery.status.state == "Healthy"


@pytest.mark.looptime
async def test_a_refusal_stops_every_lane_until_somebody_says_so(tmp_path):
    class Refusing(RecordingSink):
        is_refusing = True

        async def send(self, batch):
            if self.is_refusing:
                self.sent.append(batch)
                await anyio.sleep(0.1)
                raise SinkRefused("wrong key", code=401)
            await super().send(batch)

    async with open_outbox(tmp_path) as outbox:
        sink = Refusing()
        async with delivering(outbox, sink) as delivery:
            for number in range(3 * SEATS):
                await outbox.accept(acceptance(1, batch(b"1"), key=source(f"s{number}")))
            await anyio.sleep(100 * HOUR)
            assert len(sink.sent) <= SEATS
            delivery.retry_now()
            await anyio.sleep(HOUR)
            assert SEATS < len(sink.sent) <= 2 * SEATS
            assert outbox.by_sink["default"].records == 3 * SEATS
            sink.is_refusing = False
            delivery.retry_now()
            await drained(outbox, 10)
            assert delivery.status.error is None


@pytest.mark.looptime
async def test_the_rest_that_a_sink_asks_one_lane_for_is_kept_by_all(tmp_path, looptime):
    times = []

    class Timed(RecordingSink):
        async def send(self, batch):
            times.append(float(looptime))
            await super().send(batch)

    async with open_outbox(tmp_path) as outbox:
        sink = Timed()
        sink.script.append(SinkUnavailable("too many", code=429, retry_after=900))
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, batch(b"1"), key=source("first")))
            await anyio.sleep(1)
            for number in range(5):
                await outbox.accept(acceptance(1, batch(b"1"), key=source(f"s{number}")))
            await drained(outbox)
    assert times[0] < 1
    assert min(times[1:]) >= times[0] + 900


@pytest.mark.looptime
async def test_no_sink_may_silence_us_for_more_than_an_hour(tmp_path, looptime):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.append(SinkUnavailable("too many", code=429, retry_after=10**9))
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, batch(b"1")))
            await drained(outbox)
    assert HOUR <= looptime < HOUR + 60


@pytest.mark.looptime
async def test_a_batch_that_the_sink_chokes_on_holds_up_its_own_source_alone(tmp_path, looptime):
    class Choking(RecordingSink):
        async def send(self, batch):
            if b"choke" in batch.lines():
                self.sent.append(batch)
                raise SinkUnavailable("internal error", code=500)
            await super().send(batch)

    async with open_outbox(tmp_path) as outbox:
        sink = Choking()
        board = HealthBoard(outbox._store)
        async with delivering(outbox, sink) as delivery:
            board = delivery._health
            await outbox.accept(acceptance(1, batch(b"choke"), key=source("bad")))
            for at in range(500):
                await outbox.accept(acceptance(at, batch(b"good %d" % at), key=source("good")))
                await anyio.sleep(10)
            assert by_source(sink) == {"good": list(range(500))}
            assert len([each for each in sink.sent if b"choke" in each.body]) < 100
            assert delivery.status.state == "Error"
            assert len(board.recent) == 0
            (event,) = board.open_events.values()
            assert event.count > 5


@pytest.mark.looptime
async def test_one_lane_that_finds_the_sink_well_wakes_the_others(tmp_path, looptime):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.extend([SinkUnavailable("away")] * 200)
        async with delivering(outbox, sink, initial=1, max=300) as delivery:
            for number in range(SEATS):
                await outbox.accept(acceptance(1, batch(b"1"), key=source(f"s{number}")))
            while sink.script:
                await anyio.sleep(1)
            before = float(looptime)
            while not sink.stored:
                await anyio.sleep(0.01)
            found = float(looptime)
            await drained(outbox)
            assert float(looptime) - found < 1
            assert found - before < 300
            assert len(delivery._health.recent) == 1


# -------------------------------------------------------------------------------------------------- too large, rejected


@pytest.mark.looptime
async def test_a_batch_too_large_is_split_until_it_fits(tmp_path):
    made = batch(*(b"%d" % number for number in range(10, 23)))
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.largest = 10
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, made, batch(b"99")))
            await drained(outbox)
            assert outbox.delivered[KEY] == 14
            assert outbox.dead_letters["default"].records == 0
    assert sink.lines == [*(b"%d" % number for number in range(10, 23)), b"99"]
    assert all(len(each.body) <= 10 for each in sink.stored)
    assert all(each.id.startswith(made.id) for each in sink.stored[:-1])


@pytest.mark.parametrize("position", [0, 5, 12])
@pytest.mark.looptime
async def test_a_batch_that_cannot_be_read_is_halved_down_to_the_poison_record_which_is_kept(tmp_path, position):
    lines = [b"%d" % number for number in range(10, 23)]
    lines[position] = b"poison"
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.poison = b"poison"
        async with delivering(outbox, sink) as delivery:
            await outbox.accept(acceptance(1, batch(*lines, compress=True), batch(b"99")))
            await drained(outbox)
            assert outbox.delivered[KEY] == 13
            assert outbox.dead_letters["default"].records == 1
            assert delivery.status.state == "Healthy"
            assert len(sink.sent) < 12
    assert sink.lines == [*(line for line in lines if line != b"poison"), b"99"]
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("SELECT count, code FROM dead_letter").fetchall() == [(1, 400)]


@pytest.mark.looptime
async def test_a_record_too_large_by_itself_is_a_dead_letter(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.largest = 10
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, batch(b"1", b"x" * 20, b"3")))
            await drained(outbox)
            assert outbox.dead_letters["default"].records == 1
    assert sink.lines == [b"1", b"3"]


@pytest.mark.looptime
async def test_a_stop_amid_the_halving_sends_the_same_halves_under_the_same_keys_again(tmp_path):
    made = batch(*(b"%d" % number for number in range(10, 18)), compress=True)
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.extend([BatchTooLarge("too large"), None, SinkUnavailable("away")])
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, made))
            await anyio.sleep(0.01)
            assert len(sink.stored) == 1
    async with open_outbox(tmp_path) as outbox:
        again = RecordingSink()
        again.script.append(BatchTooLarge("too large"))
        async with delivering(outbox, again):
            await drained(outbox)
    assert again.stored[0] == sink.stored[0]
    assert again.lines == [b"%d" % number for number in range(10, 18)]


@pytest.mark.looptime
async def test_burying_survives_a_stop_without_counting_twice(tmp_path):
    for _ in range(3):
        async with open_outbox(tmp_path) as outbox:
            sink = RecordingSink()
            sink.script.extend([BatchRejected("no"), BatchRejected("no"), SinkUnavailable("away")])
            async with delivering(outbox, sink):
                if not outbox.checkpoint(KEY):
                    await outbox.accept(acceptance(1, batch(b"poison", b"2")))
                while len(sink.sent) < 3:
                    await anyio.sleep(0.01)
                assert outbox.dead_letters["default"].records == 1
                assert outbox.by_sink["default"].records == 2


# ------------------------------------------------------------------------------------------------------------ the store


async def use_up(store):
    """Write until there is room for nothing."""
    try:
        while True:
            await store.write(lambda connection: connection.execute("CREATE TABLE x AS SELECT randomblob(4000)"))
            await store.write(lambda connection: connection.execute("DROP TABLE x"))
    except StoreFull:
        return


@pytest.mark.looptime
async def test_a_store_that_cannot_acknowledge_is_tried_again_and_the_sink_is_not(tmp_path):
    """Even without a ballast."""
    with small_disk(tmp_path / "disk") as disk:
        async with open_outbox(disk / "state") as outbox:
            sink = RecordingSink(seconds=1)
            async with delivering(outbox, sink) as delivery:
                await outbox.accept(acceptance(1, batch(b"1")))
                (disk / "state" / "ballast").unlink()
                filler = fill(disk)
                await use_up(outbox._store)
                await anyio.sleep(60)
                if delivery.status.error is not None:
                    assert "full" in delivery.status.error.message
                filler.unlink()
                await anyio.sleep(2 * 60)  # longer than the store is ever left alone
                assert delivery.status.state == "Healthy"
            assert len(sink.sent) == 1
        async with open_outbox(disk / "state") as outbox:
            assert outbox.by_sink["default"].records == 0


@pytest.mark.looptime
async def test_what_is_sent_in_one_moment_is_forgotten_in_one_commit(tmp_path):
    statements: Counter[str] = Counter()
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        async with delivering(outbox, sink):
            for name in ("a", "b"):
                await outbox.accept(acceptance(1, *(batch(b"%d" % at) for at in range(5)), key=source(name)))
            outbox._store._connection.set_trace_callback(lambda statement: statements.update([statement.split()[0]]))
            await drained(outbox)
            assert statements["COMMIT"] == 0
            await anyio.sleep(1)
            assert (statements["DELETE"], statements["COMMIT"]) == (10, 1)


@pytest.mark.looptime
async def test_a_stop_forgets_what_was_sent_a_moment_ago(tmp_path):
    async with open_outbox(tmp_path) as outbox, delivering(outbox, RecordingSink()):
        await outbox.accept(acceptance(1, batch(b"1"), batch(b"2")))
        await drained(outbox)
    async with open_outbox(tmp_path) as outbox:
        assert outbox.by_sink["default"].records == 0


@pytest.mark.looptime
async def test_lanes_wait_while_the_disk_holds_too_much_that_the_sink_has(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        async with delivering(outbox, sink), anyio.create_task_group() as group:
            held = anyio.Event()

            async def hold():
                async with outbox._store._turn:
                    await held.wait()

            await outbox.accept(acceptance(1, *(batch(b"%d" % at) for at in range(2 * MAX_UNACKNOWLEDGED))))
            group.start_soon(hold)
            await anyio.sleep(60)
            assert len(sink.sent) == MAX_UNACKNOWLEDGED + 1
            held.set()
            await drained(outbox)
        assert len(sink.sent) == 2 * MAX_UNACKNOWLEDGED


@pytest.mark.looptime
async def test_a_batch_that_was_damaged_on_disk_is_not_delivered_and_those_behind_it_are(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        for at in range(1, 6):
            await outbox.accept(acceptance(at, batch(b"%d" % at * 3_000_000)))
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("UPDATE batch SET crc = crc + 1 WHERE seq IN (1, 2, 4)")
        connection.commit()
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        async with delivering(outbox, sink):
            await drained(outbox)
            assert outbox.dead_letters["default"].records == 3
            assert outbox.delivered[KEY] == 2
    assert [line[:1] for line in sink.lines] == [b"3", b"5"]


# ----------------------------------------------------------------------------------------------------------------- stop


@pytest.mark.looptime
async def test_a_stop_ends_waiting_at_once_and_lets_what_is_in_flight_arrive(tmp_path, looptime):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink(seconds=5)
        delivery = Delivery(sink, RetryPolicy(), outbox, HealthBoard(outbox._store), SinkStatus("default", "http"))
        async with anyio.create_task_group() as group:
            group.start_soon(delivery.run)
            await outbox.accept(acceptance(1, batch(b"1"), batch(b"2")))
            await anyio.sleep(1)
            delivery.stop()
            await delivery.ended.wait()
        assert looptime == pytest.approx(5, abs=0.5)
        assert sink.lines == [b"1"]
        assert [entry.batch.body for entry in await everything(outbox)] == [b"2\n"]


async def test_what_is_accepted_while_a_stopped_delivery_acknowledges_is_left_to_the_next(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        async with delivering(outbox, sink) as delivery:
            await outbox.accept(acceptance(1, batch(b"1")))
            while not sink.stored:
                await anyio.sleep(0)
            async with anyio.create_task_group() as group:
                group.start_soon(outbox.accept, acceptance(2, batch(b"2"), key=source("other")))
                await anyio.sleep(0)  # the page is on its way to the disk
                delivery.stop()
        async with delivering(outbox, sink):
            await drained(outbox)
        assert sink.lines == [b"1", b"2"]


@pytest.mark.looptime
async def test_a_cut_breaks_off_what_is_in_flight_and_it_is_sent_another_time(tmp_path, looptime):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink(seconds=1000)
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, batch(b"1")))
            await anyio.sleep(1)
        assert looptime == 1
        assert sink.lines == []
        assert sink.in_flight == 0
        assert len(await everything(outbox)) == 1


@pytest.mark.parametrize("waits_for", ["back-off", "refusal", "rest", "seat"])
@pytest.mark.looptime
async def test_a_stop_ends_every_kind_of_waiting(tmp_path, looptime, waits_for):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink(seconds=0.1)
        error = {
            "back-off": SinkUnavailable("away"),
            "refusal": SinkRefused("no"),
            "rest": SinkUnavailable("too many", retry_after=800),
            "seat": SinkUnavailable("away"),
        }[waits_for]
        sink.script.extend([error] * 1000)
        async with delivering(outbox, sink, initial=300, max=300):
            for number in range(2 * SEATS if waits_for == "seat" else 1):
                await outbox.accept(acceptance(1, batch(b"1"), key=source(f"s{number}")))
            await anyio.sleep(10)
            before = float(looptime)
        assert looptime - before < 0.5


@pytest.mark.parametrize("ticks", range(40))
async def test_a_stop_at_any_moment_loses_nothing_and_repeats_only_what_was_cut(tmp_path, ticks):
    """After so many turns of the event loop, in two runs on end."""
    total = 6
    sent = []
    for run in range(3):
        async with open_outbox(tmp_path) as outbox:
            sink = RecordingSink()
            delivery = Delivery(sink, RetryPolicy(), outbox, HealthBoard(outbox._store), SinkStatus("default", "http"))
            async with anyio.create_task_group() as group:
                group.start_soon(delivery.run)
                if run == 0:
                    await outbox.accept(acceptance(1, *(batch(b"s %d" % at) for at in range(total))))
                if run == 2:
                    await drained(outbox, 10)
                for _ in range(ticks):
                    await anyio.sleep(0)
                delivery.stop()
                await delivery.ended.wait()
            sent += sink.lines
    assert sent == [b"s %d" % at for at in range(total)]


# --------------------------------------------------------------------------------------------------------------- memory

MANY = """
import pathlib, resource, sys, anyio
from tests.fakes import RecordingSink, acceptance, batch, open_outbox
from tests.test_delivering import delivering, drained, source
SOURCES, BATCHES = 120, 2

class Counting(RecordingSink):
    async def send(self, batch):
        await anyio.sleep(0.001 if self.sent else 2)  # while it stalls, every lane has the time to read
        self.sent.append(batch.id)

async def fill():
    async with open_outbox(pathlib.Path(sys.argv[1])) as outbox:
        for at in range(BATCHES):
            for number in range(SOURCES):
                made = batch(bytes([97 + number % 26]) * 1_000_000)
                await outbox.accept(acceptance(at, made, key=source(f"s{number}")))

async def drain():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with open_outbox(pathlib.Path(sys.argv[1])) as outbox:
        sink = Counting()
        async with delivering(outbox, sink):
            await drained(outbox)
        assert len(sink.sent) == SOURCES * BATCHES
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

anyio.run({"fill": fill, "drain": drain}[sys.argv[2]])
"""


def test_memory_grows_neither_with_the_backlog_at_the_start_nor_with_the_number_of_sources_that_wait(tmp_path):
    assert python(MANY, tmp_path, "fill").returncode == 0
    ran = python(MANY, tmp_path, "drain")
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 40
