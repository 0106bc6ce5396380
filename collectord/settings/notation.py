"""How people write durations, sizes, times and addresses: text in, value out, or a ValueError in plain words.

No message holds the text that was given: it could be a secret that stands in the wrong place.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY, None: 1.0}
_LONGEST_SECONDS = 3650 * DAY
_SIZE = re.compile(r"(\d{1,15})\s*(B|KiB|MiB|GiB|TiB)?", re.ASCII)
_BYTES = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LARGEST_BYTES = 2**60
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

LONGEST_FIELD = 200


def parse_duration(value: object) -> float:
    """Seconds of `250ms`, `30s`, `5m`, `12h`, `7d` or a bare number of seconds; raises ValueError."""
    seconds: float | None = None
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    if seconds is None:
        raise ValueError("must be a duration such as 250ms, 30s, 5m, 12h or 7d")
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError("must be a duration from 0s to 3650d")
    return float(seconds)


def parse_size(value: object) -> int:
    """Bytes of `512KiB`, `1MiB` or a bare number of bytes; raises ValueError."""
    size: int | None = None
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        size = int(match[1]) * _BYTES[match[2]] if match else None
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    if size is None or not 0 <= size <= _LARGEST_BYTES:
        raise ValueError("must be a size such as 512KiB, 1MiB or 1GiB")
    return size


def parse_then(value: object) -> float | Literal["quit"]:
    """Seconds between attempts, or `quit`; raises ValueError."""
    if value == "quit":
        return "quit"
    try:
        return parse_duration(value)
    except ValueError:
        raise ValueError("must be quit, or a duration such as 60m") from None


def parse_start(value: object) -> float | str:
    """Seconds back, or a time as `2026-11-01T00:00:00+00:00`; raises ValueError."""
    try:
        if not isinstance(value, str) or _DURATION.fullmatch(value.strip()):
            return parse_duration(value)
        if _TIME.fullmatch(value.strip()):
            return datetime.fromisoformat(value.strip().upper()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a duration such as 24h, or a time with its zone such as 2026-11-01T00:00:00Z")


def parse_field(value: object) -> str | bool:
    """A custom field's value; raises ValueError."""
    if isinstance(value, float):
        raise ValueError("must be text: put the number in quotes, so that it is delivered as it stands here")  # noqa: TRY004  pydantic reports ValueError
    if not isinstance(value, str | int):  # a bool is an int
        raise ValueError("must be text, a whole number, true or false")  # noqa: TRY004  pydantic reports ValueError
    if isinstance(value, bool):
        return value
    if len(str(value)) > LONGEST_FIELD:
        raise ValueError(f"must have at most {LONGEST_FIELD} characters")
    return str(value)


def parse_name(text: str) -> str:
    """A name that fits on a line of a log and into a path of the API; raises ValueError."""
    if _CONTROL.search(text):
        raise ValueError("must not hold line breaks or other control characters")
    if text != text.strip():
        raise ValueError("must not begin or end with a space")
    return text


def parse_header(text: str) -> str:
    """The name of an HTTP header; raises ValueError."""
    if not _HEADER.fullmatch(text):
        raise ValueError("is no name of an HTTP header")
    return text


def upper(value: object) -> object:
    """What is written in capitals, however it was written."""
    return value.upper() if isinstance(value, str) else value


def parse_url(text: str) -> SplitResult:
    """Take a URL apart; raises ValueError that never holds the text, as `urlsplit`'s own may."""
    try:
        parts = urlsplit(text)
        if _HOST.fullmatch(parts.hostname or "") and parts.port != 0 and not _CONTROL.search(text) and " " not in text:
            return parts
    except ValueError:
        pass
    raise ValueError("must be a URL with a host, such as https://acme.example.com")


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_origin(text: str) -> str:
    """`https://host[:port]` of a vendor's host or URL, as people paste it: path and query are cut off.

    `http://` only for loopback addresses; raises ValueError.
    """
    text = text.strip()
    parts = parse_url(text if "://" in text else f"https://{text}")
    if parts.scheme not in {"https", "http"} or parts.username is not None or parts.password is not None:
        raise ValueError("must be a host or an https:// URL without user name and password")
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must begin with https://; http:// is for loopback addresses only, since credentials are sent")
    host = f"[{host}]" if ":" in host else host
    port = parts.port if parts.port != (443 if parts.scheme == "https" else 80) else None
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def parse_base_url(text: str) -> str:
    """An origin that stands alone, or with a slash at its end; raises ValueError."""
    parts = parse_url(text)
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError("must end with the host or its port: the paths are the vendor's and known")
    return parse_origin(text)


def parse_host(text: str) -> str:
    """`host` or `host:port` as a browser's Host header has it; raises ValueError."""
    parts = parse_url(f"https://{text.strip()}")
    if parts.netloc != text.strip() or parts.username is not None:
        raise ValueError("must be a name, with its port if need be, such as collectord.example.com")
    return text.strip().lower()


def parse_listen(text: str) -> str:
    """`host:port` to listen on, port 0 for any; raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError("must be an address and a port, such as 127.0.0.1:8484")
    if not _HOST.fullmatch(host.removeprefix("[").removesuffix("]")) or (":" in host) != host.startswith("["):
        raise ValueError("must be an address and a port, such as 127.0.0.1:8484 or [::1]:8484")
    return text.strip()
