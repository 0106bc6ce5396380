"""What goes wrong in a storm, one trouble at a time, by a seed: vendors and sinks fail, files change, operators act."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
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
from collectord.demo.sink import NdjsonSink
from tests.daemon.harness import Site, replace
from tests.daemon.process import Daemon
from tests.daemon.tenants import LISTED_LESS_OFTEN, Tenant

SINK_TIMEOUT_SECONDS = 0.4
RETRY = {"initial": "20ms", "max": "150ms"}
INTERVALS_SECONDS = (0.05, 0.1, 0.3)

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
PASSING_SINK_FAULTS = tuple(fault for fault in SINK_FAULTS if not isinstance(fault, Status) or fault.status != 403)


class Weather:
    """All that is around a daemon, and how it is just now; `troubles` counts what went wrong.

    With a `fault_rate`, that part of all requests meets a fault besides.
    """

    def __init__(
        self,
        site: Site,
        chance: Random,
        tenants: dict[str, Tenant],
        sinks: dict[str, NdjsonSink],
        *,
        pace: float,
        fault_rate: float,
        daemon: Callable[[], Daemon | None],
    ) -> None:
        self.canary = Canary()
        self.troubles: Counter[str] = Counter()
        self.hang_ups = 0
        self._site = site
        self._chance = chance
        self._tenants = tenants
        self._sinks = sinks
        self._pace = pace
        self._daemon = daemon
        self._away: dict[NdjsonSink, float] = {}
        self._compression = "gzip"
        self._sink_timeout = SINK_TIMEOUT_SECONDS
        self._intervals = dict.fromkeys(tenants, 0.1)
        self._wanted = set(tenants)
        self.canary.secrets.update(site.secrets)
        self._foreign = site.enter(self.canary.serve()) + "/elsewhere"
        self._write()
        if fault_rate:
            for tenant in tenants.values():
                tenant.simulator.chaos(fault_rate, chance.getrandbits(32))
            for sink in sinks.values():
                sink.chaos(fault_rate, chance.getrandbits(32), PASSING_SINK_FAULTS)

    def _write(self) -> None:
        """The files as they should be now."""
        for name, tenant in self._tenants.items():
            file = self._site.source_file(name)
            if name in self._wanted:
                interval = self._intervals[name] * self._pace
                # As often as that the lists would be more than one lane can deliver in small parts.
                replace(file, json.dumps({"source": tenant.document(interval, LISTED_LESS_OFTEN * self._pace)}))
            else:
                file.unlink(missing_ok=True)
        common = {"retry": RETRY, "timeout": self._sink_timeout, "max_batch_bytes": "16KiB"}
        self._site.configure(
            sinks={
                name: self._site.sink_settings(
                    sink, **common, compression=self._compression if name == "default" else "gzip"
                )
                for name, sink in self._sinks.items()
            },
            stop_grace="1s",
        )

    def issue(self) -> None:
        """Some records, late and odd ones among them."""
        for tenant in self._tenants.values():
            if count := self._chance.choice((0, 0, 1, 3, 9)):
                self._site.call(tenant.simulator.issue, count, **self._chance.choice(tenant.flavours))

    def clear_up(self) -> None:
        """Nothing is wrong any more."""
        for sink in self._away:
            self._site.call_async(sink.come_back)
        self._away.clear()
        for served in (*(tenant.simulator for tenant in self._tenants.values()), *self._sinks.values()):
            self._site.call(served.faults.clear)
        self._wanted = set(self._tenants)
        # The choosy sink stays so: else it takes a batch whole of which it has a part, and holds that part twice.
        self._sink_timeout = 30.0  # from now on the judge, too, takes the sink's time
        self._write()

    # -------------------------------------------------------------------------------------------------- troubles

    def make_trouble(self) -> None:
        """One thing goes wrong; what went away long enough ago comes back."""
        now = time.monotonic()
        for sink in [sink for sink, until in self._away.items() if until < now]:
            del self._away[sink]
            self._site.call_async(sink.come_back)
        trouble = self._chance.choice(
            (
                self._vendor_fails,
                self._vendor_fails,
                self._link_is_refused,
                self._link_leads_elsewhere,
                self._tenant_is_busy,
                self._people_move,
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

    def refuse_link(self, tenant: Tenant) -> None:
        """The vendor does not know its own cursor any more."""
        if tenant.link_refused is not None:
            fault, when = tenant.link_refused
            self._site.call(tenant.simulator.fail, fault, when=when)

    def _some_tenant(self) -> Tenant:
        return self._chance.choice(list(self._tenants.values()))

    def _vendor_fails(self) -> None:
        fault = self._chance.choice(VENDOR_FAULTS)
        self._site.call(self._some_tenant().simulator.fail, fault, times=self._chance.randint(1, 3))

    def _link_is_refused(self) -> None:
        self.refuse_link(self._some_tenant())

    def _link_leads_elsewhere(self) -> None:
        self._site.call(self._some_tenant().simulator.fail, ForeignNext(self._foreign))

    def _tenant_is_busy(self) -> None:
        simulator = self._some_tenant().simulator
        if isinstance(simulator, OktaSimulator) and simulator.knobs.org_limits:
            self._site.call(simulator.burn, LOGS, 1000)

    def _people_move(self) -> None:
        movers = [tenant.move_people for tenant in self._tenants.values() if tenant.move_people]
        for move in movers:
            self._site.call(move, self._chance)

    def _sink_fails(self) -> None:
        sink = self._chance.choice(list(self._sinks.values()))
        self._site.call(sink.fail, self._chance.choice(SINK_FAULTS), times=self._chance.randint(1, 3))

    def _sink_goes_away(self) -> None:
        sink = self._chance.choice(list(self._sinks.values()))
        if sink not in self._away:
            self._away[sink] = time.monotonic() + self._chance.uniform(0.1, 1.0) * self._pace
            self._site.call_async(sink.go_down)

    def _files_change(self) -> None:
        name = self._some_tenant().name
        what = self._chance.randrange(4)
        if what == 0:
            self._intervals[name] = self._chance.choice(INTERVALS_SECONDS)
        elif what == 1:
            self._wanted ^= {name}
        elif what == 2:
            self._compression = self._chance.choice(("gzip", "none"))
        else:
            secret = self._site.secret(name, f"{name}{self._chance.getrandbits(32)}")
            self._site.call(self._tenants[name].accept, secret)
        self._write()
        self._hang_up()

    def _hang_up(self) -> None:
        daemon = self._daemon()
        if daemon is not None and daemon.is_ready():
            daemon.send(signal.SIGHUP)
            self.hang_ups += 1

    def _operator_acts(self) -> None:
        daemon, action = self._daemon(), self._chance.choice(("restart", "pause", "resume", "poll"))
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # it may die of it
            if daemon is not None and daemon.is_ready():
                daemon.act(self._some_tenant().name, action)
