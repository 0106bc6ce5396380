"""Any byte of the state store may change: nothing altered is delivered, nothing goes missing or begins anew unsaid."""

import os
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from collectord.errors import StoreUnusable
from collectord.outbox import SeenPage, StreamKey
from collectord.records import Batch
from tests.fakes import acceptance, batch, everything, open_outbox

PAGE = 4096
STREAMS = [StreamKey("okta-prod", "events"), StreamKey("okta-prod", "users"), StreamKey("netskope", "alert")]
PAGES = 6
REFUSALS = ("another program", "newer collectord", "readonly", "unsupported file format", "already exists")
"""What a changed byte in the header may look like: nothing is collected until somebody has looked."""
DELIVERED = 3
"""Pages of each stream that its sink has."""


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> tuple[Path, dict[StreamKey, list[Batch]]]:
    """A state directory, and what was accepted into it: one batch a page, whose cursor counts the pages."""
    directory = tmp_path_factory.mktemp("truth")
    accepted: dict[StreamKey, list[Batch]] = {key: [] for key in STREAMS}

    async def fill() -> None:
        async with open_outbox(directory / "closed") as outbox:
            for at in range(1, PAGES + 1):
                for number, key in enumerate(STREAMS):
                    made = batch(
                        b"%d %d" % (number, at) * random.Random(at).choice([2, 900, 9000]), compress=at % 2 > 0
                    )
                    accepted[key].append(made)
                    seen = SeenPage(at, [f"{at}-{each}" for each in range(30)])
                    await outbox.accept(replace(acceptance(at, made, key=key), seen=seen))
                if at == DELIVERED:
                    for entry in await everything(outbox):
                        outbox.count_delivered(entry)
                        await outbox.acknowledge(entry.seq)
                    await outbox.back_up()
                    outbox._store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copytree(
                directory / "closed", directory / "open"
            )  # as a kill leaves it: the log is not yet copied back

    anyio.run(fill)
    for state in ("closed", "open"):
        (directory / state / "ballast").unlink()
    return directory, accepted


async def look(directory: Path, accepted: dict[StreamKey, list[Batch]]) -> str:
    """Open a damaged store and hold it against what was accepted; returns what became of it."""
    try:
        async with open_outbox(directory) as outbox:
            waiting = await everything(outbox)
            buried = outbox.dead_letters["default"].records + outbox.dead_letters["second"].records
            fate = "restored" if outbox.restored else "sound"
            if outbox._store.quarantined is not None:
                fate = "salvaged"
            for key in STREAMS:
                assert outbox.is_lost(key) or outbox.checkpoint(key) is not None, "a stream begins anew in silence"
            for entry in waiting:
                assert entry.batch in accepted[entry.key], "a batch was changed"
            held = [entry.batch for entry in waiting]
            missing = 0
            for key in STREAMS:
                at = (outbox.checkpoint(key) or {"at": 0})["at"]
                assert at <= PAGES
                missing += sum(each not in held for each in accepted[key][DELIVERED:at])
            assert missing <= buried, "batches behind the saved place are neither waiting nor among the dead letters"
    except StoreUnusable as refusal:
        if any(word in refusal.message for word in REFUSALS):
            return "refused"
        raise
    return fate


async def each_damage(
    truth: tuple[Path, dict[StreamKey, list[Batch]]],
    state: str,
    tmp_path: Path,
    damages: Iterable[tuple[str, Callable[[Path], None]]],
) -> dict[str, int]:
    directory, accepted = truth
    fates: dict[str, int] = {}
    for number, (file, damage) in enumerate(damages):
        copy = tmp_path / f"{number}"
        shutil.copytree(directory / state, copy)
        before = (copy / file).read_bytes()
        damage(copy / file)
        try:
            fate = await look(copy, accepted)
        except BaseException as error:
            after = (copy / file).read_bytes() if (copy / file).exists() else b""
            error.add_note(f"damage {number} of {file}, {len(before)} bytes before, {len(after)} after")
            raise
        fates[fate] = fates.get(fate, 0) + 1
        shutil.rmtree(copy)
    return fates


def flip(offset: int, mask: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ mask]))

    return damage


def zero(offset: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes(PAGE))

    return damage


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("state", "file"), [("closed", "state.db"), ("open", "state.db-wal"), ("open", "state.db")])
async def test_any_byte_may_change(truth, tmp_path, state, file, seed):
    chance = random.Random(seed)
    size = (truth[0] / state / file).stat().st_size
    # Half of them where the structure is: bodies are most of the file, and every byte of them is alike.
    offsets = [chance.randrange(size) for _ in range(30)]
    offsets += [chance.randrange(size // PAGE) * PAGE + chance.randrange(120) for _ in range(30)]
    damages = [(file, flip(min(offset, size - 1), 1 << chance.randrange(8))) for offset in offsets]
    fates = await each_damage(truth, state, tmp_path, damages)
    assert fates.get("refused", 0) < 20


@pytest.mark.parametrize("state", ["closed", "open"])
async def test_any_page_may_be_zeroed_and_the_file_may_end_anywhere(truth, tmp_path, state):
    size = (truth[0] / state / "state.db").stat().st_size
    damages = [("state.db", zero(offset)) for offset in range(0, size, PAGE)]
    damages += [("state.db", cut(offset)) for offset in range(0, size, PAGE)]
    damages += [("state.db", cut(offset)) for offset in (1, 99, 100, 512, PAGE - 1, size - 1)]
    fates = await each_damage(truth, state, tmp_path, damages)
    assert fates["salvaged"] > len(damages) // (2 if state == "closed" else 4)
    assert "refused" not in fates


async def test_every_byte_of_the_first_page_may_change(truth, tmp_path):
    damages = [("state.db", flip(offset, mask)) for offset in range(0, 112, 1) for mask in (1, 128)]
    fates = await each_damage(truth, "closed", tmp_path, damages)
    assert fates["refused"] <= 20


async def test_a_changed_backup_is_not_believed(truth, tmp_path):
    directory, _ = truth
    content = (directory / "closed" / "cursors.backup.json").read_bytes()
    for offset in range(len(content)):
        copy = tmp_path / f"{offset}"
        shutil.copytree(directory / "closed", copy)
        flip(offset, 1)(copy / "cursors.backup.json")
        os.truncate(copy / "state.db", 100)
        async with open_outbox(copy) as outbox:
            for key in STREAMS:
                assert outbox.is_lost(key) or outbox.checkpoint(key) == {"at": DELIVERED}
        shutil.rmtree(copy)
