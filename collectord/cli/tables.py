"""What people read on a terminal."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDE = 95
"""Columns of a terminal that takes the whole table of `status`."""
_PIPE_WIDTH = 100_000
_NEXT_STEPS = {
    "ThirdPartyConfigError": "a new credential: systemctl restart collectord; a changed file: systemctl reload"
    " collectord; mended at the vendor: collectord restart {name}",
    "FirstPartyGenericError": "when it is mended, collectord restart SOURCE (any of them) tries it at once; what was"
    " changed in a file wants systemctl reload collectord first",
}
"""What an operator types; the event itself says what is the matter."""
_STYLES = {"Collecting": "green", "Healthy": "green", "Error": "bold red", "Paused": "yellow", "Stopping": "yellow"}


def _console() -> Console:
    # A pipe has no width; what reads it does not want our line breaks.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def status(answer: dict[str, Any]) -> None:
    """Sources and sinks."""
    console = _console()
    console.print(of_status(answer, wide=console.width >= _WIDE))


def watch(screens: Iterable[dict[str, Any] | str]) -> None:
    """Show one answer after another in the same place; a text stands where there is none."""
    console = _console()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for answer in screens:
            head = Text(f"{time.strftime('%H:%M:%S', time.gmtime())} UTC, every two seconds; Ctrl-C ends", style="dim")
            wide = console.width >= _WIDE
            shown = _trouble(answer) if isinstance(answer, str) else of_status(answer, wide=wide, table_last=True)
            live.update(Group(head, shown), refresh=True)


def _trouble(text: str) -> Text:
    return Text(text, style="red")


def of_status(answer: dict[str, Any], *, wide: bool, table_last: bool = False) -> Group:
    """Sources and sinks, and what is the matter with them; a narrow terminal gets fewer columns, and whole ones.

    `table_last`: where the end may be cut off, that is the streams, not the troubles.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("SOURCE", "STREAM"):
        table.add_column(name, overflow="fold")
    table.add_column("STATE", no_wrap=True)
    # Not what was received: with overlaps that is a multiple of what is new, and looks like a loss.
    names = ("LAG", "SUCCESS", "NEXT", *(("DELIVERED",) if wide else ()), "BACKLOG")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    lines = []
    for source in answer["sources"]:
        for stream in source["streams"] or [{"name": "-", "state": source["state"]["state"]}]:
            figures = _figures(stream)
            table.add_row(source["name"], stream["name"], _state(stream["state"]), *(figures[name] for name in names))
        if trouble := trouble_of(source):
            lines.append(_trouble(trouble))
    events = sum(sum(each["health"].values()) for each in (*answer["sources"], *answer["sinks"]))
    if events:
        what = "1 health event is" if events == 1 else f"{events} health events are"
        lines.append(Text(f"{what} open; what to do: collectord health", style="yellow"))
    lines = [*map(_sink, answer["sinks"]), *lines]
    return Group(*lines, table) if table_last else Group(table, *lines)


def trouble_of(source: dict[str, Any]) -> str:
    """What is the matter with a source, in a line; empty: nothing."""
    state = source["state"]
    return f"{source['name']}: {state['errorType']}: {state['errorInfo']}" if state.get("errorInfo") else ""


def _sink(sink: dict[str, Any]) -> Text:
    message = sink.get("error", {}).get("message", "")
    room = f" of {_size(sink['buffer_bytes'])}" if sink.get("buffer_bytes") else ""
    waiting = f"{_size(sink['backlog_bytes'])}{room} waiting, {sink['dead_letters']} dead letters"
    line = f"sink {sink['name']}: {sink['state']}, {waiting}"
    return Text(f"{line}{': ' if message else ''}{message}", style=_STYLES.get(sink["state"], ""))


def _figures(stream: dict[str, Any]) -> dict[str, str]:
    lag, now = stream.get("lag_seconds"), time.time()
    succeeded, due = (_seconds(stream.get(name)) for name in ("last_success_at", "next_poll_at"))
    return {
        "LAG": "-" if lag is None else span(lag),
        "SUCCESS": "-" if succeeded is None else f"{span(now - succeeded)} ago",
        "NEXT": "-" if due is None else f"in {span(due - now)}" if due > now else "now",
        "DELIVERED": str(stream.get("records_delivered", "-")),
        "BACKLOG": str(stream.get("backlog_records", "-")),
    }


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def span(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"


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
    for event in answer["open"]:
        _event(console, event, "red" if event["severityLevel"] == "Error" else "yellow", "")
    for event in answer["recent"]:
        _event(console, event, "dim", "dim")


def _event(console: Console, event: dict[str, Any], heading: str, style: str) -> None:
    resource, details = event["resourceIdentity"], event["details"]
    where = " ".join([resource["type"].lower(), resource["name"], details.get("stream", "")]).strip()
    times = _to_second(event["eventTime"]) + (f" to {_to_second(event['closedTime'])}" if event["closedTime"] else "")
    console.print(Text(f"{times}  {event['eventName']}  {where}  x{event['count']}", style=heading))
    said = [details["description"]]
    if details.get("errorInfo"):
        said.append(f"In its own words: {details['errorInfo']}")
    if not event["closedTime"] and event["eventName"] in _NEXT_STEPS:
        said.append("Then: " + _NEXT_STEPS[event["eventName"]].format(name=resource["name"]))
    for line in said:
        console.print(Padding(Text(line, style=style), (0, 0, 0, 4), expand=False))


def _to_second(moment: str) -> str:
    return moment[:19] + "Z"


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
