"""Saved places: never ahead of what is kept, never lost in silence."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from collectord.outbox import StreamKey
from tests.fakes import KEY, acceptance, batch, everything, open_outbox

USERS = StreamKey("okta-prod", "users")
OTHER = StreamKey("other", "events")
NEW = StreamKey("new", "events")
BACKUP = "cursors.backup.json"


async def collected(directory, *, backed_up=True):
    """KEY is delivered up to 1 and kept up to 2, USERS is delivered up to 5; OTHER was never delivered."""
    async with open_outbox(directory) as outbox:
        await outbox.accept(acceptance(1, batch(b"1")))
        await outbox.accept(acceptance(5, batch(b"5"), key=USERS))
        for entry in await everything(outbox):
            outbox.count_delivered(entry)
            await outbox.acknowledge(entry.seq)
        await outbox.accept(acceptance(2, batch(b"2")))
        await outbox.accept(acceptance(7, batch(b"7"), key=OTHER))
        if backed_up:
            await outbox.back_up()


def spoil(directory, statement):
    with closing(sqlite3.connect(directory / "state.db")) as connection:
        connection.execute(statement)
        connection.commit()


def garble(directory):
    (directory / "state.db").write_bytes(b"no database" * 1000)


# ----------------------------------------------------------------------------------------------------------- the backup


async def test_backup_holds_the_places_up_to_which_everything_was_delivered(tmp_path):
    await collected(tmp_path)
    held = json.loads((tmp_path / BACKUP).read_text())["cursors"]
    assert sorted(held) == [
        ["okta-prod", "events", '{"at":1}'],
        ["okta-prod", "users", '{"at":5}'],
        ["other", "events", None],
    ]
    assert (tmp_path / BACKUP).stat().st_mode & 0o777 == 0o600


async def test_backup_is_written_when_there_is_news_and_only_then(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.back_up()
        before = (tmp_path / BACKUP).stat().st_ino
        await outbox.back_up()
        assert (tmp_path / BACKUP).stat().st_ino == before
        for news in (acceptance(1), acceptance(2)):
            await outbox.accept(news)
            await outbox.back_up()
            assert (tmp_path / BACKUP).stat().st_ino != before
            before = (tmp_path / BACKUP).stat().st_ino
        await outbox.accept(acceptance(3, batch(b"1")))
        await outbox.back_up()
        assert (tmp_path / BACKUP).stat().st_ino == before


async def test_backup_that_could_not_be_written_is_written_the_next_time(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(acceptance(1))
        (tmp_path / "cursors.backup.new").mkdir()
        with pytest.raises(OSError, match="Is a directory"):
            await outbox.back_up()
        (tmp_path / "cursors.backup.new").rmdir()
        await outbox.back_up()
    assert "at" in (tmp_path / BACKUP).read_text()


async def test_old_backup_stays_good_until_the_backlog_is_delivered(tmp_path):
    await collected(tmp_path)
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(acceptance(3, batch(b"3")))
        await outbox.back_up()
    garble(tmp_path)
    async with open_outbox(tmp_path) as outbox:
        assert outbox.checkpoint(KEY) == {"at": 1, "restored": True}


# --------------------------------------------------------------------------------------------------------------- damage


async def test_a_destroyed_store_goes_on_from_what_was_delivered(tmp_path):
    await collected(tmp_path)
    garble(tmp_path)
    for _ in range(2):  # the second time from the new store
        async with open_outbox(tmp_path) as outbox:
            assert outbox.checkpoint(KEY) == {"at": 1, "restored": True}
            assert outbox.checkpoint(USERS) == {"at": 5, "restored": True}
            assert outbox.is_lost(OTHER)
            assert not outbox.is_lost(KEY)
            assert not outbox.is_lost(NEW)
            assert await outbox.saved_ms(KEY) == 0


async def test_a_store_that_vanished_goes_on_from_what_was_delivered(tmp_path):
    await collected(tmp_path)
    os.truncate(tmp_path / "state.db", 0)
    async with open_outbox(tmp_path) as outbox:
        assert outbox.checkpoint(KEY) == {"at": 1, "restored": True}
        assert outbox.is_lost(OTHER)


async def test_batches_that_can_be_read_of_a_damaged_store_are_delivered_all_the_same(tmp_path):
    await collected(tmp_path)
    content = (tmp_path / "state.db").read_bytes()
    (tmp_path / "state.db").write_bytes(content.replace(b"CREATE INDEX lane", b"CREATE INDEX lame"))
    async with open_outbox(tmp_path) as outbox:
        assert outbox._store.quarantined is not None
        assert sorted(entry.batch.body for entry in await everything(outbox)) == [b"2\n", b"7\n"]
        assert outbox.checkpoint(KEY) == {"at": 1, "restored": True}


@pytest.mark.parametrize("backup", ["none", "garbage", "cut", "flipped", "other shape"])
async def test_without_a_backup_no_stream_begins_anew_by_itself(tmp_path, backup):
    await collected(tmp_path)
    path = tmp_path / BACKUP
    content = path.read_bytes()
    if backup == "none":
        path.unlink()
    else:
        flipped = content.replace(b'{\\"at\\":1}', b'{\\"at\\":3}')
        assert flipped != content
        path.write_bytes({"garbage": b"\x00", "cut": content[:-9], "flipped": flipped, "other shape": b"[1]"}[backup])
    garble(tmp_path)
    for _ in range(2):
        async with open_outbox(tmp_path) as outbox:
            assert outbox.checkpoint(KEY) is None
            assert outbox.is_lost(KEY)
            assert outbox.is_lost(NEW)
            await outbox.back_up()


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE checkpoint SET cursor = '{"at":3}' WHERE stream = 'users'""",
        "UPDATE checkpoint SET cursor = NULL WHERE stream = 'users'",
        "UPDATE checkpoint SET crc = crc + 1 WHERE stream = 'users'",
        "UPDATE checkpoint SET stream = 'usert' WHERE stream = 'users'",
        "UPDATE checkpoint SET cursor = CAST(x'ff' AS TEXT) WHERE stream = 'users'",
        "DELETE FROM checkpoint WHERE stream = 'users'",
    ],
)
async def test_a_damaged_place_in_a_sound_store_is_restored_alone(tmp_path, statement):
    await collected(tmp_path)
    spoil(tmp_path, statement)
    async with open_outbox(tmp_path) as outbox:
        assert outbox._store.quarantined is None
        assert outbox.restored == [USERS]
        assert outbox.checkpoint(USERS) == {"at": 5, "restored": True}
        assert outbox.checkpoint(KEY) == {"at": 2}
        assert outbox.checkpoint(OTHER) == {"at": 7}
    async with open_outbox(tmp_path) as outbox:
        assert outbox.restored == []
        assert outbox.checkpoint(USERS) == {"at": 5, "restored": True}


async def test_a_damaged_place_that_was_never_delivered_is_lost(tmp_path):
    await collected(tmp_path)
    spoil(tmp_path, "UPDATE checkpoint SET crc = crc + 1 WHERE source = 'other'")
    async with open_outbox(tmp_path) as outbox:
        assert outbox.is_lost(OTHER)
        assert not outbox.is_lost(KEY)
        await outbox.back_up()
    garble(tmp_path)
    async with open_outbox(tmp_path) as outbox:
        assert outbox.is_lost(OTHER)


async def test_a_damaged_place_without_a_backup_leaves_the_others_as_they_are(tmp_path):
    await collected(tmp_path, backed_up=False)
    spoil(tmp_path, "UPDATE checkpoint SET stream = 'usert' WHERE stream = 'users'")
    for _ in range(2):
        async with open_outbox(tmp_path) as outbox:
            assert outbox.checkpoint(KEY) == {"at": 2}
            assert outbox.is_lost(USERS)
            assert not outbox.is_lost(KEY)


# ------------------------------------------------------------------------------------------------------- set by a human


async def test_a_place_set_by_hand_is_where_the_stream_goes_on(tmp_path):
    await collected(tmp_path)
    (tmp_path / BACKUP).unlink()
    garble(tmp_path)
    async with open_outbox(tmp_path) as outbox:
        await outbox.set_checkpoint(KEY, {"at": 4})
        await outbox.set_checkpoint(USERS, None)
        assert outbox.checkpoint(KEY) == {"at": 4}
        await outbox.back_up()
    garble(tmp_path)
    for _ in range(2):
        async with open_outbox(tmp_path) as outbox:
            assert outbox.checkpoint(KEY) == {"at": 4, "restored": True}
            assert outbox.checkpoint(USERS) is None
            assert not outbox.is_lost(KEY)
            assert not outbox.is_lost(USERS)
            assert outbox.is_lost(NEW)


async def test_an_empty_directory_has_lost_nothing(tmp_path):
    async with open_outbox(tmp_path) as outbox:
        assert not outbox.is_lost(KEY)
        assert outbox.checkpoint(KEY) is None
        assert outbox.restored == []
