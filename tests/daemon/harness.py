"""The daemon as a process, with vendors and a sink that live in the test's own process; and what must never be seen.

    site.source("okta-prod", okta := site.okta())
    site.configure()
    daemon = site.start()
    site.call(okta.issue, 5)
    site.delivered()

Every secret that a `Site` gives out holds `CANARY`; `Site.complaints` looks for it wherever the daemon could have left
it, and asks the simulators what the daemon did wrong.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
from aiohttp import web
from anyio.from_thread import BlockingPortal

from collectord.demo.loopback import Handler
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.demo.oracle import Verdict, expect, judge
from collectord.demo.served import Served
from collectord.demo.simulator import Simulator
from collectord.demo.sink import NdjsonSink, SinkKnobs
from tests.daemon.forkserver import ROOT, Forked, ForkServer, ended

T = TypeVar("T")

CANARY = "CaNaRy"
SECONDS = 30.0
"""Long enough for a machine that has much else to do; what is waited for comes much sooner."""
QUICK = {"initial": "100ms", "max": "300ms"}


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


@dataclass
class Peers:
    """Notes the connections that requests come by: one port of the client is one connection."""

    ports: list[int] = field(default_factory=list)

    def wrap(self, handler: Handler) -> Handler:
        async def noting(request: web.BaseRequest) -> web.StreamResponse:
            if request.transport is not None:
                port = request.transport.get_extra_info("peername")[1]
                if port not in self.ports:
                    self.ports.append(port)
            return await handler(request)

        return noting


class Site:
    """One installation in a folder: configuration, credentials, state, vendors and sinks, and the daemons it had."""

    def __init__(self, folder: Path, portal: BlockingPortal, server: ForkServer, life: ExitStack) -> None:
        self.folder = folder
        self.portal = portal
        self._server = server
        self.state = folder / "state"
        self.credentials = folder / "credentials"
        self.runtime = Path(tempfile.mkdtemp(prefix="collectord-", dir="/tmp"))  # short: it holds Unix sockets
        self.socket = self.runtime / "collectord.sock"
        self.config = folder / "etc" / "collectord.yaml"
        self.vendors: dict[str, Simulator] = {}
        """By the name of the source that collects from it."""
        self.sinks: dict[str, NdjsonSink] = {}
        self.peers: dict[int, Peers] = {}
        """By port of the vendor or sink."""
        self.secrets: list[str] = []
        self.alive: list[Daemon] = []
        self.daemons: list[Daemon] = []
        self.answers: list[bytes] = []
        """What the management API answered."""
        self.printed: list[str] = []
        """What commands printed."""
        self.traces: list[bytes] = []
        """What /proc showed of each process."""
        self.allowed: list[str] = []
        """Patterns of complaints that a test expects."""
        self._life = life
        for place in (self.credentials, self.config.parent / "sources.d"):
            place.mkdir(parents=True)
        self.secret("api_key")
        self.sink = self.open_sink()

    # -------------------------------------------------------------------------------------- vendors and sinks

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call something of a vendor or a sink in the thread where they live."""
        return self.portal.call(lambda: function(*arguments, **options))

    def call_async(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same, of something to be awaited."""
        return self.portal.call(function, *arguments)

    def serve(self, served: Served) -> None:
        """Let it serve until the end."""
        peers = Peers()
        served.put_before(peers.wrap)
        self.enter(served.serve())
        self.peers[served.port] = peers

    def enter(self, server: AbstractAsyncContextManager[T]) -> T:
        """Let something else serve there until the end."""
        return self._life.enter_context(self.portal.wrap_async_context_manager(server))

    def connections(self, served: Served) -> int:
        """How many connections it has seen."""
        return len(self.peers[served.port].ports)

    def okta(self, *, knobs: OktaKnobs | None = None, token: str = "okta", **options: Any) -> OktaSimulator:
        """A tenant without rate limits that takes the credential `token`."""
        knobs = knobs or OktaKnobs(org_limits=None)
        okta = OktaSimulator(self.secret(token), knobs, **{"event_bytes": 900, **options})
        self.serve(okta)
        return okta

    def open_sink(self, knobs: SinkKnobs | None = None) -> NdjsonSink:
        knobs = knobs or SinkKnobs()
        knobs.authorization = f"Bearer {self.secret('sink')}"
        sink = NdjsonSink(knobs)
        self.serve(sink)
        return sink

    # ------------------------------------------------------------------------------------------ configuration

    def secret(self, name: str, value: str | None = None) -> str:
        """The credential `name`, made if there is none; with a value it is changed."""
        path = self.credentials / name
        if value is not None or not path.exists():
            replace(path, f"00{CANARY}-{value or name}-0123456789")
            path.chmod(0o600)
            self.secrets.append(path.read_text())
        return path.read_text()

    def configure(
        self, *, sinks: dict[str, Any] | None = None, sink: dict[str, Any] | None = None, **parts: Any
    ) -> None:
        """Write collectord.yaml; `sink` changes the one sink, `parts` are added."""
        default = {"default": self.sink_settings(self.sink, **(sink or {}))}
        document = {
            "collector": {"name": "soc-1"},
            "state": {"directory": str(self.state)},
            "sinks": sinks or default,
            "log": {"level": "debug"},
            **parts,
        }
        replace(self.config, json.dumps(document, indent=1))  # JSON is YAML, too

    def sink_settings(self, sink: NdjsonSink, **options: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "url": f"{sink.base_url}/ingest",
            "headers": {"Authorization": "Bearer ${credential:sink}"},
            "retry": QUICK,
            **options,
        }

    def source(
        self, name: str, okta: OktaSimulator, *, token: str = "okta", users: bool = False, **options: Any
    ) -> None:
        """Write a source's file."""
        self.vendors[name] = okta
        document = source_document(name, okta, token, **options)
        document["config"]["users"] = users
        replace(self.source_file(name), json.dumps({"source": document}))

    def source_file(self, name: str) -> Path:
        return self.config.parent / "sources.d" / f"{name}.yaml"

    # ------------------------------------------------------------------------------------------ the processes

    def environment(self) -> dict[str, str]:
        """What systemd would give."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
            "RUNTIME_DIRECTORY": str(self.runtime),
            "CREDENTIALS_DIRECTORY": str(self.credentials),
        }

    def launch(self, **environment: str) -> Daemon:
        """Start a daemon as systemd does, and do not wait for it."""
        log, notify = self._prepare()
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "collectord", "run", "--config", self.config],
                cwd=ROOT,
                env={**self.environment(), "NOTIFY_SOCKET": str(notify.path), **environment},
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        return self._adopt(Daemon(self, process, log, notify))

    def fork(self, *, tamper: Sequence[str] = (), crash: str = "", **environment: str) -> Daemon:
        """Start a daemon in no time, and do not wait for it; see `tampered` and `crashing`."""
        log, notify = self._prepare()
        process = Forked(
            self._server,
            arguments=["run", "--config", str(self.config)],
            environment={**self.environment(), "NOTIFY_SOCKET": str(notify.path), **environment},
            log=str(log),
            tamper=list(tamper),
            crash=crash,
        )
        return self._adopt(Daemon(self, process, log, notify))

    def start(self, *tamper: str, **environment: str) -> Daemon:
        """Start a daemon in no time, and wait until it is ready."""
        return self.fork(tamper=tamper, **environment).wait_until_ready()

    def _prepare(self) -> tuple[Path, NotifySocket]:
        number = len(self.daemons)
        log = self.folder / f"log-{number}"
        log.touch()
        return log, NotifySocket(self.runtime / f"notify-{number}")

    def _adopt(self, daemon: Daemon) -> Daemon:
        self.daemons.append(daemon)
        self.alive.append(daemon)
        return daemon

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as an operator in a shell would: without the unit's credentials."""
        environment = self.environment()
        del environment["CREDENTIALS_DIRECTORY"]
        done = subprocess.run(
            [sys.executable, "-m", "collectord", *words, "--config", self.config],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * SECONDS,
        )
        self.printed += [done.stdout, done.stderr]
        return done

    # ----------------------------------------------------------------------------------------------- judging

    def verdict(self, sink: NdjsonSink | None = None) -> Verdict:
        """What the oracle says of a sink that must have everything."""
        sink = sink or self.sink

        def judged() -> Verdict:
            expectations = [each for name, okta in self.vendors.items() for each in expect(name, okta)]
            return judge(expectations, sink.records)

        return self.call(judged)

    def wait_until_all_is_delivered(self, seconds: float = SECONDS) -> None:
        eventually(lambda: self.verdict().ok, seconds, what=self.verdict)

    def complaints(self) -> Iterator[str]:
        """Everything that is wrong at the end, whatever the test was about."""
        for served in [*dict.fromkeys(self.vendors.values()), *dict.fromkeys([self.sink, *self.sinks.values()])]:
            yield from served.violations
        for daemon in self.daemons:
            yield from _wrong_lines(daemon.log_path)
        yield from self._leaks()

    def unexpected_complaints(self) -> list[str]:
        return [each for each in self.complaints() if not any(re.search(pattern, each) for pattern in self.allowed)]

    def _leaks(self) -> Iterator[str]:
        """Where a secret is to be seen."""
        needles = [CANARY.encode(), *(base64.b64encode(secret.encode()) for secret in self.secrets)]
        datagrams = [each.text.encode() for daemon in self.daemons for each in daemon.notify.datagrams]
        places: dict[str, list[bytes]] = {
            "a log": [daemon.log_path.read_bytes() for daemon in self.daemons],
            "the state directory": [path.read_bytes() for path in self.state.rglob("*") if path.is_file()],
            "an answer of the API": self.answers,
            "a command's output": [text.encode() for text in self.printed],
            "a message to systemd": datagrams,
            "/proc": self.traces,
        }
        for place, texts in places.items():
            for text in texts:
                if any(needle in text for needle in needles):
                    yield f"a secret is to be seen in {place}"

    def close(self) -> None:
        for daemon in list(self.alive):
            daemon.process.kill()
            daemon.wait()
        shutil.rmtree(self.runtime)


def replace(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def source_document(name: str, okta: OktaSimulator, token: str, **options: Any) -> dict[str, Any]:
    """A source as it stands in a file."""
    return {
        "schemaRef": {"type": "Okta"},
        "config": {"name": name, "domain": "acme.okta.com", "apiKey": f"${{credential:{token}}}"},
        "collectord": {
            "base_url": okta.base_url,
            "start": "1h",
            "intervals": {"events": "200ms"},
            "retry": QUICK,
            **options,
        },
    }


def _wrong_lines(log: Path) -> Iterator[str]:
    """Lines that are no JSON, warnings of Python, and mistakes of the program."""
    for line in log.read_bytes().splitlines():
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield f"a line of the log is no JSON: {line[:2000]!r}"
            continue
        if said.get("logger") or "exception" in said or said["level"] == "critical":
            yield f"the log tells of a mistake: {line[:4000].decode()}"
