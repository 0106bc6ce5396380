"""`collectord demo`: the real daemon against simulated vendors and a local sink, with some trouble on the way.

The simulators and the sink live in this process, the daemon is one of its own. In the end what was issued is compared
with what the sink holds, byte for byte.
"""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import Process

from collectord.demo.faults import VendorError
from collectord.demo.oracle import Verdict, expect, judge
from collectord.demo.screen import Screen
from collectord.demo.sink import NdjsonSink, SinkKnobs
from collectord.demo.tenants import TENANTS

POLL_SECONDS = 3.0
DRAIN_SECONDS = 30.0
SINK_AWAY_SECONDS = 4.0
ACCESS_ID = "demo"


def run_demo(directory: Path | None, duration_seconds: float) -> int:
    """Run for so long; returns 0 when everything that was issued was delivered, 1 otherwise."""
    folder = directory or Path(tempfile.mkdtemp(prefix="collectord-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("records", "state"):
        if (folder / name).exists() and any((folder / name).iterdir()):
            sys.stderr.write(f"collectord: {folder / name} is of an earlier demo; choose another --directory\n")
            return 1
    return anyio.run(Demo(folder, duration_seconds).run, backend_options={"use_uvloop": True})


class Demo:
    """One demonstration."""

    def __init__(self, folder: Path, duration_seconds: float) -> None:
        self._folder = folder
        self._duration = duration_seconds
        self._tenants = [make(POLL_SECONDS) for make in TENANTS]
        self._sink = NdjsonSink(SinkKnobs(directory=folder / "records"))
        self._page = f"127.0.0.1:{_free_port()}"
        self._access_key = secrets.token_urlsafe(12)
        self._screen = Screen(folder, duration_seconds)
        self._process: Process | None = None
        self._crashes = 0
        self._interrupted = False

    async def run(self) -> int:
        """From the first event to the summary."""
        async with AsyncExitStack() as stack:
            sink_url = await stack.enter_async_context(self._sink.serve())
            urls = [await stack.enter_async_context(tenant.simulator.serve()) for tenant in self._tenants]
            await to_thread.run_sync(self._write_files, sink_url, urls)
            for tenant in self._tenants:
                for stream, count in tenant.history.items():
                    tenant.simulator.issue(count, stream=stream)
            self._screen.opening(self._tenants, f"http://{self._page}/", ACCESS_ID, self._access_key)
            async with anyio.create_task_group() as group:
                group.start_soon(self._daemon)
                group.start_soon(self._show_progress)
                group.start_soon(self._until_interrupted, group.cancel_scope)
                await self._act()
                group.cancel_scope.cancel()
            verdict = self._judge()
        self._screen.closing(verdict, self._tenants, self._sink, interrupted=self._interrupted)
        if self._interrupted:
            verdict = verdict.but_for_the_missing()
        return 0 if verdict.ok and not self._violations() and not self._crashes else 1

    async def _act(self) -> None:
        """Issue records, make trouble on the way, and wait until everything has arrived."""
        with anyio.move_on_after(self._duration):
            async with anyio.create_task_group() as group:
                for tenant in self._tenants:
                    for stream, rate in tenant.per_second.items():
                        group.start_soon(partial(tenant.simulator.issue_steadily, rate, stream=stream))
                group.start_soon(self._make_trouble)
        with anyio.move_on_after(DRAIN_SECONDS):
            while not self._judge().ok:  # noqa: ASYNC110  looks at the sink's records, which tell nobody when they come
                await anyio.sleep(0.5)

    async def _make_trouble(self) -> None:
        scenes: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.2, self._vendor_fails),
            (0.4, self._sink_goes_away),
            (0.6, self._daemon_is_killed),
            (0.8, self._events_come_late),
        ]
        started = anyio.current_time()
        for share, scene in scenes:
            await anyio.sleep(max(0.0, started + share * self._duration - anyio.current_time()))
            await scene()

    async def _vendor_fails(self) -> None:
        self._screen.scene("the vendors answer 503 to their next requests")
        for tenant in self._tenants:
            tenant.simulator.fail(VendorError(503), times=2)

    async def _sink_goes_away(self) -> None:
        away = min(SINK_AWAY_SECONDS, self._duration / 8)
        self._screen.scene(f"the sink refuses connections for {away:.0f} seconds")
        await self._sink.go_down()
        await anyio.sleep(away)
        await self._sink.come_back()

    async def _daemon_is_killed(self) -> None:
        self._screen.scene("collectord is killed (SIGKILL) and started again")
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        for tenant in self._tenants:
            tenant.simulator.meet_anew()

    async def _events_come_late(self) -> None:
        self._screen.scene("the vendors commit some records minutes late")
        for tenant in self._tenants:
            tenant.simulator.issue(50, **tenant.late)

    async def _daemon(self) -> None:
        """Keep the daemon running, as systemd would; at the end ask it to stop."""
        command = [sys.executable, "-m", "collectord", "run", "--config", str(self._folder / "collectord.yaml")]
        with (self._folder / "collectord.log").open("ab") as log:
            while True:
                self._process = await anyio.open_process(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                try:
                    await self._process.wait()
                except anyio.get_cancelled_exc_class():
                    with suppress(ProcessLookupError):  # Ctrl-C in a terminal has reached it already
                        self._process.send_signal(signal.SIGTERM)
                    with anyio.move_on_after(15, shield=True):
                        await self._process.wait()
                    raise
                if self._process.returncode not in {-signal.SIGKILL, 0}:  # not our doing, nor that of Ctrl-C
                    self._screen.scene(f"collectord ended by itself, exit code {self._process.returncode}: see its log")
                    self._crashes += 1
                    await anyio.sleep(1)

    async def _until_interrupted(self, whole: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._interrupted = True
                whole.cancel()

    async def _show_progress(self) -> None:
        while True:
            await anyio.sleep(self._screen.refresh_seconds)
            state = await to_thread.run_sync(self._ask)
            self._screen.progress(self._tenants, self._sink, state)

    def _ask(self) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection("localhost", timeout=2)
        try:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(2)
            connection.sock.connect(str(self._folder / "state" / "collectord.sock"))
            connection.request("GET", "/api/v1/status")
            state: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return state

    def _write_files(self, sink_url: str, urls: list[str]) -> None:
        sources = self._folder / "sources.d"
        for folder in (sources, self._folder / "records"):
            folder.mkdir(exist_ok=True)
        daemon = {
            "collector": {"name": "demo", "category": "demo", "fields": {"env": "demo"}},
            "state": {"directory": str(self._folder / "state")},
            "sinks": {"default": {"type": "http", "url": f"{sink_url}/ingest"}},
            "management": {
                "listen": self._page,
                "access_id": ACCESS_ID,
                "access_key": f"${{file:{self._folder / 'access_key'}}}",
            },
        }
        # JSON is YAML too, and needs no writer of its own.
        (self._folder / "collectord.yaml").write_text(json.dumps(daemon, indent=2) + "\n")
        for tenant, url in zip(self._tenants, urls, strict=True):
            (sources / f"{tenant.source}.json").write_text(json.dumps(tenant.document(url), indent=2) + "\n")
            for name, secret in tenant.secrets.items():
                self._write_secret(name, secret)
        self._write_secret("access_key", self._access_key)

    def _write_secret(self, name: str, secret: str) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(secret)

    def _judge(self) -> Verdict:
        # Of an object that changes, a version that died with the daemon can be fetched no more, only the next one.
        expectations = [
            each for tenant in self._tenants for each in expect(tenant.source, tenant.simulator, every_version=False)
        ]
        return judge(expectations, self._sink.records)

    def _violations(self) -> list[str]:
        return [*self._sink.violations, *(each for tenant in self._tenants for each in tenant.simulator.violations)]


def _free_port() -> int:
    """A port that nobody listens on; it is to stay the same when the daemon is killed and started again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
