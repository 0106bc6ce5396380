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
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
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
from tests.daemon.forkserver import ROOT, Forked, ForkServer
from tests.daemon.process import SECONDS, Daemon, NotifySocket, eventually

T = TypeVar("T")

CANARY = "CaNaRy"
QUICK = {"initial": "100ms", "max": "300ms"}


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

    def command(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as an operator in a shell would: without the unit's credentials; `said` is its stdin."""
        environment = self.environment()
        del environment["CREDENTIALS_DIRECTORY"]
        done = subprocess.run(
            [sys.executable, "-m", "collectord", *words, "--config", self.config],
            cwd=ROOT,
            env=environment,
            input=said,
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
