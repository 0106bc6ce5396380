"""Starts daemons by forking a process that has imported everything: a life begins in milliseconds.

A JSON object a line comes in and one goes out: `{"start": {...}}` answers the process id, `{"poll": PID}` its exit code
or null. What is started is a process of its own in every respect; it only found its modules loaded.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def ended(pid: int, seconds: float) -> bool:
    """Wait until a process has ended, at the longest so long; returns whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


class ForkServer:
    """The test's end of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.forkserver"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, **question: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Forked:
    """A started process, as `subprocess.Popen` shows one."""

    def __init__(self, server: ForkServer, **start: Any) -> None:
        self._server = server
        self.pid: int = server.ask(start=start)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        if self.poll() is None:
            ended(self.pid, timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a forked daemon", timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    """The forking end."""

    def __init__(self) -> None:
        self._codes: dict[int, int | None] = {}
        """Exit codes by process id; None: it lives."""

    def start(self, arguments: list[str], environment: dict[str, str], log: str, tamper: list[str], crash: str) -> int:
        pid = os.fork()
        if pid:
            self._codes[pid] = None
            return pid
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.environ.clear()
            os.environ.update(environment)
            for name in tamper:
                getattr(tampered, name)()
            crashing.install(crash)
            code = cli.main(arguments)
        except BaseException:  # noqa: BLE001  what Python does at the end of a process
            sys.excepthook(*sys.exc_info())
            code = 1
        os._exit(code)

    def poll(self, pid: int) -> int | None:
        if self._codes[pid] is None:
            done, status = os.waitpid(pid, os.WNOHANG)
            self._codes[pid] = os.waitstatus_to_exitcode(status) if done else None
        return self._codes[pid]

    def serve(self) -> None:
        """Answer until there is nobody to ask."""
        for line in sys.stdin:
            question = json.loads(line)
            answer = self.poll(question["poll"]) if "poll" in question else self.start(**question["start"])
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        for pid in self._codes:
            if self.poll(pid) is None:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    from collectord import cli, daemon  # noqa: F401  all that a daemon imports
    from tests.daemon import crashing, tampered

    _Server().serve()
