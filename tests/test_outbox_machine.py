"""Any weather, and a crash as one of the things that happen: nothing issued is lost, nothing is delivered out of order.

The real store, outbox, collector and delivery; a scripted vendor and a scripted sink. After each script the weather
clears, and what the sink holds is compared with what the vendor issued.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

import anyio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collectord.collecting import Collector, Surroundings
from collectord.delivering import Delivery
from collectord.errors import SinkRefused, SinkUnavailable, SourceUnavailable
from collectord.health import HealthBoard, Resource, SinkStatus, State, StreamStatus
from collectord.outbox import Outbox
from collectord.settings import RetryPolicy
from collectord.store import Store
from tests.fakes import KEY, METADATA, RecordingSink, ScriptedStream

HURRY = RetryPolicy(initial=0.001, max=0.002, window=3600, then=3600)


class World:
    """A vendor and a sink that outlive the daemon, and the folder that it leaves behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stream = ScriptedStream(page_size=3)
        self.held: dict[str, bytes] = {}
        self.first: list[str] = []
        self.outcomes: list[str] = []

    async def send(self, batch) -> None:
        """The sink's side of one attempt."""
        outcome = self.outcomes.pop() if self.outcomes else "ok"
        if outcome == "away":
            raise SinkUnavailable("away")
        if outcome == "refused":
            raise SinkRefused("refused")
        assert self.held.setdefault(batch.id, batch.body) == batch.body, "the same key with other bytes"
        for line in batch.lines().splitlines():
            if (name := json.loads(line)["id"]) not in self.first:
                self.first.append(name)
        if outcome == "stored":
            raise SinkUnavailable("stored, and the answer was lost")

    async def run(self, seconds: float) -> None:
        """Let a daemon live for so long, then kill it: nothing of it gets to say goodbye."""
        store = Store.open(self.directory)
        try:
            outbox, health = Outbox(store), HealthBoard(store)
            await health.load()
            await outbox.load()
            outbox.limit("default", 2**30)
            sink = RecordingSink(max_bytes=60)
            sink.send = self.send  # type: ignore[method-assign]  # what it holds outlives the daemon
            status = SinkStatus("default", "http")
            delivery = Delivery(sink, HURRY, outbox, health, status)
            around = Surroundings(outbox, health, Resource("Source", 1, KEY.source), {"default": sink}, None, HURRY)
            collector = Collector(KEY, self.stream, METADATA, StreamStatus("events", 0.002, State.INITIALIZED), around)
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as group:
                    group.start_soon(delivery.run)
                    group.start_soon(collector.run, 0.0)
                    while True:
                        await anyio.sleep(0.002)
                        if status.error is not None and not self.outcomes:
                            delivery.retry_now()
        finally:
            store.close()

    def names(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.stream.log]


class Machine(RuleBasedStateMachine):
    """Issue, break, run for a moment, die; then look."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self._folder.name))

    @rule(count=st.integers(1, 7))
    def issue(self, count) -> None:
        self.world.stream.issue(count)

    @rule(outcomes=st.lists(st.sampled_from(["ok", "away", "stored", "refused"]), max_size=4))
    def sink_will(self, outcomes) -> None:
        self.world.outcomes = outcomes

    @rule(count=st.integers(1, 3))
    def vendor_fails(self, count) -> None:
        self.world.stream.script.extend(SourceUnavailable("503") for _ in range(count))

    @rule(milliseconds=st.integers(1, 40))
    def live_and_die(self, milliseconds) -> None:
        anyio.run(self.world.run, milliseconds / 1000)

    @invariant()
    def in_order_and_once_under_one_key(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        assert world.first == world.names()[: len(world.first)], "first deliveries are in the vendor's order"
        keys = Counter(json.loads(line)["id"] for body in world.held.values() for line in _lines(body))
        assert all(count == 1 for count in keys.values()), "no record under two keys"

    def teardown(self) -> None:
        self.world.outcomes = []
        self.world.stream.script.clear()
        for _ in range(50):
            anyio.run(self.world.run, 0.05)
            if len(self.world.first) == len(self.world.stream.log):
                break
        assert self.world.first == self.world.names(), "everything that was issued arrives in the end"
        self.in_order_and_once_under_one_key()
        self._folder.cleanup()


def _lines(body: bytes) -> list[bytes]:
    return body.splitlines()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=30, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
