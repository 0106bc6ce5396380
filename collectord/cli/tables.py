"""What people read on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

_STYLES = {"Collecting": "green", "Healthy": "green", "Error": "bold red", "Paused": "yellow", "Stopping": "yellow"}


def _console() -> Console:
    # A pipe has no width; what reads it does not want our line breaks.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 240)


def status(answer: dict[str, Any]) -> None:
    """Sources and sinks."""
    _console().print(of_status(answer))


def watch(screens: Iterable[RenderableType]) -> None:
    """Show one screen after another in the same place."""
    with Live(console=_console(), auto_refresh=False, screen=True) as live:
        for screen in screens:
            live.update(screen, refresh=True)


def trouble(text: str) -> Text:
    """What stands where an answer should."""
    return Text(text, style="red")


def of_status(answer: dict[str, Any]) -> Group:
    """Sources and sinks, and what is the matter with them."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("SOURCE", "STREAM", "STATE", "LAG", "LAST SUCCESS", "NEXT POLL", "RECEIVED", "DELIVERED", "BACKLOG"):
        table.add_column(name, justify="right" if name in {"LAG", "RECEIVED", "DELIVERED", "BACKLOG"} else "left")
    lines = []
    for source in answer["sources"]:
        for stream in source["streams"] or [{"name": "-", "state": source["state"]["state"]}]:
            table.add_row(source["name"], stream["name"], _state(stream["state"]), *_figures(stream))
        if info := source["state"].get("errorInfo"):
            lines.append(trouble(f"{source['name']}: {source['state']['errorType']}: {info}"))
    return Group(table, *lines, *map(_sink, answer["sinks"]))


def _sink(sink: dict[str, Any]) -> Text:
    message = sink.get("error", {}).get("message", "")
    waiting = f"{_size(sink['backlog_bytes'])} waiting, {sink['dead_letters']} dead letters"
    line = f"sink {sink['name']}: {sink['state']}, {waiting}"
    return Text(f"{line}{': ' if message else ''}{message}", style=_STYLES.get(sink["state"], ""))


def _figures(stream: dict[str, Any]) -> list[str]:
    lag = stream.get("lag_seconds")
    return [
        "-" if lag is None else f"{lag:.0f} s",
        stream.get("last_success_at") or "-",
        stream.get("next_poll_at") or "-",
        str(stream.get("records_received", "-")),
        str(stream.get("records_delivered", "-")),
        str(stream.get("backlog_records", "-")),
    ]


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def health(answer: dict[str, Any]) -> None:
    """Health events, open ones first."""
    console = _console()
    if not answer["open"]:
        console.print(Text("All is well: no health event is open.", style="green"))
    for heading, events in (("open", answer["open"]), ("recent", answer["recent"])):
        for event in events:
            resource, details = event["resourceIdentity"], event["details"]
            where = " ".join([resource["type"].lower(), resource["name"], details.get("stream", "")]).strip()
            closed = f" to {event['closedTime']}" if event["closedTime"] else ""
            style = "dim" if heading == "recent" else "red" if event["severityLevel"] == "Error" else "yellow"
            console.print(
                Text(f"{event['eventTime']}{closed}  {event['eventName']}  {where}  x{event['count']}", style=style)
            )
            console.print(Text(f"    {details['description']}", style="dim" if heading == "recent" else ""))


def dead_letters(letters: list[dict[str, Any]]) -> None:
    """Records that a sink refused, oldest first."""
    console = _console()
    if not letters:
        console.print(Text("There are no dead letters.", style="green"))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("ID", "SINK", "SOURCE", "STREAM", "RECORDS", "REFUSED AT", "REASON"):
        table.add_column(name)
    for each in letters:
        names = (each["id"], each["sink"], each["source"], each["stream"], each["records"], each["refused_at"])
        table.add_row(*map(Text, map(str, names)), Text(each["reason"]))
    console.print(table)
