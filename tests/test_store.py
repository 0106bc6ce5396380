"""The state store: what it says it kept is kept, whatever happens to the process, the disk or the file."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from collectord.errors import StoreError, StoreFull, StoreUnusable
from collectord.statefile import BALLAST_BYTES, MIGRATIONS
from collectord.store import Store
from tests.disks import ROOT, fill, make_read_only, needs, python, small_disk


@contextmanager
def opened(directory, *migrations):
    with closing(Store.open(directory, [*MIGRATIONS, *migrations])) as store:
        yield store


def put(name):
    def insert(connection):
        connection.execute("INSERT INTO source(name) VALUES (?)", (name,))
        return name

    return insert


def names(connection):
    return [name for (name,) in connection.execute("SELECT name FROM source ORDER BY id")]


def pragma(name):
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


async def names_after(directory):
    with opened(directory) as store:
        return await store.read(names)


# --------------------------------------------------------------------------------------------------------------- writes


async def test_what_was_written_is_there_after_a_reopen(tmp_path):
    with opened(tmp_path) as store:
        assert await store.write(put("a")) == "a"
    assert await names_after(tmp_path) == ["a"]


async def test_writes_that_wait_share_a_commit_and_return_in_the_order_they_were_asked_in(tmp_path):
    with opened(tmp_path) as store:
        statements: Counter[str] = Counter()
        store._connection.set_trace_callback(lambda statement: statements.update([statement]))
        returned = []

        async def write(number):
            assert await store.write(put(f"{number:03}")) == f"{number:03}"
            returned.append(number)

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(write, number)
        store._connection.set_trace_callback(None)
        assert returned == list(range(200))
        assert await store.read(names) == [f"{number:03}" for number in range(200)]
        assert statements["COMMIT"] <= 3


async def test_a_write_that_fails_takes_nobody_with_it(tmp_path):
    def half(connection):
        put("half")(connection)
        raise ZeroDivisionError

    outcomes = {}
    with opened(tmp_path) as store:

        async def write(name, operation):
            try:
                outcomes[name] = await store.write(operation)
            except StoreError as error:
                outcomes[name] = error

        async with anyio.create_task_group() as group:
            for name, operation in [("a", put("a")), ("half", half), ("b", put("b")), ("again", put("a"))]:
                group.start_soon(write, name, operation)
        assert (outcomes["a"], outcomes["b"]) == ("a", "b")
        assert "ZeroDivisionError" in outcomes["half"].info
        assert "UNIQUE" in outcomes["again"].info
        assert await store.read(names) == ["a", "b"]
        assert not store.broken.is_set()


async def test_a_write_is_never_cut_so_that_what_is_noted_after_it_is_true(tmp_path):
    noted = []
    with opened(tmp_path) as store:

        async def write(number):
            await store.write(put(f"{number}"))
            noted.append(f"{number}")
            await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(write, number)
            await anyio.sleep(0)
            group.cancel_scope.cancel()
        assert sorted(await store.read(names)) == sorted(noted)


class NoThreads:
    """A limiter for a process that can start no thread."""

    async def __aenter__(self):
        await anyio.sleep(0)
        raise RuntimeError("can't start new thread")

    async def __aexit__(self, *_):
        """Never entered."""


async def test_without_a_thread_every_write_that_waits_fails(tmp_path):
    failed = []
    with opened(tmp_path) as store:
        limiter, store._one_thread = store._one_thread, NoThreads()

        async def write(number):
            with pytest.raises(StoreError, match="could not be written"):
                await store.write(put(str(number)))
            failed.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(write, number)
        store._one_thread = limiter
        assert sorted(failed) == [0, 1, 2, 3, 4]
        assert await store.write(put("later")) == "later"
        assert await store.read(names) == ["later"]


async def test_the_loop_goes_on_while_the_disk_is_slow(tmp_path):
    ticks = 0
    with opened(tmp_path) as store:

        async def tick():
            nonlocal ticks
            while True:
                await anyio.sleep(0.01)
                ticks += 1

        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            await store.write(lambda _: time.sleep(0.3))
            group.cancel_scope.cancel()
    assert ticks > 10


# -------------------------------------------------------------------------------------------------------------- opening


async def test_files_are_private_even_where_the_umask_is_not(tmp_path):
    before = os.umask(0)
    try:
        with opened(tmp_path / "var" / "state") as store:
            await store.write(put("a"))
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "var" / "state").iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["ballast", "state.db", "state.db-shm", "state.db-wal", "state.lock"], 0o600)
    assert (tmp_path / "var" / "state").stat().st_mode & 0o777 == 0o700


async def test_durability_is_set_as_the_promise_needs_it(tmp_path):
    with opened(tmp_path) as store:
        assert await store.read(pragma("journal_mode")) == "wal"
        assert await store.read(pragma("synchronous")) == 2
        assert await store.read(pragma("auto_vacuum")) == 2
        assert (tmp_path / "ballast").stat().st_blocks * 512 >= BALLAST_BYTES


def test_a_directory_has_one_owner(tmp_path):
    script = "import sys, pathlib; from collectord.store import Store; Store.open(pathlib.Path(sys.argv[1]))"
    with opened(tmp_path):
        with pytest.raises(StoreUnusable, match="in use by another collectord"):
            Store.open(tmp_path)
        assert "in use by another collectord" in python(script, tmp_path).stderr
    assert python(script, tmp_path).returncode == 0
    with opened(tmp_path):
        pass


def test_closing_twice_is_closing_once(tmp_path):
    store = Store.open(tmp_path)
    store.close()
    store.close()


def test_no_directory_can_be_made_where_a_file_is(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreUnusable, match="give collectord its own writable folder"):
        Store.open(tmp_path / "state")


async def test_a_read_only_disk_is_refused_with_what_to_do(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        with opened(disk / "state") as store:
            await store.write(put("a"))
        make_read_only(disk)
        with pytest.raises(StoreUnusable, match="Read-only file system"):
            Store.open(disk / "state")
        with pytest.raises(StoreUnusable, match="Read-only file system"):
            Store.open(disk / "new")


@pytest.mark.parametrize("spoil", ["PRAGMA application_id = 7", "PRAGMA application_id = 0"])
async def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path, spoil):
    with closing(sqlite3.connect(tmp_path / "state.db")) as other:
        other.executescript(f"CREATE TABLE theirs(x); {spoil};")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StoreUnusable, match="another program"):
        Store.open(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == before
    assert not (tmp_path / "state.db-wal").exists()


# ----------------------------------------------------------------------------------------------------------- migrations

NOTES = "ALTER TABLE source ADD COLUMN note TEXT; CREATE TABLE tag(name TEXT) STRICT; INSERT INTO tag VALUES ('new');"
SLOW = """
    INSERT INTO tag SELECT 'x' FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000)
    SELECT i FROM n);
    DELETE FROM tag WHERE name = 'x';
"""


def schema(connection):
    return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


async def test_an_old_store_is_brought_up_to_date_and_kept_beside(tmp_path):
    with opened(tmp_path) as store:
        await store.write(put("a"))
    with opened(tmp_path, NOTES) as store:
        assert await store.read(pragma("user_version")) == 2
        assert await store.read(names) == ["a"]
        assert await store.read(lambda connection: connection.execute("SELECT note FROM source").fetchall()) == [
            (None,)
        ]
    backup = tmp_path / "state.db.v1.bak"
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as old:
        assert names(old) == ["a"]
        assert old.execute("PRAGMA user_version").fetchone() == (1,)


async def test_migrated_and_new_are_the_same(tmp_path):
    with opened(tmp_path / "old"):
        pass
    with opened(tmp_path / "old", NOTES) as migrated, opened(tmp_path / "new", NOTES) as new:
        assert await migrated.read(schema) == await new.read(schema)


async def test_a_step_that_fails_leaves_the_old_version(tmp_path):
    with opened(tmp_path) as store:
        await store.write(put("a"))
    with pytest.raises(StoreUnusable, match="no such table: nowhere"):
        Store.open(tmp_path, [*MIGRATIONS, NOTES, "INSERT INTO tag VALUES ('half'); INSERT INTO nowhere VALUES (1);"])
    with opened(tmp_path, NOTES) as store:
        assert await store.read(lambda connection: connection.execute("SELECT name FROM tag").fetchall()) == [("new",)]
        assert await store.read(names) == ["a"]


async def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path):
    with opened(tmp_path, NOTES):
        pass
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StoreUnusable, match=r"newer collectord \(version 2\)"):
        Store.open(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == before


async def test_a_kill_in_a_step_leaves_the_old_version(tmp_path):
    with opened(tmp_path) as store:
        await store.write(put("a"))
    script = f"""
import pathlib, sys
from collectord.statefile import MIGRATIONS
from collectord.store import Store
print("begins", flush=True)
Store.open(pathlib.Path(sys.argv[1]), [*MIGRATIONS, {NOTES!r}, {SLOW!r}])
print("is done", flush=True)
"""
    for delay in (0.02, 0.1, 0.3):
        with subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
            time.sleep(delay)
            process.kill()
            assert process.stdout.read() == b""
    with opened(tmp_path, NOTES, SLOW) as store:
        assert await store.read(pragma("user_version")) == 3
        assert await store.read(names) == ["a"]
        assert await store.read(lambda connection: connection.execute("SELECT name FROM tag").fetchall()) == [("new",)]


# ----------------------------------------------------------------------------------------------------- kill and failure

WRITER = """
import pathlib, sys, anyio
from collectord.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
async def write():
    number = 0
    while True:
        name = f"{sys.argv[2]}-{number}"
        await store.write(lambda connection: connection.execute(
            "INSERT INTO source(name) VALUES (?)", (name + "x" * 500,)))
        print(name, flush=True)
        number += 1
anyio.run(write)
"""


async def test_a_kill_takes_nothing_that_was_confirmed(tmp_path):
    confirmed = []
    for number in range(8):
        command = [sys.executable, "-c", WRITER, tmp_path, str(number)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            confirmed.append(process.stdout.readline().strip())
            time.sleep(0.013 * number)
            process.send_signal(signal.SIGKILL)
            confirmed += process.stdout.read().split("\n")[:-1]
    found = {name.rstrip("x") for name in await names_after(tmp_path)}
    assert set(confirmed) <= found
    assert len(found) <= len(confirmed) + 8


FAILS_ONCE = """
import pathlib, sys, anyio
from collectord.errors import StoreError
from collectord.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
async def write():
    async with anyio.create_task_group() as group:
        async def watch():
            await store.broken.wait()
            print("broken", flush=True)
        group.start_soon(watch)
        await anyio.sleep(0)
        for number in range(20):
            try:
                await store.write(lambda connection: connection.execute(
                    "INSERT INTO source(name) VALUES (?)", (f"{number}",)))
            except StoreError as error:
                print("failed", type(error).__name__, error.message, flush=True)
            else:
                print("kept", number, flush=True)
        await anyio.sleep(0.05)
        group.cancel_scope.cancel()
anyio.run(write)
"""


@pytest.mark.parametrize("when", [5, 9])
async def test_after_a_failed_sync_nothing_is_taken_for_kept_until_the_process_starts_anew(tmp_path, when):
    with opened(tmp_path):
        pass
    ran = python(FAILS_ONCE, tmp_path, strace=f"fdatasync,fsync:error=EIO:when={when}")
    said = ran.stdout.splitlines()
    assert "broken" in said, ran.stderr
    failures = [line for line in said if line.startswith("failed")]
    assert failures
    assert all("StoreUnusable" in line for line in failures)
    assert not any(line.startswith("kept") for line in said[said.index(failures[0]) :])
    kept = [line.split()[1] for line in said if line.startswith("kept")]
    assert (await names_after(tmp_path))[: len(kept)] == kept


# ------------------------------------------------------------------------------------------------------------ full disk


def grow(size):
    def insert(connection):
        row = (b"x" * size,)
        connection.execute(
            "INSERT INTO batch(sink,source,stream,id,count,encoding,crc,body) VALUES ('','','','',1,'',0,?)", row
        )

    return insert


def count(connection):
    return connection.execute("SELECT count(*) FROM batch").fetchone()[0]


def forget_one(connection):
    connection.execute("DELETE FROM batch WHERE seq = (SELECT min(seq) FROM batch)")


async def grow_until_full(store, kept):
    while True:
        try:
            await store.write(grow(100_000))
        except StoreFull:
            return kept
        kept += 1


async def test_on_a_full_disk_a_write_rolls_back_and_an_urgent_one_has_the_ballast(tmp_path):
    with small_disk(tmp_path / "disk") as disk, opened(disk / "state") as store:
        await store.write(grow(100_000))
        assert not store.is_short
        filler = fill(disk)
        kept = await grow_until_full(store, 1)
        assert await store.read(count) == kept
        assert not store.broken.is_set()
        for left in range(kept - 1, -1, -1):
            await store.write(forget_one, urgent=True)
            assert await store.read(count) == left
        filler.unlink()
        await store.tidy()
        assert not store.is_short
        assert (disk / "state" / "ballast").stat().st_size == BALLAST_BYTES
        await store.write(grow(100_000))


async def test_the_ballast_is_given_up_for_urgent_writes_alone_and_no_others_live_on_it(tmp_path):
    with small_disk(tmp_path / "disk") as disk, opened(disk / "state") as store:
        fill(disk)
        with pytest.raises(StoreFull):
            await store.write(grow(4_000_000))
        assert (disk / "state" / "ballast").exists()
        assert not store.is_short
        await store.write(grow(4_000_000), urgent=True)
        assert not (disk / "state" / "ballast").exists()
        assert store.is_short
        await store.tidy()
        assert store.is_short


async def test_a_write_that_shares_its_commit_with_one_too_large_is_kept(tmp_path):
    outcomes = {}
    with small_disk(tmp_path / "disk") as disk, opened(disk / "state") as store:
        await store.write(put("before"))
        fill(disk, but=200_000)

        async def write(name, operation):
            try:
                outcomes[name] = await store.write(operation)
            except StoreFull:
                outcomes[name] = "full"

        async with anyio.create_task_group() as group:
            for name, operation in [("first", put("first")), ("big", grow(2_000_000)), ("last", put("last"))]:
                group.start_soon(write, name, operation)
        assert outcomes == {"first": "first", "big": "full", "last": "last"}


async def test_a_store_is_opened_on_a_full_disk_so_that_what_waits_can_go(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        with opened(disk / "state") as store:
            for _ in range(5):
                await store.write(grow(100_000))
        fill(disk)
        with opened(disk / "state") as store:
            assert store.is_short
            for left in (4, 3, 2, 1, 0):
                await store.write(forget_one, urgent=True)
                assert await store.read(count) == left


async def test_a_disk_without_any_room_is_told_apart_from_a_broken_one(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        with opened(disk / "state") as store:
            await store.write(grow(100_000))
        (disk / "state" / "ballast").unlink()
        filler = fill(disk)
        with pytest.raises(StoreFull, match="is full; free some space"):
            Store.open(disk / "state")
        filler.unlink()
        with opened(disk / "state") as store:
            assert await store.read(count) == 1


async def test_a_disk_too_small_for_a_ballast_is_short_from_the_start(tmp_path):
    with small_disk(tmp_path / "disk", mebibytes=12) as disk, opened(disk / "state") as store:
        assert store.is_short
        await store.write(put("small"))


async def test_a_drained_backlog_gives_its_space_back(tmp_path):
    with opened(tmp_path) as store:
        for _ in range(80):
            await store.write(grow(1_000_000))
        assert (tmp_path / "state.db").stat().st_size > 75_000_000
        await store.write(lambda connection: connection.execute("DELETE FROM batch"))
        for _ in range(10):
            await store.tidy()
    assert (tmp_path / "state.db").stat().st_size < 20_000_000


async def test_tidying_a_full_or_failed_store_does_no_harm(tmp_path):
    with small_disk(tmp_path / "disk") as disk, opened(disk / "state") as store:
        fill(disk)
        await store.tidy()
        store._has_failed = True
        await store.tidy()
        assert store.broken.is_set()


# -------------------------------------------------------------------------------------------------------------- damage


def damage_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but it is long enough to be one\n" * 200)


def damage_truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def damage_first_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(4096))


def damage_schema(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE batch", b"CREATE TABLX batch"))


def damage_name(path: Path) -> None:
    """SQLite's own words about this hold bytes that are no text."""
    content = (
        path.read_bytes().replace(b"indexlane", b"indexl\xc5ne").replace(b"CREATE INDEX lane", b"CREATE INDXX lane")
    )
    path.write_bytes(content)


DAMAGES = [damage_name, damage_garbage, damage_truncated, damage_first_page, damage_schema]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_store_is_put_aside_whole_and_a_new_one_begun(tmp_path, damage):
    with opened(tmp_path) as store:
        for number in range(50):
            await store.write(put(f"{number}"))
            await store.write(grow(10_000))
    damage(tmp_path / "state.db")
    damaged = (tmp_path / "state.db").read_bytes()
    with opened(tmp_path) as store:
        assert store.quarantined is not None
        assert (store.quarantined / "state.db").read_bytes() == damaged
        assert store.quarantined.stat().st_mode & 0o777 == 0o700
        await store.write(put("new"))
    with opened(tmp_path) as store:
        assert store.quarantined is None
        assert "new" in await store.read(names)


async def test_what_can_be_read_of_a_damaged_store_is_taken_over_from_both_ends(tmp_path):
    with opened(tmp_path) as store:
        await store.write(put("a"))
        for number in range(1, 41):
            await store.write(grow(50_000 + number))
    content = bytearray((tmp_path / "state.db").read_bytes())
    pages = range(len(content) // 8192 * 4096, len(content), 4096)
    overflow = next(page for page in pages if content[page + 4 : page + 4096] == b"x" * 4092)
    content[overflow : overflow + 4096] = b"\xa5" * 4096  # its pointer to the next page too
    (tmp_path / "state.db").write_bytes(content)
    with opened(tmp_path) as store:
        assert store.quarantined is not None
        assert await store.read(names) == ["a"]
        sizes = await store.read(lambda c: [n for (n,) in c.execute("SELECT length(body) FROM batch ORDER BY seq")])
        assert sizes[0] == 50_001
        assert sizes[-1] == 50_040
        assert len(sizes) >= 35


async def test_two_damages_in_one_second_are_put_aside_in_two_folders(tmp_path):
    for _ in range(3):
        with opened(tmp_path):
            pass
        damage_garbage(tmp_path / "state.db")
    with opened(tmp_path):
        assert len(list(tmp_path.glob("corrupt-*"))) == 3


@pytest.mark.parametrize("gone", ["removed", "emptied"])
async def test_a_store_that_vanished_is_no_new_one(tmp_path, gone):
    with opened(tmp_path):
        (tmp_path / "cursors.backup.json").write_text("{}")
    (tmp_path / "state.db").unlink() if gone == "removed" else os.truncate(tmp_path / "state.db", 0)
    with opened(tmp_path) as store:
        assert store.quarantined is not None


async def test_an_empty_file_beside_nothing_is_a_store_whose_first_start_was_cut(tmp_path):
    (tmp_path / "state.db").write_bytes(b"")
    with opened(tmp_path) as store:
        assert store.quarantined is None


async def test_salvage_is_done_anew_when_it_was_cut_and_finished_when_only_its_last_step_was(tmp_path):
    with opened(tmp_path) as store:
        await store.write(put("a"))
        await store.write(grow(50_000))
    sound = (tmp_path / "state.db").read_bytes()
    damage_schema(tmp_path / "state.db")
    # Cut while it was written:
    (tmp_path / "state.db.salvaged").write_bytes(sound[:9000])
    (tmp_path / "state.db.salvaged-wal").write_bytes(b"half")
    with opened(tmp_path) as store:
        assert store.quarantined is not None
    # Cut before the last step:
    (tmp_path / "state.db").rename(tmp_path / "state.db.salvaged")
    (tmp_path / "cursors.backup.json").write_text("{}")
    with opened(tmp_path) as store:
        assert store.quarantined is None


async def test_a_text_that_is_no_utf8_does_not_hide_its_table(tmp_path):
    with opened(tmp_path) as store:
        await store.write(lambda c: c.execute("INSERT INTO source(name) VALUES (CAST(x'61ff62' AS TEXT))"))
        await store.write(put("b"))
        assert await store.read(names) == ["a\ufffdb", "b"]


async def test_a_page_that_is_damaged_while_we_run_breaks_the_store(tmp_path):
    with opened(tmp_path) as store:
        for _ in range(40):
            await store.write(grow(100_000))
        await store.write(lambda connection: connection.execute("PRAGMA user_version = 1"))

        def spoil():
            store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with (tmp_path / "state.db").open("r+b") as file:
                file.seek(4096)
                file.write(b"\xa5" * (100 * 4096))

        await to_thread.run_sync(spoil)
        store._connection.execute("PRAGMA shrink_memory")
        with pytest.raises(StoreUnusable, match="disk of the state directory failed"):
            await store.read(lambda connection: connection.execute("SELECT sum(length(body)) FROM batch").fetchall())
        assert store.broken.is_set()


def test_needs_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        needs(False, "wings")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        needs(False, "wings")
