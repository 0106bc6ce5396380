"""What the demonstration says: on a terminal one line that lives, in a pipe a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from collectord.demo.oracle import Verdict
from collectord.demo.sink import NdjsonSink
from collectord.demo.tenants import Tenant

_TERMINAL_REFRESH_SECONDS = 0.5
_PIPE_REFRESH_SECONDS = 5.0
_PIPE_WIDTH = 200
_SHOWN_WRONGS = 5


class Screen:
    """Speaks to whoever watches."""

    def __init__(self, folder: Path, duration_seconds: float) -> None:
        self._folder = folder
        self._duration = duration_seconds
        self._began_at = time.monotonic()
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
        self._status = self._console.status("starting") if self._console.is_terminal else None
        self.refresh_seconds = _TERMINAL_REFRESH_SECONDS if self._status else _PIPE_REFRESH_SECONDS

    def opening(self, tenants: Sequence[Tenant], page: str, access_id: str, access_key: str) -> None:
        """Say what is about to happen."""
        names = ", ".join(tenant.schema for tenant in tenants)
        self._console.print(f"collectord collects from simulated tenants ({names}) for {self._duration:.0f} seconds.")
        self._console.print(f"Everything of this demo lies in {self._folder}.")
        self._console.print(f"Collection page: {page} (access id {access_id}, access key {access_key})", soft_wrap=True)
        self._console.print(f"Commands: collectord status --config {self._folder / 'collectord.yaml'}", soft_wrap=True)
        if self._status:
            self._status.start()

    def scene(self, text: str) -> None:
        """Say what trouble is being made."""
        self._console.print(Text(f"{self._clock()}  {text}", style="yellow"))

    def progress(self, tenants: Sequence[Tenant], sink: NdjsonSink, state: dict[str, Any] | None) -> None:
        """Show the figures of the moment."""
        issued = sum(sum(tenant.simulator.issued_count.values()) for tenant in tenants)
        line = f"{issued:,} records issued, {sink.counters['records']:,} delivered"
        if state is None:
            line += "; collectord is not there"
        else:
            waiting = sum(stream["backlog_records"] for source in state["sources"] for stream in source["streams"])
            troubled = [source["name"] for source in state["sources"] if source["state"]["state"] == "Error"]
            troubled += [f"sink {each['name']}" for each in state["sinks"] if each["state"] != "Healthy"]
            line += f", {waiting:,} waiting in the outbox"
            line += f"; in trouble: {', '.join(troubled)}" if troubled else ""
        if self._status:
            self._status.update(f"{self._clock()}  {line}")
        else:
            self._console.print(f"{self._clock()}  {line}")

    def closing(self, verdict: Verdict, tenants: Sequence[Tenant], sink: NdjsonSink, *, interrupted: bool) -> None:
        """Say what came of it, the bad included."""
        if self._status:
            self._status.stop()
        if interrupted:
            self._console.print("Interrupted: what was still on its way counts as missing below, and not as lost.")
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("SOURCE", "STREAM", "ISSUED", "DELIVERED", "MISSING", "ALTERED", "DOUBLE"):
            table.add_column(name, justify="left" if name in {"SOURCE", "STREAM"} else "right")
        for stream in verdict.streams:
            wrong = (len(stream.missing), len(stream.altered), len(stream.duplicates))
            figures = (stream.issued, stream.delivered, *wrong)
            table.add_row(stream.source, stream.stream, *(f"{figure:,}" for figure in figures))
        self._console.print(table, soft_wrap=True)
        if any(stream.delivered > stream.issued for stream in verdict.streams):
            self._console.print(
                "Inventories are delivered whole, again and again; an object that changed is a new one."
            )
        requests = sum(tenant.simulator.counters["requests"] for tenant in tenants)
        self._console.print(
            f"{requests:,} requests to the vendors, {sink.counters['batches']:,} batches stored,"
            f" {sink.counters['redeliveries']:,} sent again after a lost answer"
        )
        if interrupted:
            verdict = verdict.but_for_the_missing()
        self._judged(verdict, [*sink.violations, *(each for tenant in tenants for each in tenant.simulator.violations)])
        self._console.print(f"The records: {self._folder}/records/SOURCE/STREAM.ndjson", soft_wrap=True)
        self._console.print(f"The daemon's log: {self._folder / 'collectord.log'}", soft_wrap=True)
        sys.stdout.flush()

    def _judged(self, verdict: Verdict, violations: Sequence[str]) -> None:
        for violation in violations[:_SHOWN_WRONGS]:
            self._console.print(Text(f"violation: {violation}", style="red"))
        if verdict.ok and not violations:
            self._console.print(Text("Nothing was lost, nothing was altered.", style="bold green"))
        elif not verdict.ok:
            self._console.print(Text(str(verdict), style="red"))

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began_at:5.0f} s"
