"""One line to stderr for each thing that happened: JSON for machines, text for a terminal, no secret, no forgery.

What happened is the event, a constant of ours; what a vendor, a sink or a file said about it stands in named values.
The last fence is here, whatever the code before it did: live secrets are blotted out and control characters escaped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

MASK = "********"
MIN_SECRET_CHARACTERS = 6  # shorter ones would blot out half of every line

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
_MAX_DEPTH, _MAX_PARTS = 32, 100
_MAX_CHARACTERS = 16384  # of one value; journald would break a line of more than 48 KiB in two

_UNSAFE = re.compile(  # C0, C1, invisible and line-breaking characters, bidirectional controls, surrogates, tags
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_PLAIN = re.compile(r"[\w./:@+%*-]+")
_INERT = re.compile(r"[\w.~-]+", re.ASCII)  # the same in every writing
_encode = json.JSONEncoder(ensure_ascii=False).encode
_exception_data = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))  # local variables hold secrets
_exception_text = ExceptionRenderer()


def configure(level: str, format: str, secrets: frozenset[str]) -> None:  # noqa: A002  the option's name
    """Begin, or after a reload begin anew: `level` and `format` as in `log:`; loggers that exist already follow.

    Everything else that writes comes here too: logging (aiohttp, asyncio), warnings, exceptions that nobody caught.
    """
    terminal = bool(sys.stderr) and sys.stderr.isatty()
    by_systemd = os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())  # then not for a human, be it to a console
    _output.threshold = _LEVELS[level]
    _output.json = format == "json" or (format == "auto" and (by_systemd or not terminal))
    _output.colours = terminal and "NO_COLOR" not in os.environ
    _output.priorities = _is_journal()
    update_secrets(secrets)
    root = logging.getLogger()
    root.setLevel(_output.threshold)
    if _handler not in root.handlers:
        root.addHandler(_handler)
    logging.captureWarnings(capture=True)
    if sys.excepthook is sys.__excepthook__:  # a debugger's or a test runner's own hooks stay
        sys.excepthook = lambda kind, error, trace: _uncaught((kind, error, trace), "main")
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda told: _uncaught(told[:3], told.thread.name if told.thread else "thread")
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda told: _uncaught((told.exc_type, told.exc_value, told.exc_traceback), "finalizer")


def update_secrets(secrets: frozenset[str]) -> None:
    """From now on blot out these values, as they are and as JSON, Python, a URL or Basic authentication writes them."""
    starts: dict[str, list[str]] = {}
    for form in sorted({form for secret in secrets for form in _forms(secret.strip())}, key=len, reverse=True):
        starts.setdefault(form[:MIN_SECRET_CHARACTERS], []).append(form)
    _output.secrets = starts


def get(**context: object) -> Logger:
    """A logger whose lines all carry `context`; may be made before `configure`."""
    return Logger(_output, _PROCESSORS, context)


def loop_exception_handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `loop.set_exception_handler`: what went wrong where no task could be told."""
    task = context.get("task") or context.get("future")
    name = task.get_name() if isinstance(task, asyncio.Task) else None
    get().error("loop_exception", task=name, message=context.get("message"), exc_info=context.get("exception"))


class Logger(structlog.BoundLoggerBase):
    """`bind` adds context. Below the level a call costs one comparison."""

    def debug(self, event: str, **values: object) -> None:
        if _output.threshold <= 10:
            self._proxy_to_logger("debug", event, **values)

    def info(self, event: str, **values: object) -> None:
        if _output.threshold <= 20:
            self._proxy_to_logger("info", event, **values)

    def warning(self, event: str, **values: object) -> None:
        if _output.threshold <= 30:
            self._proxy_to_logger("warning", event, **values)

    def error(self, event: str, **values: object) -> None:
        if _output.threshold <= 40:
            self._proxy_to_logger("error", event, **values)

    def critical(self, event: str, **values: object) -> None:
        self._proxy_to_logger("critical", event, **values)

    def exception(self, event: str, **values: object) -> None:
        """An error with the traceback of the exception in hand."""
        values.setdefault("exc_info", True)
        self.error(event, **values)


class _Output:
    """Where lines go, and how. The one thing that is global here, since a process has one stderr."""

    def __init__(self) -> None:
        self.threshold = 20
        self.json = True
        self.colours = False
        self.priorities = False
        self.secrets: dict[str, list[str]] = {}
        self._lock = threading.RLock()

    def write(self, text: str) -> None:
        """Never raises: a log that nobody can read any more does not end the collecting."""
        with self._lock:
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except (OSError, ValueError, RuntimeError, AttributeError):  # gone, closed, interrupted by itself, absent
                pass

    debug = info = warning = error = critical = write


_output = _Output()


def _render(_logger: object, level: str, values: MutableMapping[str, Any]) -> str:
    """The last processor and the only one: a line of text, ready to be written."""
    if values.get("exc_info"):
        try:
            (_exception_data if _output.json else _exception_text)(_logger, level, values)
        except Exception as error:  # noqa: BLE001  a thousand groups in each other, an exception without a text
            values["exception"] = f"its traceback failed with {type(error).__name__}"
    line = {"timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:23] + "Z", "level": level}
    line["event"] = _clean(values.pop("event", ""), 0)
    for name, value in values.items():
        if value is not None and name not in line and name != "exc_info":
            line[_redact(name)] = _clean(value, 0)
    text = _escape(_encode(line)) if _output.json else _console(line)
    return f"<{_PRIORITIES[level]}>{text}\n" if _output.priorities else f"{text}\n"


_PROCESSORS = [_render]
structlog.configure(
    processors=_PROCESSORS, wrapper_class=Logger, logger_factory=lambda *_: _output
)  # for capture_logs()


def _console(line: dict[str, Any]) -> str:
    """Text in one line; a traceback stands below it, indented, so that no part of it can pass for a line of its own."""
    traceback = line.pop("exception", None)
    level = line.pop("level")
    colour = _COLOURS.get(level) if _output.colours else None
    words = [
        line.pop("timestamp"),
        f"\x1b[{colour}m{level:8}\x1b[0m" if colour else f"{level:8}",
        f"{_escape(str(line.pop('event'))):32}",
        *(f"{_escape(name)}={_quoted(value)}" for name, value in line.items()),
    ]
    text = " ".join(words).rstrip()
    if traceback is None:
        return text
    return "\n    ".join([text, *(_escape(part) for part in str(traceback).split("\n"))])


def _quoted(value: object) -> str:
    """A value that could be taken for another one's name stands in quotation marks."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return _escape(value)
    return _escape(_encode(value))


def _escape(text: str) -> str:
    r"""As JSON does it, `\u001b`, also what JSON itself would let through."""
    return _UNSAFE.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _utf16(found[0])), text)


def _utf16(text: str) -> memoryview:
    return memoryview(text.encode("utf-16", "surrogatepass")[2:]).cast("H")


def _clean(value: object, depth: int) -> Any:
    """The value as plain JSON data without secrets."""
    if isinstance(value, str):
        text = _redact(str(value))
        return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "..."
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        text = str(value)
        return value if _redact(text) == text and text not in {"nan", "inf", "-inf"} else _redact(text)
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {_redact(str(name)): _clean(part, depth + 1) for name, part in islice(value.items(), _MAX_PARTS)}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(part, depth + 1) for part in islice(value, _MAX_PARTS)]
    return _clean(_text_of(value), depth)


def _text_of(value: object) -> str:
    try:
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except Exception as error:  # noqa: BLE001  a foreign __str__ may do anything, and a log line is no place to fail
        return f"<{type(value).__name__}, whose text failed with {type(error).__name__}>"


def _redact(text: str) -> str:
    """A dictionary of first characters finds 70,000 secrets as fast as one; overlapping ones are blotted out whole."""
    starts, width = _output.secrets, MIN_SECRET_CHARACTERS
    if not starts or starts.keys().isdisjoint(text[place : place + width] for place in range(len(text) - width + 1)):
        return text
    parts: list[str] = []
    shown = 0  # up to here the text is settled
    for place in range(len(text) - width + 1):
        form = next(
            (form for form in starts.get(text[place : place + width], ()) if text.startswith(form, place)), None
        )
        if form is None:
            continue
        if place >= shown:
            parts += text[shown:place], MASK
        shown = max(shown, place + len(form))
    return "".join([*parts, text[shown:]])


def _forms(secret: str) -> Iterator[str]:
    """Every way in which the value may stand in a text, quoted twice included (JSON of an error that quotes JSON)."""
    if len(secret) < MIN_SECRET_CHARACTERS:
        return
    plain = {secret, *_base64(secret)}
    octets = secret.encode("utf-8", "surrogatepass")
    plain |= {quote(octets, safe) for safe in ("", "/", "!$&'()*+,;=:@/", "/?:@!$'()*,")} | {quote_plus(octets)}
    once = {quoted for form in plain if not _INERT.fullmatch(form) for quoted in _quotations(form)}
    yield from plain | once | {quoted for form in once for quoted in _quotations(form)}


def _quotations(text: str) -> Iterator[str]:
    """As JSON and Python have it between quotation marks; beside a double one Python escapes the single one."""
    octets = text.encode("utf-8", "surrogatepass")
    yield from (_encode(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text)[1:-1].replace("/", "\\/"))
    yield from (repr(text)[1:-1], ascii(text)[1:-1], repr(octets)[2:-1])
    yield from (repr(text + '"')[1:-2], ascii(text + '"')[1:-2], repr(octets + b'"')[2:-2])


def _base64(secret: str) -> Iterator[str]:
    """The characters that `user:secret` has in base64 whatever the user: one row for each length of it modulo three."""
    octets = secret.encode("utf-8", "surrogatepass")
    for before in range(3):  # `before` octets have their last bits in the first character that the secret decides alone
        end = (before + len(octets)) * 8 // 6
        text = base64.b64encode(b"\0" * before + octets).decode()[(before * 8 + 5) // 6 : end]
        yield from (text, text.replace("+", "-").replace("/", "_"))


class _Handler(logging.Handler):
    """The standard library's records become lines like our own."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  a foreign format string that does not fit its arguments
            message = str(record.msg)
        level = next((name for name, number in reversed(_LEVELS.items()) if record.levelno >= number), "debug")
        values = {"event": message, "logger": record.name, "exc_info": record.exc_info, "stack": record.stack_info}
        _output.write(_render(None, level, values))


_handler = _Handler()


def _uncaught(exc_info: tuple[Any, Any, Any], where: str) -> None:
    get().critical("uncaught_exception", where=where, exc_info=exc_info)


def _is_journal() -> bool:
    """Whether stderr is the journal itself, which takes a priority before the line, and takes it off."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
