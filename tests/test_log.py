"""What reaches stderr: one line each, of our own and of others' writing."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from collectord import log

TOKEN = "00aBcDeFgHiJkLmNoPqRsTuVwXyZ"
ENVIRONMENT = ("JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "INVOCATION_ID", "NO_COLOR")


class Stderr:
    """What was written, and whether it is a terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.take = lambda: capsys.readouterr().err

    def becomes_a_terminal(self) -> None:
        vars(sys.stderr)["isatty"] = lambda: True


@pytest.fixture(autouse=True)
def stderr(monkeypatch, capsys) -> Iterator[Stderr]:
    """A stderr of the test's own, and afterwards everything as it was."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    level, handlers = root.level, root.handlers[:]
    log.configure("info", "auto", frozenset())
    yield Stderr(capsys)
    log.configure("info", "json", frozenset())
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    root.handlers[:] = handlers
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def lines_of(stderr: Stderr) -> list[dict]:
    return [json.loads(line) for line in stderr.take().splitlines()]


def line_of(stderr: Stderr) -> dict:
    (line,) = lines_of(stderr)
    return line


# ------------------------------------------------------------------------------------------------------- shape


def test_a_line_is_one_object_with_time_level_event_and_context(stderr):
    before = datetime.now(UTC)
    log.get(source="okta-prod").bind(stream="events").warning("rate_limited", seconds=2.5, cause=None)
    line = line_of(stderr)
    assert list(line) == ["timestamp", "level", "event", "source", "stream", "seconds"]
    assert {**line, "timestamp": ""} == {
        "timestamp": "",
        "level": "warning",
        "event": "rate_limited",
        "source": "okta-prod",
        "stream": "events",
        "seconds": 2.5,
    }
    assert line["timestamp"].endswith("Z")
    assert abs((datetime.fromisoformat(line["timestamp"]) - before).total_seconds()) < 5


def test_level_applies_to_loggers_that_exist_already(stderr):
    logger = log.get()
    logger.debug("no")
    log.configure("debug", "json", frozenset())
    logger.debug("yes")
    log.configure("error", "json", frozenset())
    logger.info("no")
    logger.warning("no")
    logger.critical("also")
    logging.getLogger("aiohttp").warning("no")
    assert [line["event"] for line in lines_of(stderr)] == ["yes", "also"]


def test_format_applies_to_loggers_that_exist_already(stderr):
    logger = log.get(source="a")
    log.configure("info", "console", frozenset())
    logger.info("page_fetched", records=3)
    assert stderr.take().split()[1:] == ["info", "page_fetched", "source=a", "records=3"]


def test_auto_is_text_on_a_terminal_and_colours_only_there(stderr, monkeypatch):
    log.configure("info", "auto", frozenset())
    log.get().error("x")
    assert stderr.take().startswith("{")
    stderr.becomes_a_terminal()
    log.configure("info", "auto", frozenset())
    log.get().error("x")
    assert "\x1b[31merror   \x1b[0m" in stderr.take()
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure("info", "auto", frozenset())
    log.get().error("x")
    assert "\x1b" not in stderr.take()


def test_auto_is_json_for_the_child_of_systemd_even_on_a_console(stderr, monkeypatch):
    stderr.becomes_a_terminal()
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getpid()))
    log.configure("info", "auto", frozenset())
    log.get().info("x")
    assert line_of(stderr)["event"] == "x"


def test_the_journal_is_told_the_priority(tmp_path, monkeypatch):
    with (tmp_path / "journal").open("w+", encoding="utf-8") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", journal)
        log.configure("debug", "auto", frozenset())
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log.get(), level)("x")
        journal.seek(0)
        assert [line[:4] for line in journal] == ["<7>{", "<6>{", "<4>{", "<3>{", "<2>{"]


def test_values_of_every_kind_have_a_text(stderr):
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    loop: list = []
    loop.append(loop)
    log.get().info(
        "x", path=Path("/a"), error=KeyError("k"), nan=float("nan"), big=2**70, broken=Broken(), pair=(1, True)
    )
    line = line_of(stderr)
    assert line["path"] == "/a"
    assert line["error"] == "KeyError: 'k'"
    assert line["nan"] == "nan"
    assert line["big"] == 2**70
    assert line["broken"] == "<Broken, whose text failed with RuntimeError>"
    assert line["pair"] == [1, True]
    log.get().info("x", loop=loop)
    assert line_of(stderr)["loop"]


def test_a_huge_value_is_cut(stderr):
    log.get().info("x", body="a" * 1_000_000)
    assert len(stderr.take()) < 20_000


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_exception_is_too_strange_to_be_told(stderr, form):
    log.configure("info", form, frozenset())
    cause, effect, groups, chain = ValueError("a"), ValueError("b"), Exception("innermost"), Exception("first")
    cause.__cause__, effect.__cause__ = effect, cause
    for number in range(500):
        groups = ExceptionGroup("group", [groups])
        last, chain = chain, Exception(str(number))
        chain.__cause__ = last
    for number, error in enumerate((cause, groups, chain)):
        log.get().error(f"strange_{number}", exc_info=error)
        assert f"strange_{number}" in stderr.take()


def test_no_value_takes_the_place_of_time_level_or_exc_info(stderr):
    log.get().info("x", level="debug", timestamp="never", exc_info=False)
    line = line_of(stderr)
    assert line["level"] == "info"
    assert line["timestamp"] != "never"
    assert "exc_info" not in line


@pytest.mark.parametrize("fault", [BrokenPipeError, ValueError, RuntimeError])
def test_a_log_that_nobody_can_read_ends_nothing(monkeypatch, fault):
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise fault

    monkeypatch.setattr(sys, "stderr", Gone())
    log.get().info("x")
    monkeypatch.setattr(sys, "stderr", None)
    log.configure("info", "auto", frozenset())
    log.get().info("x")


def test_structlogs_own_test_helper_sees_our_lines(stderr):
    logger = log.get(source="a")
    with structlog.testing.capture_logs() as captured:
        logger.info("page_fetched")
    assert captured == [{"event": "page_fetched", "source": "a", "log_level": "info"}]
    logger.info("x")
    assert line_of(stderr)["event"] == "x"


# ---------------------------------------------------------------------------------- what others write, uncaught


def test_logging_and_warnings_take_the_same_way(stderr):
    log.update_secrets(frozenset({TOKEN}))
    logging.getLogger().handlers[:] = [log._handler]  # without pytest's, which fails on the wrong format
    logging.getLogger("aiohttp.server").error("bad request %s", TOKEN)
    logging.getLogger("aiohttp.server").error("bad %d", "format")
    warnings.showwarning(f"old {TOKEN}", DeprecationWarning, "f.py", 1)
    request, wrong, warning = lines_of(stderr)
    assert (request["level"], request["logger"], request["event"]) == (
        "error",
        "aiohttp.server",
        "bad request ********",
    )
    assert wrong["event"] == "bad %d"
    assert (warning["level"], warning["logger"]) == ("warning", "py.warnings")
    assert "old ********" in warning["event"]


def test_a_task_that_failed_unseen_is_one_line(stderr):
    log.update_secrets(frozenset({TOKEN}))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log.loop_exception_handler)
        loop.call_exception_handler(
            {"message": f"lost {TOKEN}", "exception": ValueError(TOKEN), "task": asyncio.current_task()}
        )
        loop.call_exception_handler({"message": "without exception"})

    asyncio.run(main())
    first, second = lines_of(stderr)
    assert first["event"] == "loop_exception"
    assert first["message"] == "lost ********"
    assert first["exception"][0]["exc_value"] == "********"
    assert second["message"] == "without exception"


UNCAUGHT = """
import sys, threading
from collectord import log
log.configure("info", "json", frozenset({"00aBcDeFgHiJ"}))
def fail():
    token = "00aBcDe" + "FgHiJ"
    raise ValueError(token)
class Falls:
    def __del__(self):
        fail()
thread = threading.Thread(target=fail, name="store")
thread.start(); thread.join()
Falls()
fail()
"""


def test_an_exception_that_nobody_caught_is_one_line_without_secrets():
    found = subprocess.run(
        [sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent
    )
    assert found.returncode == 1
    lines = [json.loads(line) for line in found.stderr.splitlines()]
    assert [(line["event"], line["where"]) for line in lines] == [
        ("uncaught_exception", "store"),
        ("uncaught_exception", "finalizer"),
        ("uncaught_exception", "main"),
    ]
    assert {line["exception"][0]["exc_value"] for line in lines} == {"********"}
    assert "00aBcDeFgHiJ" not in found.stderr
