"""The state directory as each released version of its schema wrote it: made once by `python -m tests.golden`, kept.

    unpack(versions()[0], directory)

A file is never made anew for a version that users have. After a new step in `MIGRATIONS`, run the module: it adds the
newest version, and `test_golden_state.py` asks for it.
"""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import anyio

from collectord.errors import BatchRejected, SinkUnavailable, SourceRefused
from collectord.health import HealthBoard, Resource
from collectord.kept import KeptSources
from collectord.outbox import Acceptance, Outbox, SeenPage, StreamKey
from collectord.records import Batch
from collectord.source import AT_REST
from collectord.statefile import MIGRATIONS
from collectord.store import Store

FOLDER = Path(__file__).parent / "golden_state"
KEY = "golden-golden-golden-golden-golden"
"""The key of the sources that are kept encrypted."""

EVENTS, USERS, THREATS = StreamKey("okta-prod", "events"), StreamKey("okta-prod", "users"), StreamKey("s1", "threats")
PLAIN = Batch("00000000000000000000000000000001", 2, b'{"_id":"1"}\n{"_id":"2"}\n')
PACKED = Batch(
    "00000000000000000000000000000002", 1, gzip.compress('{"_id":"3","event":"Zoë"}\n'.encode(), mtime=0), "gzip"
)
REFUSED = Batch("00000000000000000000000000000003", 1, b'{"_id":"4"}\n')
CURSOR = {"next": "/api/v1/logs?after=1627500044869_1&limit=1000"}
SEEN = SeenPage(1_790_000_000_000, ["225494730938493804", "digest:1", "Zoë"])
KEPT = {"config": {"name": "made-here", "apiKey": "golden-secret"}}


async def write_state(directory: Path) -> None:
    """Something in every table; what is where stands above."""
    with closing(Store.open(directory)) as store:
        outbox, health, kept = Outbox(store), HealthBoard(store), KeptSources(store, KEY)
        await outbox.load()
        await outbox.identify(["okta-prod", "s1"])
        await outbox.accept(Acceptance(USERS, AT_REST, {}))
        await outbox.accept(Acceptance(THREATS, {"lo": 1, "after": ["x", None]}, {}, SEEN))
        await outbox.accept(Acceptance(EVENTS, {"next": "before"}, {}))
        await outbox.back_up()
        await outbox.accept(Acceptance(EVENTS, CURSOR, {"default": [PLAIN, PACKED, REFUSED], "second": [PLAIN]}))
        entries = {
            entry.batch.id: entry
            for source, _ in await outbox.attach("default", lambda _: None)
            for entry in await outbox.waiting("default", source, 0, 2**20)
        }
        refused = entries[REFUSED.id]
        await outbox.bury(refused, [(REFUSED, BatchRejected("the sink refuses it", code=400))])
        outbox.count_delivered(refused, buried=1)
        await outbox.acknowledge(refused.seq)
        sink = Resource("Sink", 0, "default")
        await health.open(sink, SinkUnavailable("the sink is away"))
        await health.close(sink)
        await health.open(Resource("Source", 1, "okta-prod"), SourceRefused("the token is wrong", code=401))
        await kept.keep("made-here", KEPT)
        await kept.pause("s1")


def unpack(version: Path, directory: Path) -> None:
    """Put the files of a version where a daemon would have them."""
    directory.mkdir(exist_ok=True)
    (directory / "state.db").write_bytes(gzip.decompress((version / "state.db.gz").read_bytes()))
    shutil.copy(version / "cursors.backup.json", directory)


def versions() -> list[Path]:
    """The kept ones, oldest first."""
    return sorted(FOLDER.glob("v*"), key=lambda path: int(path.name[1:]))


def _add_newest() -> None:
    target = FOLDER / f"v{len(MIGRATIONS)}"
    target.mkdir(parents=True)  # fails for a version that is there
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(write_state, Path(folder))
        with closing(sqlite3.connect(f"{folder}/state.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (target / "state.db.gz").write_bytes(gzip.compress(Path(folder, "state.db").read_bytes(), mtime=0))
        shutil.copy(Path(folder, "cursors.backup.json"), target)


if __name__ == "__main__":
    _add_newest()
