"""A sink that judges records one by one: what it puts off goes again alone, what it refuses is buried alone."""

import sqlite3
from contextlib import closing

import pytest
from isal import igzip

from collectord.errors import BatchRejected, BatchTooLarge, SinkUnavailable
from collectord.records import Batch
from collectord.sink import Outcome
from tests.fakes import KEY, RecordingSink, acceptance, batch, open_outbox
from tests.test_delivering import delivering, drained


def judged(*, refused=(), rest=(), because=None):
    """An outcome by positions of records."""

    def judge(batch):
        left, *alone = batch.picks(rest, *([at] for at in refused))
        parts = [(part, BatchRejected("no", code=400, info="poison")) for part in alone]
        return Outcome(parts, left if rest else None, because)

    return judge


@pytest.mark.looptime
async def test_what_the_sink_puts_off_is_sent_again_alone_and_what_it_refuses_is_buried_alone(tmp_path, looptime):
    made = batch(*(b"%d" % number for number in range(10)), compress=True)
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.append(judged(refused=[3, 5], rest=[1, 2, 9], because=SinkUnavailable("busy", retry_after=7)))
        sink.script.append(judged(refused=[2], rest=[0]))
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, made, batch(b"next")))
            await drained(outbox)
            assert outbox.dead_letters["default"].records == 3
            assert outbox.delivered[KEY] == 8
    assert [each.lines().split() for each in sink.sent[1:]] == [[b"1", b"2", b"9"], [b"1"], [b"next"]]
    assert looptime >= 7
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        rows = connection.execute("SELECT count, code, encoding, body FROM dead_letter").fetchall()
    assert sorted(igzip.decompress(body) for _, _, _, body in rows) == [b"3\n", b"5\n", b"9\n"]
    assert {row[:3] for row in rows} == {(1, 400, "gzip")}


@pytest.mark.looptime
async def test_a_part_that_is_too_large_is_split_and_the_rest_of_the_story_is_kept(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        sink = RecordingSink()
        sink.script.append(judged(refused=[0], rest=[1, 2, 3]))
        sink.script.append(BatchTooLarge("too large"))
        sink.script.append(BatchRejected("no"))
        async with delivering(outbox, sink):
            await outbox.accept(acceptance(1, batch(b"0", b"1", b"2", b"3")))
            await drained(outbox)
            assert outbox.dead_letters["default"].records == 2
            assert outbox.delivered[KEY] == 2
    assert sink.lines == [b"2", b"3"]


def pick(batch, *positions):
    (part,) = batch.picks(positions)
    return part


def test_a_part_has_the_same_id_whatever_it_was_picked_from():
    made = batch(*(b"%d" % number for number in range(8)), compress=True)
    direct = pick(made, 3)
    assert direct.lines() == b"3\n"
    assert pick(pick(made, 2, 3), 1) == direct
    assert pick(made.split()[0], 3) == direct
    assert pick(made, 4).id != direct.id
    assert pick(batch(b"3"), 0).id != direct.id


def test_a_record_of_two_lines_is_picked_whole():
    made = Batch.finish(b"a1\na2\nb1\nb2\nc1\nc2\n", 3, compress=False)
    assert pick(made, 0, 2).lines() == b"a1\na2\nc1\nc2\n"
    assert [part.count for part in made.picks([0, 2], [1])] == [2, 1]
