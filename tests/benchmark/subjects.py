"""The programs that are measured: each a process of its own, alone on one core."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "systemd" / "collectord.service"


class Ended(Exception):
    """The program that is being measured ended by itself."""


def leave_a_core() -> set[int]:
    """Keep this process off one core, and return that one. Figures of a machine with one core say little."""
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, others or {first})
    return {first}


def allocator() -> dict[str, str]:
    """The MALLOC_* variables of the unit file, which both sides get."""
    return dict(re.findall(r"(MALLOC_\w+)=(\d+)", UNIT.read_text(encoding="utf-8")))


class Subject:
    """A process that is being measured."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, to the nanosecond."""
        return time.clock_gettime(
            (~self.process.pid << 3) | 2
        )  # the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)

    def peak_mib(self) -> float:
        """The most memory that it ever had resident."""
        return self._status("VmHWM")

    def resident_mib(self) -> float:
        return self._status("VmRSS")

    def check(self) -> None:
        """Raises Ended, with its last words."""
        if self.process.poll() is not None:
            raise Ended(f"{self.process.args!r} ended: {self._log.read_text(encoding='utf-8')[-2000:]}")

    def _status(self, name: str) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024


@contextmanager
def running(words: Sequence[str], core: set[int], scratch: Path) -> Iterator[Subject]:
    """Run `python WORDS` on `core` while the block lasts; its log goes into `scratch`."""
    environment = {**os.environ, **allocator()}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as where it is installed
    log, log_path = mkstemp(".log", dir=scratch)
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core)  # inherited
    try:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdout=log, stderr=log)
    finally:
        os.sched_setaffinity(0, own)
        os.close(log)
    try:
        yield Subject(process, Path(log_path))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
