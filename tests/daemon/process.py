"""One process of the daemon, as systemd, an operator and the kernel see it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.daemon.forkserver import Forked, ended

if TYPE_CHECKING:
    from tests.daemon.harness import Site

T = TypeVar("T")

SECONDS = 30.0
"""Long enough for a machine that has much else to do; what is waited for comes much sooner."""


def eventually(holds: Callable[[], T], seconds: float = SECONDS, *, what: object = "", pause: float = 0.01) -> T:
    """What `holds` returns once it is true; other processes give no event to wait for."""
    ends = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what or holds}")
        time.sleep(pause)
    return result


@dataclass(frozen=True)
class Datagram:
    """One message to systemd."""

    at: float
    """On the monotonic clock."""
    text: str

    @property
    def values(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.text.split("\n"))


class NotifySocket:
    """What systemd's end of `$NOTIFY_SOCKET` hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.datagrams: list[Datagram] = []
        self._when_ready: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            with self._lock:
                self.datagrams.append(Datagram(time.monotonic(), data.decode()))
            self._call_if_ready()

    def when_ready(self, act: Callable[[], None]) -> None:
        """Act once, as soon as READY=1 came."""
        self._when_ready = act
        self._call_if_ready()

    def _call_if_ready(self) -> None:
        with self._lock:
            if self._when_ready is None or not self.with_key("READY"):
                return
            act, self._when_ready = self._when_ready, None
        act()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink()

    def with_key(self, key: str) -> list[Datagram]:
        return [datagram for datagram in self.datagrams if key in datagram.values]


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Daemon:
    """One process of the daemon."""

    def __init__(self, site: Site, process: subprocess.Popen[bytes] | Forked, log: Path, notify: NotifySocket) -> None:
        self.site = site
        self.process: subprocess.Popen[bytes] | Forked = process
        self.log_path = log
        self.notify = notify
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    # ------------------------------------------------------------------------------------------------ its life

    def is_ready(self) -> bool:
        return bool(self.notify.with_key("READY"))

    def wait_until_ready(self) -> Daemon:
        def ready() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log_path.read_text()}"
            return self.is_ready()

        eventually(ready, what=lambda: f"READY=1; the log:\n{self.log_path.read_text()}")
        if isinstance(self.process, subprocess.Popen):  # a forked one shows what its server was started with
            self.site.traces += [Path(f"/proc/{self.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        return self

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(seconds)
        if self in self.site.alive:
            self.site.alive.remove(self)
            self.notify.close()
        return code

    def ends_within(self, seconds: float) -> bool:
        """Whether it ended by itself, at the latest by then."""
        return self.process.poll() is not None or ended(self.pid, seconds)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def reload(self) -> str:
        """SIGHUP, as `systemctl reload` does it: returns the STATUS of the READY that ends the reload."""
        before = len(self.notify.with_key("RELOADING"))
        self.send(signal.SIGHUP)
        return self.wait_until_reloaded(before + 1)

    def wait_until_reloaded(self, times: int = 1) -> str:
        def ended() -> str | None:
            reloading = self.notify.with_key("RELOADING")[times - 1 :]
            if not reloading:
                return None
            ready = [datagram for datagram in self.notify.with_key("READY") if datagram.at >= reloading[0].at]
            return ready[0].values["STATUS"] if ready else None

        return eventually(ended, what="a reload that ends") or ""

    # ------------------------------------------------------------------------------------------ what it says

    def ask(self, target: str, method: str = "GET") -> Any:
        """The answer of the management API on the Unix socket."""
        connection = UnixConnection(self.site.socket)
        try:
            connection.request(method, target)
            data = connection.getresponse().read()
        finally:
            connection.close()
        self.site.answers.append(data)
        return json.loads(data)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.ask("/api/v1/status")
        return status

    def source(self, name: str) -> dict[str, Any]:
        return next(source for source in self.status()["sources"] if source["name"] == name)

    def stream(self, name: str, stream: str = "events") -> dict[str, Any]:
        """A stream's part of the status; empty before the source has begun."""
        streams = self.source(name)["streams"]
        return next((each for each in streams if each["name"] == stream), {})

    def state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = self.source(name)["state"]
        return state

    def sink(self, name: str = "default") -> dict[str, Any]:
        return next(sink for sink in self.status()["sinks"] if sink["name"] == name)

    def wait_for_state(self, name: str, state: str) -> dict[str, Any]:
        """The source's `state` object, once it is in this state."""
        eventually(lambda: self.state(name)["state"] == state, what=lambda: f"{state}: {self.source(name)}")
        return self.state(name)

    def act(self, name: str, action: str) -> Any:
        return self.ask(f"/api/v1/collectors/1/sources/{name}/action/{action}", "POST")

    def open_events(self, name: str | None = None) -> dict[str, dict[str, Any]]:
        """Open health events by name, of one resource or of all."""
        events = self.ask("/api/v1/health")["open"]
        return {event["eventName"]: event for event in events if name in {None, event["resourceIdentity"]["name"]}}

    def closed_events(self, name: str) -> list[str]:
        """Names of closed health events of a resource, newest first."""
        events = self.ask("/api/v1/health")["recent"]
        return [event["eventName"] for event in events if event["resourceIdentity"]["name"] == name]

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Its log so far, each line read as JSON, or those of one event."""
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines()]
        return [line for line in lines if event in {None, line["event"]}]

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
