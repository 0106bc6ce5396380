"""Full speed: what a record costs, and how much memory that takes, against the floor."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from tests.benchmark.configuration import write
from tests.benchmark.far_side import FarSide
from tests.benchmark.report import Row, table
from tests.benchmark.subjects import running

_QUIET_SECONDS = 1.0


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
    """One far side, over which both programs run in turn."""

    def __init__(self, far: FarSide, options: argparse.Namespace, core: set[int], scratch: Path) -> None:
        self._far = far
        self._records = options.records
        self._tokens = tokens(options)
        self._core = core
        self._scratch = scratch
        self._number = 0

    async def collectord(self) -> Run:
        self._number += 1
        sources = [(token, self._far.source_url) for token in self._tokens]
        file = write(self._scratch / str(self._number), self._far.sink_url, sources)
        return await self._run(["-m", "collectord", "run", "--config", str(file)])

    async def floor(self) -> Run:
        logs = [f"{self._far.source_url}={token}" for token in self._tokens]
        return await self._run(["tests/benchmark/floor.py", self._far.sink_url, *logs])

    async def _run(self, words: list[str]) -> Run:
        began: list[float] = []
        self._far.begin(lambda: began.extend([time.perf_counter(), subject.cpu_seconds(), time.process_time()]))
        with running(words, self._core, self._scratch) as subject:
            while not self._far.is_quiet(_QUIET_SECONDS):
                subject.check()
                await anyio.sleep(0.1)
            ended = [self._far.last_arrival_at, subject.cpu_seconds(), time.process_time()]
            peak_mib = subject.peak_mib()
        wall, cpu, far_cpu = (end - begin for begin, end in zip(began, ended, strict=True))
        return Run(self._count(), cpu, wall, peak_mib, far_cpu)

    def _count(self) -> int:
        expected = self._records * len(self._tokens)
        records, ids = self._far.count()
        if (records, ids) != (expected, self._records):
            raise Lost(f"the sink has {records} records with {ids} ids instead of {expected} with {self._records}")
        if self._far.violations:
            raise Lost(f"the simulator complains: {self._far.violations[0]}")
        return records


def tokens(options: argparse.Namespace) -> list[str]:
    return [f"00token{number}" for number in range(options.sources)]


async def measure(options: argparse.Namespace, core: set[int], scratch: Path) -> str:
    """Run both programs in turn; returns a table. Raises Lost."""
    far = FarSide(tokens(options), options.records, latency=options.latency / 1000, gzip=options.gzip)
    ours, floors = [], []
    async with far.serve():
        course = Course(far, options, core, scratch)
        await course.floor()  # compiles modules, warms the far side up
        for _ in range(options.pairs):
            ours.append(await course.collectord())
            floors.append(await course.floor())
    return table(_ROWS, ours, floors)
