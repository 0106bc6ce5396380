"""Tells systemd how the daemon is: ready, reloading, stopping, alive. Its own few lines; no library does all of it."""

from __future__ import annotations

import socket
import time

STATUS_CHARACTERS = 500
"""systemd ignores a message of more than 4096 bytes, and with it a `READY=1`; a character takes at most four."""


class Notifier:
    """Sends to the socket that systemd named, if it named one; a message that cannot be sent at once is dropped."""

    def __init__(self, notify_socket: str | None) -> None:
        """`notify_socket` is the value of `$NOTIFY_SOCKET`: a path, or `@name`. Others (`vsock:`) are for machines."""
        self.dropped = 0
        self._address = (notify_socket or "").encode("utf-8", "surrogateescape")
        if self._address.startswith(b"@"):
            self._address = b"\0" + self._address[1:]
        elif not self._address.startswith(b"/"):
            self._address = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None
        if self._socket:
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """Started or reloaded: `systemctl start` and `reload` wait for it, so a reload that failed says it too."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """One datagram, or systemd would not know which reload it is about."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Alive. To be said every `watchdog_interval_seconds`, and only while all is well."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:  # full or gone: what it would have said is not worth waiting for
            self.dropped += 1


def watchdog_interval_seconds(watchdog_usec: int | None) -> float | None:
    """Half of `$WATCHDOG_USEC`, as sd_watchdog_enabled(3) advises; None where there is no watchdog."""
    return watchdog_usec / 2_000_000 if watchdog_usec and watchdog_usec > 0 else None


def _one_line(text: str) -> str:
    """A line break would begin another assignment: a vendor's text must not be able to say `READY=1`."""
    return "".join(character if character.isprintable() else " " for character in text[:STATUS_CHARACTERS])
