"""Elasticsearch at its worst, and a daemon stopped at any moment: each document exactly once, or a dead letter once."""

import random
import sqlite3
from contextlib import closing

import anyio
import orjson
import pytest
from isal import igzip
from isal.isal_zlib import crc32

from collectord.demo.faults import Cut, HtmlPage, Reset, Slow, Status
from collectord.records import Record
from tests.fakes import acceptance, open_outbox
from tests.sinks.elasticsearch import Elasticsearch
from tests.sinks.sending import METADATA, near, raw, records
from tests.test_delivering import delivering

FAULTS = (
    Status(503),
    Status(500, vendor_acts=True),
    Status(429),
    HtmlPage(),
    Reset("before_status"),
    Reset("in_body"),
    Cut("length"),
    Cut("chunked"),
    Cut("close"),
    Slow(before=30),
)
VERDICTS = [(429, "es_rejected_execution_exception", ""), (503, "unavailable_shards_exception", ""), None, None]
LIVES = 4
PAGES = 4


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_each_document_is_there_once_or_a_dead_letter_once(tmp_path, session, seed):
    chance = random.Random(seed)
    far = Elasticsearch()

    def verdict(document):
        if crc32(document) % 50 == 0:
            return 400, "document_parsing_exception", "a poison document"
        return chance.choice(VERDICTS)

    far.verdict = verdict
    issued: list[Record] = []
    async with far.serve():
        for life in range(LIVES):
            far.largest = chance.choice([None, 3000])  # less than some batches, more than any document
            far.chaos(0.5, seed=100 * seed + life, kinds=FAULTS)
            async with open_outbox(tmp_path) as outbox:
                sink = near(far, session, timeout=0.2, max_batch_bytes=chance.choice([4096, 65536]))
                async with delivering(outbox, sink, initial=0.001, max=0.01) as delivery:
                    for _ in range(PAGES):
                        page = records(chance.randrange(1, 80), first=len(issued), filler=b"x" * chance.randrange(200))
                        issued += page
                        await outbox.accept(acceptance(len(issued), *sink.encode(page, METADATA)))
                        await anyio.sleep(chance.random() / 20)
                    if life == LIVES - 1:
                        far.faults.clear()
                        with anyio.fail_after(30):
                            while outbox.by_sink["default"].records:
                                await outbox._room.wait()
                        assert delivery.status.state == "Healthy"
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("SELECT count(*) FROM batch").fetchone() == (0,)
        bodies = connection.execute("SELECT body FROM dead_letter").fetchall()
    buried = [orjson.loads(igzip.decompress(body).split(b"\n")[1])["message"].encode() for (body,) in bodies]
    assert sorted([*far.events(), *buried]) == sorted(raw(issued))
    assert len(buried) > 0
