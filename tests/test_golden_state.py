"""A state directory of every version that users may have opens with everything in it, whatever the schema is now."""

from contextlib import closing

import pytest

from collectord.dead_letters import DeadLetters
from collectord.errors import StoreUnusable
from collectord.health import HealthBoard
from collectord.kept import KeptSources
from collectord.outbox import Outbox
from collectord.source import AT_REST
from collectord.statefile import MIGRATIONS
from collectord.store import Store
from tests.fakes import everything, open_outbox
from tests.golden import CURSOR, EVENTS, KEPT, KEY, PACKED, PLAIN, REFUSED, SEEN, THREATS, USERS, unpack, versions

LATER = "ALTER TABLE source ADD COLUMN note TEXT;"


@pytest.fixture(params=versions(), ids=lambda version: version.name)
def version(request):
    return request.param


@pytest.fixture
def directory(version, tmp_path):
    unpack(version, tmp_path / "state")
    return tmp_path / "state"


def test_the_newest_version_is_kept_too():
    assert [version.name for version in versions()] == [f"v{number}" for number in range(1, len(MIGRATIONS) + 1)]


async def is_all_there(store):
    outbox, health, kept = Outbox(store), HealthBoard(store), KeptSources(store, KEY)
    for each in (outbox, health, kept):
        await each.load()
    assert store.quarantined is None
    assert [outbox.checkpoint(key) for key in (EVENTS, USERS)] == [CURSOR, AT_REST]
    assert outbox.checkpoint(THREATS) == {"lo": 1, "after": ["x", None]}
    assert not any(outbox.is_lost(key) for key in (EVENTS, USERS, THREATS))
    assert await outbox.seen(THREATS) == [SEEN]
    assert await outbox.identify(["s1", "okta-prod"]) == {"okta-prod": 1, "s1": 2}
    assert [entry.batch for entry in await everything(outbox)] == [PLAIN, PACKED]
    assert [entry.batch for entry in await everything(outbox, "second")] == [PLAIN]
    letters = DeadLetters(store, outbox)
    (listed,) = await letters.listed()
    assert (await letters.get(listed["id"])).batch.lines() == REFUSED.lines()
    await letters.retry(listed["id"])
    assert [entry.batch.lines() for entry in await everything(outbox)][-1] == REFUSED.lines()
    assert [(event["eventName"], event["closedTime"] is not None) for event in health.recent] == [
        ("FirstPartyGenericError", True),
        ("ThirdPartyConfigError", True),
    ]
    assert [(name, each.document) for name, each in kept.sources.items()] == [("made-here", KEPT)]
    assert kept.paused == {"s1"}


async def test_it_opens_with_everything_in_it(directory):
    with closing(Store.open(directory)) as store:
        await is_all_there(store)


async def test_a_later_version_takes_everything_over_and_keeps_the_old_file(directory, version, tmp_path):
    with closing(Store.open(directory, [*MIGRATIONS, LATER])) as store:
        assert await store.read(lambda connection: connection.execute("PRAGMA user_version").fetchone()) == (
            len(MIGRATIONS) + 1,
        )
        await is_all_there(store)
    (tmp_path / "back").mkdir()
    (directory / f"state.db.{version.name}.bak").rename(tmp_path / "back" / "state.db")
    with closing(Store.open(tmp_path / "back")) as store:
        await is_all_there(store)


async def test_an_earlier_version_refuses_what_it_does_not_know(directory, version):
    number = int(version.name[1:])
    with pytest.raises(StoreUnusable, match=rf"newer collectord \(version {number}\)"):
        Store.open(directory, MIGRATIONS[: number - 1])


async def test_a_step_that_users_have_taken_is_never_changed(directory, version, tmp_path):
    """What is to be different is a new step: else a store of theirs would be unlike a new one, unknown to anybody."""

    def schema(connection):
        return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()

    steps = MIGRATIONS[: int(version.name[1:])]
    with closing(Store.open(directory, steps)) as old, closing(Store.open(tmp_path / "new", steps)) as new:
        assert await old.read(schema) == await new.read(schema)


async def test_its_backup_says_where_to_go_on_when_the_store_is_gone(directory):
    (directory / "state.db").write_bytes(b"no store any more" * 1000)
    async with open_outbox(directory) as outbox:
        assert outbox.checkpoint(EVENTS) == {"next": "before", "restored": True}
        assert outbox.checkpoint(THREATS) == {"lo": 1, "after": ["x", None], "restored": True}
