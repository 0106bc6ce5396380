"""Full speed: what a record costs, and how much memory that takes, against the floor; and what rules cost."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from tests.benchmark.configuration import filters_of, write
from tests.benchmark.far_side import FarSide
from tests.benchmark.report import Row, table
from tests.benchmark.subjects import running
from tests.benchmark.vendors import VENDORS, Load, Vendor

_QUIET_SECONDS = (1.0, 10.0)
"""Then a program is done; if something is missing it gets the longer time, since a busy disk may rest for seconds."""


class Lost(Exception):
    """The sink does not have what it should have."""


@dataclass(frozen=True)
class Run:
    """What one program did, from the first request to the last batch."""

    records: int
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float
    far_cpu_seconds: float

    @property
    def cost(self) -> float:
        """CPU-seconds for a million records."""
        return self.cpu_seconds / self.records * 1e6

    @property
    def rate(self) -> float:
        return self.records / self.wall_seconds

    @property
    def busy(self) -> float:
        """Per cent of its core."""
        return 100 * self.cpu_seconds / self.wall_seconds

    @property
    def far_busy(self) -> float:
        return 100 * self.far_cpu_seconds / self.wall_seconds


_ROWS: Sequence[Row[Run]] = (
    ("CPU-s per million records", lambda run: run.cost, 2),
    ("records/s", lambda run: run.rate, 0),
    ("peak RSS, MiB", lambda run: run.peak_mib, 0),
    ("core busy, %", lambda run: run.busy, 0),
    ("far side's core busy, %", lambda run: run.far_busy, 0),
)


class Course:
    """One far side, over which two programs run in turn."""

    def __init__(self, options: argparse.Namespace, core: set[int], scratch: Path) -> None:
        self._vendor = VENDORS[options.vendor]
        self._tokens = [f"00token{number}" for number in range(options.sources)]
        self._load = _load(options, self._vendor)
        self._page_size = {} if self._load.page_size == self._vendor.page_size else {"page_size": self._load.page_size}
        self.far = FarSide(self._vendor, self._tokens, self._load, latency=options.latency / 1000)
        self._expected = (self._load.records * len(self._tokens), self._load.records)
        """Records, and different ids of them."""
        self._core = core
        self._scratch = scratch
        self._number = 0

    async def collectord(self, *, with_rules: bool = False) -> Run:
        self._number += 1
        folder = self._scratch / str(self._number)
        sources = [(token, self.far.source_url) for token in self._tokens]
        filters = filters_of(self._vendor) if with_rules else []
        file = write(folder, self.far.sink_url, self._vendor, sources, filters, **self._page_size)
        return await self._run(["-m", "collectord", "run", "--config", str(file)])

    async def floor(self) -> Run:
        tenants = [f"{self.far.source_url}={token}" for token in self._tokens]
        return await self._run(["-m", self._vendor.floor, self.far.sink_url, str(self._load.page_size), *tenants])

    async def _run(self, words: list[str]) -> Run:
        began: list[float] = []
        ended: list[float] = []
        self.far.begin(lambda: began.extend([time.perf_counter(), subject.cpu_seconds(), time.process_time()]))
        with running(words, self._core, self._scratch) as subject:
            for seconds in _QUIET_SECONDS:
                while not self.far.is_quiet(seconds):
                    subject.check()
                    await anyio.sleep(0.1)
                ended = [self.far.last_arrival_at, subject.cpu_seconds(), time.process_time()]
                if self.far.count() == self._expected:
                    break
            peak_mib = subject.peak_mib()
        self._check()
        wall, cpu, far_cpu = (end - begin for begin, end in zip(began, ended, strict=True))
        return Run(self._expected[0], cpu, wall, peak_mib, far_cpu)

    def _check(self) -> None:
        """Raises Lost."""
        if (found := self.far.count()) != self._expected:
            raise Lost("the sink has {} records with {} ids instead of {} with {}".format(*found, *self._expected))
        if self.far.violations:
            raise Lost(f"the simulator complains: {self.far.violations[0]}")


def _load(options: argparse.Namespace, vendor: Vendor) -> Load:
    if not options.page_bytes:
        return Load(options.records, vendor.page_size, vendor.record_bytes, options.gzip)
    return Load(options.records, vendor.most_records, options.page_bytes // vendor.most_records, options.gzip)


async def measure(options: argparse.Namespace, core: set[int], scratch: Path) -> str:
    """Run two programs in turn; returns a table. Raises Lost."""
    course = Course(options, core, scratch)
    programs: dict[str, Callable[[], Awaitable[Run]]] = {"collectord": course.collectord, "floor": course.floor}
    if options.rules:
        programs = {"with four rules": partial(course.collectord, with_rules=True), "without": course.collectord}
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    async with course.far.serve():
        await course.floor()  # compiles modules, warms the far side up
        for _ in range(options.pairs):
            for name, program in programs.items():
                runs[name].append(await program())
    return table(_ROWS, runs)
