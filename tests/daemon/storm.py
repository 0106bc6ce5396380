"""Everything goes wrong for a while, by a seed: the daemon is killed, vendors and sinks fail, files change.

    storm = Storm(site, seed=7, tenants=OKTA)
    storm.rage(kills=100)
    storm.clear_up()

While it rages records are issued without a pause. Afterwards nothing is wrong any more, and everything that was ever
issued must be in the sinks.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from collectord.demo.canary import Canary
from collectord.demo.faults import (
    BadGzip,
    Cut,
    EmptyBody,
    Fault,
    ForeignNext,
    HtmlPage,
    JsonObject,
    Reset,
    Slow,
    Status,
    VendorError,
)
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import LOGS
from collectord.demo.oracle import Verdict, judge
from collectord.demo.sink import NdjsonSink, SinkKnobs
from collectord.demo.waits import Waits
from tests.daemon.crashing import KILLED, POINTS, RELOAD, WORK
from tests.daemon.harness import Daemon, Site, eventually, replace
from tests.daemon.tenants import Make, Tenant

TICK_SECONDS = 0.04
TROUBLE_EVERY_TICKS = 5
LIFE_SECONDS = 1.2
"""A daemon that has not died by then is killed."""
SINK_TIMEOUT_SECONDS = 0.4
RETRY = {"initial": "20ms", "max": "150ms"}

VENDOR_FAULTS: tuple[Fault, ...] = (
    VendorError(500),
    VendorError(503),
    Status(502, b"<html>bad gateway</html>", content_type="text/html"),
    HtmlPage(),
    EmptyBody(),
    JsonObject(),
    Cut("length"),
    Cut("chunked"),
    Cut("close"),
    Reset("before_status"),
    Reset("after_status"),
    Reset("in_body"),
    BadGzip("checksum"),
    Slow(before=0.2),
    VendorError(401),
)
SINK_FAULTS: tuple[Fault, ...] = (
    Status(500),
    Status(503),
    Status(429),
    Status(403),
    Status(408, vendor_acts=True),
    Status(500, vendor_acts=True),
    Reset("before_status"),
    Reset("after_status"),
    Slow(before=2 * SINK_TIMEOUT_SECONDS),
    Slow(before=0.1),
)
"""Those with `vendor_acts`, and a late answer, come after the batch was stored."""
SINKS = ("default", "choosy")


class Storm:
    """One site in bad weather."""

    def __init__(
        self,
        site: Site,
        seed: object,
        tenants: Sequence[Make],
        *,
        tamper: Sequence[str] = (),
    ) -> None:
        self.site = site
        self.tenants: dict[str, Tenant] = {}
        self.kinds: Counter[str] = Counter()
        """How each life ended: the crash point, or `kill`."""
        self.troubles: Counter[str] = Counter()
        self.ready_after: list[float] = []
        """Seconds from each start to READY=1."""
        self.daemon: Daemon | None = None
        self._tamper = tamper
        self.seed = seed
        self._fate = Random(f"{seed} fate")
        self._weather = Random(f"{seed} weather")
        self._is_over = threading.Event()
        self._failure: BaseException | None = None
        self._canary = Canary()
        self._away: dict[NdjsonSink, float] = {}
        self._compression = "gzip"
        self._fresh: dict[str, str] = {}
        self._sink_timeout = SINK_TIMEOUT_SECONDS
        self._deck: list[str] = []
        self._build(tenants)

    # -------------------------------------------------------------------------------------------- what there is

    def _build(self, make_tenants: Sequence[Make]) -> None:
        """The tenants and two sinks, of which the second is choosy."""
        for number, make in enumerate(make_tenants):
            tenant = make(self.site.secret(f"tenant-{number}"), number)
            self.site.secret(tenant.name, f"tenant-{number}")
            self.site.vendors[tenant.name] = tenant.simulator
            self.site.serve(tenant.simulator)
            self.tenants[tenant.name] = tenant
        # An answer that was cut on its way told the daemon nothing, and a new credential has limits of its own.
        self.site.allowed.append("told to wait")
        # A batch that was split begins anew after a crash: whole, then its halves with the same keys as before.
        self.site.allowed.append(r"batch (\w{32})[ab]* of \S+: overtook the batch \1[ab]*,")
        self._canary.secrets.update(self.site.secrets)
        self._foreign = self.site.enter(self._canary.serve()) + "/elsewhere"
        self.site.sinks["choosy"] = self.choosy = self.site.open_sink(SinkKnobs(max_batch_bytes=6_000))
        self._intervals = dict.fromkeys(self.tenants, "100ms")
        self._wanted = set(self.tenants)
        self._write()

    def _write(self) -> None:
        """The files as they should be now."""
        for name, tenant in self.tenants.items():
            if name in self._wanted:
                replace(self.site.source_file(name), json.dumps({"source": tenant.document(self._intervals[name])}))
            else:
                self.site.source_file(name).unlink(missing_ok=True)
        sink = {"retry": RETRY, "timeout": self._sink_timeout, "max_batch_bytes": "16KiB"}
        self.site.configure(
            sinks={
                "default": self.site.sink_settings(self.site.sink, **sink, compression=self._compression),
                "choosy": self.site.sink_settings(self.choosy, **sink),
            },
            stop_grace="1s",
        )

    @property
    def _sinks(self) -> list[NdjsonSink]:
        return [self.site.sink, self.choosy]

    # --------------------------------------------------------------------------------------------------- raging

    def rage(self, kills: int = 0, seconds: float = 0.0) -> None:
        """Let so many lives end, or let so much time pass."""
        weather = threading.Thread(target=self._be_bad)
        weather.start()
        ends = time.monotonic() + seconds
        try:
            while (self.kinds.total() < kills or time.monotonic() < ends) and self._failure is None:
                crash = self._draw()
                self._live(crash, LIFE_SECONDS if crash else self._fate.uniform(0.0, LIFE_SECONDS))
        finally:
            self._is_over.set()
            weather.join()
        if self._failure is not None:
            raise self._failure

    def die_at(self, point: str, seconds: float = 20.0) -> None:
        """One life that must end at this point; there is something to collect, and everything fails once."""
        for served in (*self.site.vendors.values(), *self._sinks):
            self.site.call(served.faults.clear)
        for tenant in self.tenants.values():
            self.site.call(tenant.simulator.issue, 3, **tenant.flavours[0])
            self.site.call(tenant.simulator.fail, VendorError(500))
            self._refuse_link(tenant)
        for sink in self._sinks:
            self.site.call(sink.fail, Status(503))
            self.site.call(sink.fail, Status(500, vendor_acts=True))
        self._live(point, seconds)
        assert self.kinds[point], f"no daemon died at: {point}"

    def _live(self, crash: str, seconds: float) -> None:
        """One life, which is ended if it does not end before."""
        daemon = self._start(crash)
        ends = time.monotonic() + seconds
        while daemon.process.poll() is None and time.monotonic() < ends:
            time.sleep(0.005)
            if crash.partition(":")[0] in RELOAD and daemon.is_ready() and not daemon.notify.with_key("RELOADING"):
                daemon.send(signal.SIGHUP)
        self._bury(daemon, crash)

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
        for served in (*self.site.vendors.values(), *self._sinks):
            vars(served)["_waits"] = Waits()  # a process that has died does not know what its predecessor was told
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

    # -------------------------------------------------------------------------------------------------- weather

    def _be_bad(self) -> None:
        try:
            tick = 0
            while not self._is_over.wait(TICK_SECONDS):
                tick += 1
                self.issue()
                if tick % TROUBLE_EVERY_TICKS == 0:
                    self._make_trouble()
        except BaseException as failure:  # noqa: BLE001  for the test's own thread
            self._failure = failure

    def issue(self) -> None:
        """Some records, late and odd ones among them."""
        for tenant in self.tenants.values():
            if count := self._weather.choice((0, 0, 1, 3, 9)):
                self.site.call(tenant.simulator.issue, count, **self._weather.choice(tenant.flavours))

    def _make_trouble(self) -> None:
        now = time.monotonic()
        for sink in [sink for sink, until in self._away.items() if until < now]:
            del self._away[sink]
            self.site.call_async(sink.come_back)
        trouble = self._weather.choice(
            (
                self._vendor_fails,
                self._vendor_fails,
                self._link_is_refused,
                self._link_leads_elsewhere,
                self._tenant_is_busy,
                self._sink_fails,
                self._sink_fails,
                self._sink_goes_away,
                self._files_change,
                self._files_change,
                self._hang_up,
                self._operator_acts,
            )
        )
        self.troubles[trouble.__name__.strip("_")] += 1
        trouble()

    def _some_tenant(self) -> Tenant:
        return self._weather.choice(list(self.tenants.values()))

    def _vendor_fails(self) -> None:
        fault = self._weather.choice(VENDOR_FAULTS)
        self.site.call(self._some_tenant().simulator.fail, fault, times=self._weather.randint(1, 3))

    def _link_is_refused(self) -> None:
        self._refuse_link(self._some_tenant())

    def _refuse_link(self, tenant: Tenant) -> None:
        if tenant.link_refused is not None:
            fault, when = tenant.link_refused
            self.site.call(tenant.simulator.fail, fault, when=when)

    def _link_leads_elsewhere(self) -> None:
        self.site.call(self._some_tenant().simulator.fail, ForeignNext(self._foreign))

    def _tenant_is_busy(self) -> None:
        simulator = self._some_tenant().simulator
        if isinstance(simulator, OktaSimulator) and simulator.knobs.org_limits:
            self.site.call(simulator.burn, LOGS, 1000)

    def _sink_fails(self) -> None:
        fault = self._weather.choice(SINK_FAULTS)
        self.site.call(self._weather.choice(self._sinks).fail, fault, times=self._weather.randint(1, 3))

    def _sink_goes_away(self) -> None:
        sink = self._weather.choice(self._sinks)
        if sink not in self._away:
            self._away[sink] = time.monotonic() + self._weather.uniform(0.1, 1.0)
            self.site.call_async(sink.go_down)

    def _files_change(self) -> None:
        name = self._some_tenant().name
        what = self._weather.randrange(4)
        if what == 0:
            self._intervals[name] = self._weather.choice(("50ms", "100ms", "300ms"))
        elif what == 1:
            self._wanted ^= {name}
        elif what == 2:
            self._compression = self._weather.choice(("gzip", "none"))
        else:
            secret = self.site.secret(name, f"{name}{self._weather.getrandbits(32)}")
            self.site.call(self.tenants[name].simulator.accept_credential, secret)
        self._write()
        self._hang_up()

    def _hang_up(self) -> None:
        if self.daemon is not None and self.daemon.is_ready():
            self.daemon.send(signal.SIGHUP)

    def _operator_acts(self) -> None:
        daemon, action = self.daemon, self._weather.choice(("restart", "pause", "resume", "poll"))
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # it may die of it
            if daemon is not None and daemon.is_ready():
                daemon.act(self._some_tenant().name, action)

    # ------------------------------------------------------------------------------------------------ afterwards

    def clear_up(self) -> None:
        """Nothing is wrong any more, and a fresh event still flows."""
        for sink in self._away:
            self.site.call_async(sink.come_back)
        self._away.clear()
        for served in (*self.site.vendors.values(), *self._sinks):
            self.site.call(served.faults.clear)
        self._wanted = set(self.tenants)
        self._sink_timeout = 30.0  # from now on the judge, too, takes the sink's time
        self._write()
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

        def judged(sink: NdjsonSink, name: str) -> Verdict:
            wanted = [each for each in self.tenants.values() if name in each.options.get("sinks", SINKS)]
            return judge([expectation for each in wanted for expectation in each.expectations()], sink.records)

        return {name: self.site.call(judged, sink, name) for name, sink in zip(SINKS, self._sinks, strict=True)}

    def wait_until_fresh_ones_came(self) -> None:
        """What was issued last is delivered last, so that whatever has not come by then does not come any more."""

        def came() -> bool:
            delivered = [{record.id for record in each} for each in self.site.sink.records.values()]
            return all(any(fresh in ids for ids in delivered) for fresh in self._fresh.values())

        eventually(lambda: self.site.call(came), what=self, pause=0.1)

    def is_whole(self) -> bool:
        """Whether everything has arrived, once, as it was issued."""
        return all(verdict.ok for verdict in self.verdicts().values())

    def wait_until_whole(self, seconds: float = 60.0) -> None:
        """The judge takes the time of the thread in which vendors and sinks live: he must not be asked too often."""
        eventually(self.is_whole, seconds, what=self, pause=0.5)

    def complaints(self) -> Iterator[str]:
        """What a correct daemon never does, whatever the weather."""
        yield from self._canary.violations
        for request in self._canary.requests:
            yield f"a link was followed to another host: {request.target}"

    def __str__(self) -> str:
        ready = sorted(self.ready_after) or [0.0]
        issued = sum(each.simulator.issued_count.total() for each in self.tenants.values())
        lines = [
            f"COLLECTORD_ORACLE_SEED={self.seed}: {self.kinds.total()} lives, {issued} records issued",
            f"ready after {ready[len(ready) // 2]:.2f} s, at the longest {ready[-1]:.2f} s",
            "ended at: " + ", ".join(f"{count} x {kind}" for kind, count in self.kinds.most_common()),
            "troubles: " + ", ".join(f"{count} x {kind}" for kind, count in self.troubles.most_common()),
            *(f"sink {name}: {verdict}" for name, verdict in self.verdicts().items()),
        ]
        return "\n".join(lines)
