"""Everything goes wrong for a while, by a seed: the daemon is killed again and again, in bad weather.

    storm = Storm(site, seed=7, tenants=OKTA)
    storm.rage(kills=100)
    storm.clear_up()
    storm.wait_until_whole()

While it rages records are issued without a pause. Afterwards nothing is wrong any more, and everything that was ever
issued must be in the sinks.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from statistics import median

from collectord.demo.faults import Status, VendorError
from collectord.demo.oracle import Verdict, judge
from collectord.demo.simulator import Simulator
from collectord.demo.sink import NdjsonSink, SinkKnobs
from tests.daemon.crashing import KILLED, POINTS, RELOAD, WORK
from tests.daemon.harness import Site
from tests.daemon.process import Daemon, eventually
from tests.daemon.tenants import Make, Tenant
from tests.daemon.weather import Weather

TICK_SECONDS = 0.04
TROUBLE_EVERY_TICKS = 5
SAMPLE_EVERY_TICKS = 25
LIFE_SECONDS = 1.2
"""A daemon that has not died by then is killed."""
_FEW_RECORDS = 1000


@dataclass(frozen=True)
class Sample:
    """What a daemon holds at a moment."""

    second: float
    """Of its life."""
    resident_bytes: int
    descriptors: int


class Storm:
    """One site in bad weather; a `pace` of 5 lets everything take five times as long."""

    def __init__(
        self,
        site: Site,
        seed: object,
        tenants: Sequence[Make],
        *,
        tamper: Sequence[str] = (),
        pace: float = 1.0,
        between_lives_seconds: float = 0.0,
        fault_rate: float = 0.0,
    ) -> None:
        self.site = site
        self.seed = seed
        self.tenants: dict[str, Tenant] = {}
        self.kinds: Counter[str] = Counter()
        """How each life ended: the crash point, or `kill`."""
        self.ready_after: list[float] = []
        """Seconds from each start to READY=1."""
        self.samples: list[Sample] = []
        """Of the life that was watched."""
        self.daemon: Daemon | None = None
        self._tamper = tamper
        self._pace = pace
        self._between_lives_seconds = between_lives_seconds
        self._fate = Random(f"{seed} fate")
        self._is_over = threading.Event()
        self._watched: Daemon | None = None
        self._failure: BaseException | None = None
        self._fresh: dict[str, str] = {}
        self._deck: list[str] = []
        self._build(tenants, fault_rate)

    def _build(self, make_tenants: Sequence[Make], fault_rate: float) -> None:
        """The tenants and two sinks, of which the second is choosy."""
        for number, make in enumerate(make_tenants):
            tenant = make(self.site.secret(f"tenant-{number}"), number)
            self.site.secret(tenant.name, f"tenant-{number}")
            self.site.vendors[tenant.name] = tenant.simulator
            self.site.serve(tenant.simulator)
            self.tenants[tenant.name] = tenant
        # An answer that was cut on its way told the daemon nothing, and a new credential has limits of its own.
        self.site.allowed.append("told to wait")
        self.site.sinks["choosy"] = self.site.open_sink(SinkKnobs(max_batch_bytes=6_000))
        self.sinks = {"default": self.site.sink, "choosy": self.site.sinks["choosy"]}
        self.weather = Weather(
            self.site,
            Random(f"{self.seed} weather"),
            self.tenants,
            self.sinks,
            pace=self._pace,
            fault_rate=fault_rate,
            daemon=lambda: self.daemon,
        )

    # --------------------------------------------------------------------------------------------------- raging

    def rage(self, kills: int = 0, seconds: float = 0.0) -> None:
        """Let so many lives end, or let so much time pass."""
        ends = time.monotonic() + seconds
        with self._bad_weather():
            while (self.kinds.total() < kills or time.monotonic() < ends) and self._failure is None:
                crash = self._draw()
                self._live(crash, (LIFE_SECONDS if crash else self._fate.uniform(0.0, LIFE_SECONDS)) * self._pace)

    def watch(self, seconds: float) -> None:
        """Let one daemon live through it all, and note what it holds; then it is killed."""
        with self._bad_weather():
            daemon = self._watched = self._start("")
            assert not daemon.ends_within(seconds), f"ended by itself:\n{daemon.log_path.read_text()[-5000:]}"
        self._watched = None
        self._bury(daemon, "")

    @contextmanager
    def _bad_weather(self) -> Iterator[None]:
        self._is_over.clear()
        weather = threading.Thread(target=self._be_bad)
        weather.start()
        try:
            yield
        finally:
            self._is_over.set()
            weather.join()
        if self._failure is not None:
            raise self._failure

    def die_at(self, point: str, seconds: float = 20.0) -> None:
        """One life that must end at this point; there is something to collect, and everything fails once."""
        for served in (*self.site.vendors.values(), *self.sinks.values()):
            self.site.call(served.faults.clear)
        for tenant in self.tenants.values():
            self.site.call(tenant.simulator.issue, 3, **tenant.flavours[0])
            self.site.call(tenant.simulator.fail, VendorError(500))
            self.weather.refuse_link(tenant)
            if tenant.move_people is not None:
                self.site.call(tenant.move_people, self._fate)
        for sink in self.sinks.values():
            self.site.call(sink.fail, Status(503))
            self.site.call(sink.fail, Status(500, vendor_acts=True))
        self._live(point, seconds)
        assert self.kinds[point], f"no daemon died at: {point}"

    def _live(self, crash: str, seconds: float) -> None:
        """One life, which is ended if it does not end before."""
        daemon = self._start(crash)
        if crash.partition(":")[0] in RELOAD:
            daemon.notify.when_ready(lambda: daemon.send(signal.SIGHUP))
        daemon.ends_within(seconds)
        self._bury(daemon, crash)
        self._is_over.wait(self._between_lives_seconds)

    def _draw(self) -> str:
        """Where the next life ends: each point once, then each once more; in between a kill at any moment."""
        if self._fate.random() < 0.25:
            return ""
        if not self._deck:
            self._deck = list(POINTS)
            self._fate.shuffle(self._deck)
        point = self._deck.pop()
        return f"{point}:{self._fate.choice((1, 1, 2, 3, 5, 8)) if point in WORK else 1}"

    def _start(self, crash: str) -> Daemon:
        others: list[Simulator | NdjsonSink] = [*self.site.vendors.values(), *self.sinks.values()]
        for served in others:
            self.site.call(served.meet_anew)
        self.daemon = self.site.fork(tamper=self._tamper, crash=crash)
        return self.daemon

    def _bury(self, daemon: Daemon, crash: str) -> None:
        if daemon.process.poll() is None:
            daemon.process.kill()
        code = daemon.wait()
        if code != KILLED and crash and self._fate.random() < 0.7:
            self._deck.insert(0, crash.partition(":")[0])  # it did not come to that: another time
        assert code in {-signal.SIGKILL, KILLED}, f"ended with {code}:\n{daemon.log_path.read_text()}"
        self.kinds[crash.partition(":")[0] if code == KILLED else "kill"] += 1
        if daemon.is_ready():
            self.ready_after.append(daemon.notify.with_key("READY")[0].at - daemon.started_at)

    def _be_bad(self) -> None:
        try:
            tick = 0
            while not self._is_over.wait(TICK_SECONDS * self._pace):
                tick += 1
                self.weather.issue()
                if tick % TROUBLE_EVERY_TICKS == 0:
                    self.weather.make_trouble()
                if self._watched is not None and tick % SAMPLE_EVERY_TICKS == 0:
                    self._sample(self._watched)
        except BaseException as failure:  # noqa: BLE001  for the test's own thread
            self._failure = failure

    def _sample(self, daemon: Daemon) -> None:
        second = time.monotonic() - daemon.started_at
        self.samples.append(Sample(second, daemon.resident_bytes(), daemon.descriptors()))

    # ------------------------------------------------------------------------------------------------ afterwards

    def clear_up(self) -> None:
        """Nothing is wrong any more, and a fresh event still flows."""
        self.weather.clear_up()
        self.daemon = self._start("").wait_until_ready()
        for name in self.tenants:
            self.daemon.act(name, "resume")  # a pause outlives the daemon
        self._fresh = {
            name: self.site.call(tenant.simulator.issue, 1, **tenant.flavours[0])[0]
            for name, tenant in self.tenants.items()
        }

    def stop(self) -> int:
        """End the daemon that ran last; returns its exit code."""
        assert self.daemon is not None
        return self.daemon.stop()

    def verdicts(self) -> dict[str, Verdict]:
        """By sink."""

        def judged(name: str) -> Verdict:
            wanted = [each for each in self.tenants.values() if name in each.options.get("sinks", self.sinks)]
            expectations = [expectation for each in wanted for expectation in each.expectations()]
            return judge(expectations, self.sinks[name].records)

        return {name: self.site.call(judged, name) for name in self.sinks}

    def wait_until_fresh_ones_came(self) -> None:
        """What was issued last is delivered last, so that whatever has not come by then does not come any more."""

        def came() -> bool:
            delivered = [{record.id for record in each} for each in self.site.sink.records.values()]
            return all(any(fresh in ids for ids in delivered) for fresh in self._fresh.values())

        eventually(lambda: self.site.call(came), what=self, pause=0.1)

    def is_whole(self) -> bool:
        """Whether everything has arrived, once, as it was issued."""
        return all(verdict.ok for verdict in self.verdicts().values())

    def wait_until_whole(self, seconds: float = 150.0, pause: float = 0.5) -> None:
        """The judge takes the time of the thread in which vendors and sinks live: he must not be asked too often."""
        eventually(self._is_drained, seconds, what=self, pause=pause)
        eventually(self.is_whole, seconds, what=self, pause=pause)

    def _is_drained(self) -> bool:
        assert self.daemon is not None
        # Never quite: whole lists come again and again. Whether all is there the verdicts say.
        return all(sink["backlog_records"] < _FEW_RECORDS for sink in self.daemon.status()["sinks"])

    def complaints(self) -> Iterator[str]:
        """What a correct daemon never does, whatever the weather."""
        yield from self.weather.canary.violations
        for request in self.weather.canary.requests:
            yield f"a link was followed to another host: {request.target}"

    def silent_streams(self) -> list[str]:
        """Those of which nothing was issued, so that a verdict says nothing."""
        return [
            f"{name}/{stream}"
            for name, tenant in self.tenants.items()
            for stream in tenant.streams
            if not tenant.simulator.issued.get(stream)
        ]

    def growth(self) -> tuple[float, float]:
        """Resident bytes, and open descriptors, of the watched life: its last third against its first, as ratios."""
        third = len(self.samples) // 3
        early, late = self.samples[:third], self.samples[-third:]
        return (
            median(each.resident_bytes for each in late) / median(each.resident_bytes for each in early),
            median(each.descriptors for each in late) / median(each.descriptors for each in early),
        )

    def __str__(self) -> str:
        ready = sorted(self.ready_after) or [0.0]
        issued = sum(each.simulator.issued_count.total() for each in self.tenants.values())
        asked = sum(served.counters["requests"] for served in self.site.vendors.values())
        faults = sum(served.counters["faults"] for served in self.site.vendors.values())
        posts = sum(sink.counters["posts"] for sink in self.sinks.values())
        taken = sum(sink.counters["status 200"] for sink in self.sinks.values())
        lines = [
            f"COLLECTORD_ORACLE_SEED={self.seed}: {self.kinds.total()} lives, {issued} records issued",
            f"ready after {ready[len(ready) // 2]:.2f} s, at the longest {ready[-1]:.2f} s",
            "ended at: " + ", ".join(f"{count} x {kind}" for kind, count in self.kinds.most_common()),
            "troubles: " + ", ".join(f"{count} x {kind}" for kind, count in self.weather.troubles.most_common()),
            f"{self.weather.hang_ups} SIGHUPs; {faults} of {asked} requests failed; {taken} of {posts} posts taken",
            *(
                f"at {each.second:.0f} s: {each.resident_bytes / 2**20:.1f} MiB, {each.descriptors} descriptors"
                for each in self.samples
            ),
            *(f"sink {name}: {verdict}" for name, verdict in self.verdicts().items()),
        ]
        return "\n".join(lines)
